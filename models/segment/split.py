"""Blobs of a height image by one sweep from the top: seeds, splitting and merging at once.

Pixels are visited from the highest to the lowest and join the blob of a higher neighbour. Where two blobs meet, the
height of the saddle tells whether they are one: a low peak that stands hardly above its saddle is a ripple and is merged
(persistence, as with h-maxima), and so is a blob that is still tiny there. What is not merged stays apart: the
boundaries are those of a watershed. One counting sort and one union-find pass, so the time grows with the foreground.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.track.compiled import compiled
from stream.cells import Floats, Ints

LEVELS = 2048
"""Heights are sorted into so many steps."""


@compiled
def sorted_pixels(height: Floats, top: float) -> NDArray[np.int32]:
    """Return the flat indices of pixels above 0, highest first (stable, in ``LEVELS`` steps up to ``top``)."""
    flat = height.ravel()
    scale = (LEVELS - 1) / top
    counts = np.zeros(LEVELS + 1, np.int64)
    for v in flat:
        if v > 0:
            counts[LEVELS - min(int(v * scale), LEVELS - 1)] += 1
    for k in range(LEVELS):
        counts[k + 1] += counts[k]
    order = np.empty(counts[LEVELS], np.int32)
    for i in range(flat.size):
        v = flat[i]
        if v > 0:
            k = LEVELS - 1 - min(int(v * scale), LEVELS - 1)
            order[counts[k]] = i
            counts[k] += 1
    return order


@compiled
def _root(parent: Ints, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _one_blob(
    low_peak: float, saddle: float, low_area: int, ratio: float, least_rise: float, least_area: float
) -> bool:
    return saddle > ratio * low_peak or low_peak - saddle < least_rise or low_area < least_area


@compiled
def split(
    height: Floats, zone: Ints, ratio: float, least_rise: float, least_area: float, top: float
) -> tuple[Ints, int]:
    """Label the blobs of ``height`` (pixels above 0), never across two values of ``zone``.

    Parameters
    ----------
    height, zone : (y, x)
        Zones are at least 0; pass all zeros for one zone.
    ratio
        Two blobs are one where their saddle is higher than this share of the lower peak.
    least_rise
        ... or where the lower peak rises less than this above the saddle.
    least_area
        ... or where the blob of the lower peak has fewer pixels above the saddle.
    top
        The highest height.

    Returns
    -------
    labels, count
        ``(y, x)`` int32 with 1..count in the order of falling peaks.
    """
    rows, columns = height.shape
    flat, zones = height.ravel(), zone.ravel()
    order = sorted_pixels(height, top)
    owner = np.zeros(flat.size, np.int32)  # 0: not visited, else blob + 1
    parent = np.empty(order.size + 1, np.int32)
    peak = np.empty(order.size + 1, np.float32)
    area = np.empty(order.size + 1, np.int32)
    blobs = 0
    for i in order:
        y, x = i // columns, i % columns
        v = flat[i]
        mine, steepest, at = -1, np.float32(-1.0), -1
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                ny, nx = y + dy, x + dx
                if ny < 0 or nx < 0 or ny >= rows or nx >= columns:
                    continue
                j = ny * columns + nx
                if owner[j] == 0 or zones[j] != zones[i]:
                    continue
                if flat[j] > steepest:
                    steepest, at = flat[j], j
                other = _root(parent, owner[j] - 1)
                if mine < 0:
                    mine = other
                elif other != mine:
                    low, high = (other, mine) if peak[other] < peak[mine] else (mine, other)
                    if _one_blob(peak[low], v, area[low], ratio, least_rise, least_area):
                        parent[low] = high
                        area[high] += area[low]
                        mine = high
        if at >= 0:
            mine = _root(parent, owner[at] - 1)
        if mine < 0:
            mine = blobs
            parent[blobs], peak[blobs], area[blobs] = blobs, v, 0
            blobs += 1
        owner[i] = mine + 1
        area[mine] += 1
    return _numbered(owner, parent, order, height.shape, blobs)


@compiled
def _numbered(
    owner: Ints, parent: Ints, order: Ints, shape: Any, blobs: int
) -> tuple[Ints, int]:
    names = np.zeros(blobs + 1, np.int32)
    count = 0
    for i in order:
        root = _root(parent, owner[i] - 1)
        if names[root] == 0:
            count += 1
            names[root] = count
        owner[i] = names[root]
    return owner.reshape(shape), count
