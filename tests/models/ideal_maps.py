"""What a perfect network would say about a label image: maps for the tests of decoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHANNELS = ("seed", "own_y", "own_x", "previous_y", "previous_x", "newborn", "dividing")
SEED_SHARE = 0.12
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def centres_of(labels: Ints) -> Floats:
    """Centroids ``(n + 1, 2)``; row 0 and absent labels are NaN."""
    n = int(labels.max()) + 1
    area = np.bincount(labels.ravel(), minlength=n).astype(float)
    area[0] = 0
    y, x = np.indices(labels.shape)
    total = np.stack([np.bincount(labels.ravel(), v.ravel().astype(float), minlength=n) for v in (y, x)], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = total / area[:, None]
    found[area == 0] = np.nan
    return found.astype(np.float32)


def ideal(
    labels: Ints, object_px: float, moved_px: tuple[float, float] = (0.0, 0.0), noise: float = 0.0, seed: int = 0
) -> tuple[Floats, Floats]:
    """Return ``foreground`` and ``maps`` (with :data:`CHANNELS`) of labels with even sides.

    Odd labels are newborn, every fifth is dividing. ``noise`` is in shares of ``object_px`` for offsets, and of 1 for
    probabilities.
    """
    rng = np.random.default_rng(seed)
    labels = labels[: labels.shape[0] // 2 * 2, : labels.shape[1] // 2 * 2]
    centre = centres_of(labels)
    half = np.where(labels[1::2, 1::2] > 0, labels[1::2, 1::2], labels[::2, ::2])
    cell = half > 0
    here = np.stack(np.indices(half.shape)).astype(np.float32) * 2 + 0.5
    own = np.where(cell, np.moveaxis(centre[half], 2, 0) - here, 0).astype(np.float32)
    sigma = SEED_SHARE * object_px
    bump = np.where(cell, np.exp(-(own**2).sum(0) / (2 * sigma**2)), 0)
    previous = np.where(cell, own - np.array(moved_px)[:, None, None], 0)
    maps = np.stack([bump, *own, *previous, cell * (half % 2), cell * (half % 5 == 0)]).astype(np.float32)
    foreground = (labels > 0).astype(np.float32)
    if noise:
        maps[1:5] += rng.normal(0, noise * object_px, maps[1:5].shape)
        for plane in (0, 5, 6):
            maps[plane] = np.clip(maps[plane] + rng.normal(0, noise, half.shape), 0, 1)
        foreground = np.clip(foreground + rng.normal(0, noise, labels.shape), 0, 1)
    return foreground.astype(np.float32), maps.astype(np.float32)
