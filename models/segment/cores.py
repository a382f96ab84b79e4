"""What the planes say about each cell: means over its core, where the seed plane is high."""

from __future__ import annotations

import numpy as np

from models.compiled import compiled
from models.segment.measure import Doubles
from stream.cells import Floats, Ints

_LEAST_WEIGHT = 1e-3
"""So that a cell without a seed has a mean too."""


@compiled
def core_means(
    labels: Ints, row_at: Ints, column_at: Ints, count: int, maps: Floats, seed: int, planes: Ints
) -> tuple[Doubles, Floats]:
    """Return means of planes over each cell, weighted by the seed plane, and each cell's highest seed.

    Parameters
    ----------
    row_at, column_at
        The pixel of ``labels`` in which the middle of each block of ``maps`` lies.
    planes
        Which planes; for one below 0 the answer is NaN.

    Returns
    -------
    means, peak
        ``(count, len(planes))``, NaN for a cell without a block; ``(count,)``.
    """
    weight = np.zeros(count, np.float64)
    means, peak = np.zeros((count, len(planes)), np.float64), np.zeros(count, np.float32)
    for i in range(len(row_at)):
        line = labels[row_at[i]]
        for j in range(len(column_at)):
            k = line[column_at[j]] - 1
            if k < 0:
                continue
            v = maps[seed, i, j]
            peak[k] = max(peak[k], v)
            weight[k] += v + _LEAST_WEIGHT
            for p in range(len(planes)):
                if planes[p] >= 0:
                    means[k, p] += (v + _LEAST_WEIGHT) * maps[planes[p], i, j]
    for k in range(count):
        for p in range(len(planes)):
            known = weight[k] > 0 and planes[p] >= 0
            means[k, p] = means[k, p] / weight[k] if known else np.nan
    return means, peak


@compiled
def core_places(
    labels: Ints, row_at: Ints, column_at: Ints, count: int, maps: Floats, seed: int, plane: int, trust_px: float
) -> Doubles:
    """Return the place to which each cell's offsets in ``plane`` and ``plane + 1`` point, ``(count, 2)`` network px.

    A mean over the core, taken twice: the second time votes far from the first mean count less (one step of iterated
    reweighting with Cauchy's weight of width ``trust_px``). NaN for a cell without a block.
    """
    place = np.full((count, 2), np.nan)
    for again in range(2):
        total = np.zeros((count, 3), np.float64)
        for i in range(len(row_at)):
            line = labels[row_at[i]]
            for j in range(len(column_at)):
                k = line[column_at[j]] - 1
                if k < 0:
                    continue
                w = maps[seed, i, j] + _LEAST_WEIGHT
                y = 2 * i + 0.5 + maps[plane, i, j]
                x = 2 * j + 0.5 + maps[plane + 1, i, j]
                if again:
                    w /= 1 + ((y - place[k, 0]) ** 2 + (x - place[k, 1]) ** 2) / trust_px**2
                total[k, 0] += w
                total[k, 1] += w * y
                total[k, 2] += w * x
        for k in range(count):
            if total[k, 0] > 0:
                place[k, 0], place[k, 1] = total[k, 1] / total[k, 0], total[k, 2] / total[k, 0]
    return place
