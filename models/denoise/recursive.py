"""The built-in denoiser: a recursive filter in time that lets go where something moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from models.denoise import kernel
from models.denoise.memory import Memory, Scene
from models.denoise.noise import Noise, estimate
from stream.config import Settings, parse
from stream.stages import Moment

MISSED_TOO_MANY = 2
"""Frames that may be missing before the memory is too old."""
LEAST_LEVEL = 0.25
_SAMPLED = 7
"""The noise level is checked on every so many pixels of every so many rows."""


class DenoiseOptions(Settings):
    """``[chain] denoise_options`` of the recursive denoiser."""

    gain: float | None = Field(default=None, ge=1e-3)
    """Counts per photoelectron; None: read from the first frame."""
    offset: float | None = Field(default=None, ge=0, le=65535)
    """Counts without light; None: read from the first frame. Only together with ``read_noise``."""
    read_noise: float | None = Field(default=None, ge=0, le=65535, validate_default=True)
    """Counts (root mean square) without light; None: read from the first frame. Only together with ``offset``."""
    floor: float = Field(default=0.25, ge=0.02, le=1)
    """Least weight of the new frame; 0.25 remembers about four frames."""
    gate: float = Field(default=5.0, ge=1, le=50)
    """Standard errors of the difference in a 5x5 box at which only the new frame counts."""

    @field_validator("read_noise")
    @classmethod
    def _both_or_neither(cls, value: float | None, info: ValidationInfo) -> float | None:
        if (value is None) != (info.data.get("offset") is None):
            raise ValueError("and 'offset' only make sense together: give both or neither")
        return value


class RecursiveDenoiser:
    """Averages in time where nothing moves; a :class:`stream.stages.Denoiser`.

    The noise is stabilised (generalised Anscombe), a 5x5 box decides whether a pixel's surroundings changed by more
    than noise, and the new pixel is blended with weight 1, 1/2, 1/3, … down to ``floor``, or taken alone where they
    changed. No pixel outlives a change of geometry, exposure or channel; the noise, which is the sensor's, does while
    the sensor is read in the same way.

    Parameters
    ----------
    options
        See :class:`DenoiseOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(DenoiseOptions, options, "[chain] denoise_options")
        self._memory: Memory | None = None

    @property
    def noise(self) -> Noise | None:
        """The noise in use; None before the first frame."""
        return self._memory.noise if self._memory else None

    def step(self, moment: Moment) -> Moment:
        """Return the moment with ``denoised`` filled in: a fresh, finite float32 array ``(y, x)`` in counts."""
        pixels, scene = _plain(moment.frame.pixels), Scene.of(moment.frame)
        memory = self._memory
        if memory is None or moment.missed > MISSED_TOO_MANY or not memory.scene.continues(scene):
            self._memory = self._begin(pixels, scene)
            return replace(moment, denoised=_sealed(pixels.astype(np.float32)))
        if memory.seen == 1:
            memory.level = _level(pixels, memory)
        out = np.empty(pixels.shape, np.float32)
        noise = memory.noise
        kernel.advance(
            pixels, memory.filtered, memory.spread, out, noise.gain, noise.zero, noise.sigma,
            memory.level, self._options.floor, self._options.gate,
        )  # fmt: skip
        memory.scene, memory.seen = scene, memory.seen + 1
        return replace(moment, denoised=_sealed(out))

    def reset(self, reason: str) -> None:
        """Forget the past; the next frame comes out as it is."""
        self._memory = None

    def save(self) -> bytes:
        """Return the state as bytes."""
        return self._memory.save() if self._memory else b""

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError when it is torn."""
        self._memory = Memory.load(state) if state else None

    def _begin(self, pixels: NDArray[Any], scene: Scene) -> Memory:
        asked = self._options
        known = self._memory
        if known is not None and known.scene.same_sensor(scene):
            noise = known.noise
        else:
            dark = None if asked.offset is None or asked.read_noise is None else (asked.offset, asked.read_noise)
            noise = estimate(pixels, asked.gain, dark)
        filtered = np.empty(pixels.shape, np.float32)
        kernel.stabilise(pixels, filtered, noise.gain, noise.zero, noise.sigma)
        return Memory(scene, noise, filtered, np.ones(pixels.shape, np.float32))


def _level(pixels: NDArray[Any], memory: Memory) -> float:
    """Check the believed noise on the second frame; never raise it, for what changed may have moved."""
    few = np.ascontiguousarray(pixels[::_SAMPLED, ::_SAMPLED])
    fresh = np.empty(few.shape, np.float32)
    kernel.stabilise(few, fresh, memory.noise.gain, memory.noise.zero, memory.noise.sigma)
    change = np.abs(fresh - memory.filtered[::_SAMPLED, ::_SAMPLED])
    return float(np.clip(np.median(change) / (0.6745 * np.sqrt(2)), LEAST_LEVEL, 1.0))


def _plain(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return contiguous read-only pixels: the one layout that is compiled before the first live frame."""
    plain = np.ascontiguousarray(pixels)
    plain.flags.writeable = False
    return plain


def _sealed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    image.flags.writeable = False
    return image
