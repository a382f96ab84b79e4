"""Two numbers per frame bring every camera to the same contrast: the same function in training and live.

Live smooths them over the field's past (:class:`Running`); training takes each frame's own and varies them at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spec import Normalisation

SAMPLES = 40_000
"""Pixels that a frame's percentiles are taken from, on a regular grid."""
SMOOTHING = 0.1
"""Weight of a new frame in the running values of its field."""
JUMP = 0.35
"""A frame whose offset or scale differs by more than this share of the scale starts the running values anew:
exposure or light was changed."""


def levels(pixels: NDArray[Any], normalisation: Normalisation) -> tuple[float, float]:
    """Return the offset and scale of one frame, in its own counts.

    Parameters
    ----------
    pixels : (y, x)
        Any real dtype; all values finite.
    """
    step = max(1, int(np.sqrt(pixels.size / SAMPLES)))
    sample = pixels[step // 2 :: step, step // 2 :: step]
    wanted = (normalisation.offset_percentile, normalisation.scale_percentile)
    low, high = (float(v) for v in np.percentile(sample, wanted))
    return low, max(high - low, 1.0)


@dataclass(frozen=True, slots=True)
class Running:
    """The levels of one field, smoothed over its past; None before its first frame."""

    offset: float
    scale: float

    @classmethod
    def after(cls, before: Running | None, pixels: NDArray[Any], normalisation: Normalisation) -> Running:
        """Return the levels with one more frame."""
        offset, scale = levels(pixels, normalisation)
        if before is None or cls(offset, scale).is_jump_from(before):
            return cls(offset, scale)
        return cls(
            before.offset + SMOOTHING * (offset - before.offset), before.scale + SMOOTHING * (scale - before.scale)
        )

    def is_jump_from(self, before: Running) -> bool:
        """Say whether these levels are no change of those before: they begin anew."""
        return max(abs(self.offset - before.offset), abs(self.scale - before.scale)) > JUMP * before.scale
