"""What the denoising network sees: the same code in training and live.

Everything is in standard deviations of the noise and bent like a soft sign, so that neither a bright camera nor half
precision can take it out of range; the brightness itself only tells the network where few photons make the noise odd.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

Image = NDArray[np.float32]

SURROUNDINGS_PX = 15
"""Side of the box whose mean is taken away."""
KNEE, FINE_KNEE = np.float32(1 / 8), np.float32(1 / 4)
"""Where structure, and what is finer or changes, begins to be bent: one over standard deviations."""
DIM = np.float32(4)
"""Stabilised brightness at which the plane of brightness is one half."""


def planes(newest: Image, past: Sequence[Image], out: NDArray[np.float32], level: float = 1.0) -> None:
    """Write what the network sees of up to three stabilised frames.

    Parameters
    ----------
    newest : (y, x)
        Stabilised to noise of one standard deviation.
    past
        The frame before and the one before that, as far as they were there, likewise ``(y, x)``.
    out : (PLANES, y, x)
        Structure, fine structure, change since each past frame (0 where it was not there), brightness.
    level
        That standard deviation.
    """
    around = cv2.blur(newest, (SURROUNDINGS_PX, SURROUNDINGS_PX), borderType=cv2.BORDER_REFLECT_101)
    near = cv2.blur(newest, (3, 3), borderType=cv2.BORDER_REFLECT_101)
    before = past[0] if past else newest
    _bend(newest, around, near, before, past[1] if len(past) > 1 else newest, out, np.float32(1 / level))


@compiled
def _bend(
    newest: Image, around: Image, near: Image, before: Image, earlier: Image, out: Image, per: np.float32
) -> None:
    one, dim, knee, fine = np.float32(1), DIM, KNEE, FINE_KNEE
    for y in range(newest.shape[0]):
        for x in range(newest.shape[1]):
            value, mean = newest[y, x], abs(around[y, x]) * per
            away, detail = (value - around[y, x]) * per, (value - near[y, x]) * per
            change, older = (before[y, x] - value) * per, (earlier[y, x] - value) * per
            out[0, y, x] = away / (one + abs(away) * knee)
            out[1, y, x] = detail / (one + abs(detail) * fine)
            out[2, y, x] = change / (one + abs(change) * fine)
            out[3, y, x] = older / (one + abs(older) * fine)
            out[4, y, x] = mean / (mean + dim)
