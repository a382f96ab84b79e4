"""A denoiser that looks for structure at several scales, after the recursive one has looked for it in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from models.denoise import kernel, starlet
from models.denoise.noise import Noise
from models.denoise.recursive import DenoiseOptions, RecursiveDenoiser, sealed
from stream.settings import parse
from stream.stages import Moment


class WaveletOptions(DenoiseOptions):
    """``[chain] denoise_options`` of the wavelet denoiser: those of the recursive one, and these."""

    scales: int = Field(default=4, ge=1, le=len(starlet.NOISE))
    """Scales of 2, 4, 8, … pixels in which noise is looked for."""
    strength: float = Field(default=1.0, ge=0, le=10)
    """Multiplies the thresholds of all scales; 0 leaves the image as it is."""
    rule: starlet.Rule = "local"
    """How details below the threshold are shrunk: alone (``soft``, ``garrote``) or with neighbours (``local``)."""
    time: bool = True
    """Average over frames first where nothing moves, as the recursive denoiser does."""


class WaveletDenoiser:
    """Shrinks what is noise in undecimated wavelets, after a filter in time; a :class:`stream.stages.Denoiser`.

    The noise is stabilised and averaged in time as in :class:`models.denoise.recursive.RecursiveDenoiser`, which also
    says how much of it is left at each pixel; each scale of a B3-spline frame is then shrunk by the noise found in that
    scale, and the result goes back to counts without bias.

    Parameters
    ----------
    options
        See :class:`WaveletOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(WaveletOptions, options, "[chain] denoise_options")
        asked = self._options.model_dump(include=set(DenoiseOptions.model_fields))
        # A floor of 1 forgets everything but the newest frame.
        self._in_time = RecursiveDenoiser(asked if self._options.time else asked | {"floor": 1.0})
        self._room = np.empty((6, 0, 0), np.float32)

    @property
    def noise(self) -> Noise | None:
        """The noise in use; None before the first frame."""
        return self._in_time.noise

    def step(self, moment: Moment) -> Moment:
        """Return the moment with ``denoised`` filled in: a fresh, finite float32 array ``(y, x)`` in counts."""
        averaged, memory = self._in_time.step(moment), self._in_time.memory
        if memory is None or self._options.strength == 0:
            return averaged
        asked, noise, pixels = self._options, memory.noise, np.ascontiguousarray(moment.frame.pixels)
        if self._room.shape[1:] != pixels.shape:
            self._room = np.zeros((6, *pixels.shape), np.float32)
        spread, nothing_left = self._room[4], self._room[5]
        np.multiply(memory.spread, np.float32(memory.level**2), out=spread)
        starlet.shrink(memory.filtered, spread, asked.scales, asked.strength, asked.rule, self._room[:4])
        out = np.empty(pixels.shape, np.float32)
        kernel.restore(
            pixels, self._room[0], nothing_left, out, noise.gain, noise.zero, noise.sigma, memory.level
        )  # fmt: skip
        return replace(moment, denoised=sealed(out))

    def reset(self, reason: str) -> None:
        """Forget the past; the next frame is denoised alone."""
        self._in_time.reset(reason)

    def save(self) -> bytes:
        """Return the state as bytes."""
        return self._in_time.save()

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError when it is torn."""
        self._in_time.load(state)
