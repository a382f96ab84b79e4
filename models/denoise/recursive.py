"""The built-in denoiser: a recursive filter in time that lets go where something moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.denoise import kernel
from models.denoise.memory import Memory, Scene
from models.denoise.noise import Noise
from models.denoise.options import NoiseOptions
from stream.settings import parse
from stream.stages import Moment

MISSED_TOO_MANY = 2
"""Frames that may be missing before the memory is too old."""
LEAST_LEVEL = 0.25
_SAMPLED = 7
"""The noise level is checked on every so many pixels of every so many rows."""


class DenoiseOptions(NoiseOptions):
    """``[chain] denoise_options`` of the recursive denoiser: what is known of the camera, and these."""

    floor: float = Field(default=0.25, ge=0.02, le=1)
    """Least weight of the new frame; 0.25 remembers about four frames."""
    gate: float = Field(default=5.0, ge=1, le=50)
    """Standard errors of the difference in a 5x5 box at which only the new frame counts."""


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
    def memory(self) -> Memory | None:
        """What is remembered after the last frame, that frame included; None before the first."""
        return self._memory

    @property
    def noise(self) -> Noise | None:
        """The noise in use; None before the first frame."""
        return self._memory.noise if self._memory else None

    def step(self, moment: Moment) -> Moment:
        """Return the moment with ``denoised`` filled in: a fresh, finite float32 array ``(y, x)`` in counts."""
        pixels, scene = plain(moment.frame.pixels), Scene.of(moment.frame)
        memory = self._memory
        if memory is None or moment.missed > MISSED_TOO_MANY or not memory.scene.continues(scene):
            self._memory = self._begin(pixels, scene)
            return replace(moment, denoised=sealed(pixels.astype(np.float32)))
        if memory.seen == 1:
            memory.level = level_of(pixels, memory.filtered, memory.noise)
        out = np.empty(pixels.shape, np.float32)
        noise = memory.noise
        kernel.advance(
            pixels, memory.filtered, memory.spread, out, noise.gain, noise.zero, noise.sigma,
            memory.level, self._options.floor, self._options.gate,
        )  # fmt: skip
        memory.scene, memory.seen = scene, memory.seen + 1
        return replace(moment, denoised=sealed(out))

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
        known = self._memory
        same = known is not None and known.scene.same_sensor(scene)
        noise = known.noise if known is not None and same else self._options.noise_of(pixels)
        filtered = np.empty(pixels.shape, np.float32)
        kernel.stabilise(pixels, filtered, noise.gain, noise.zero, noise.sigma)
        return Memory(scene, noise, filtered, np.ones(pixels.shape, np.float32))


def level_of(pixels: NDArray[Any], before: NDArray[np.float32], noise: Noise) -> float:
    """Check the believed noise on the second frame; never raise it, for what changed may have moved.

    Parameters
    ----------
    pixels : (y, x)
        Counts of the second frame.
    before : (y, x)
        The first frame, stabilised.
    """
    few = np.ascontiguousarray(pixels[::_SAMPLED, ::_SAMPLED])
    fresh = np.empty(few.shape, np.float32)
    kernel.stabilise(few, fresh, noise.gain, noise.zero, noise.sigma)
    change = np.abs(fresh - before[::_SAMPLED, ::_SAMPLED])
    return float(np.clip(np.median(change) / (0.6745 * np.sqrt(2)), LEAST_LEVEL, 1.0))


def plain(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return contiguous read-only pixels: the one layout that is compiled before the first live frame."""
    plain = np.ascontiguousarray(pixels)
    plain.flags.writeable = False
    return plain


def sealed(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image, read-only from now on."""
    image.flags.writeable = False
    return image
