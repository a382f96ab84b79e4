"""Blobs of a height image: every pixel climbs to a peak, and peaks without a valley between them are one blob.

Where two basins meet, the height of the saddle tells whether they are one: a low peak that stands hardly above its
saddle is a ripple and is merged (persistence, as with h-maxima), and so is a tiny basin. Saddles are taken from the
highest down, so the boundaries that remain are those of a watershed. The pixels are passed in memory order, and only
the pixel pairs between basins are sorted, which makes this several times faster than a flood.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from stream.cells import Floats, Ints


@compiled
def _uphill(height: Floats, zone: Ints) -> tuple[Ints, Ints, Floats, Ints]:
    """Pad and list the pixels above 0 and point each at its highest neighbour in its zone, or at itself on a peak.

    On a plateau pixels follow an earlier neighbour, so paths never circle. Returns flat indices ``at`` into the image
    with a border of one pixel, ``up`` at each of its pixels, and its flat heights and zones.
    """
    rows, columns = height.shape
    wide = columns + 2
    flat, zones = np.zeros((rows + 2) * wide, np.float32), np.zeros((rows + 2) * wide, np.int32)
    at, up = np.empty(height.size, np.int32), np.empty((rows + 2) * wide, np.int32)
    n = 0
    for y in range(rows):
        for x in range(columns):
            if height[y, x] > 0:
                i = (y + 1) * wide + x + 1
                flat[i], zones[i], at[n] = height[y, x], zone[y, x], i
                n += 1
    earlier = (-wide - 1, -wide, -wide + 1, -1)
    for i in at[:n]:
        best, highest, mine = i, flat[i], zones[i]
        for step in earlier:
            if flat[i + step] >= highest and zones[i + step] == mine:
                best, highest = i + step, flat[i + step]
        for step in earlier:
            if flat[i - step] > highest and zones[i - step] == mine:
                best, highest = i - step, flat[i - step]
        up[i] = best
    return at[:n], up, flat, zones


@compiled
def _basins(at: Ints, up: Ints, flat: Floats) -> tuple[Ints, Floats, Ints]:
    """Follow every pixel to its peak; return the basin (1..n) of every pixel, and the peak and area of each basin."""
    basin = np.zeros(up.size, np.int32)
    peak, area = np.zeros(1024, np.float32), np.zeros(1024, np.int32)
    count = 0
    for i in at:
        j = i
        while up[j] != j and basin[j] == 0:
            j = up[j]
        if basin[j] == 0:
            count += 1
            if count == peak.size:
                peak, area = np.append(peak, np.zeros_like(peak)), np.append(area, np.zeros_like(area))
            basin[j], peak[count] = count, flat[j]
        name, j = basin[j], i
        area[name] += 1
        while basin[j] == 0:
            basin[j] = name
            j = up[j]
    return basin, peak[: count + 1], area[: count + 1]


@compiled
def _saddles(at: Ints, basin: Ints, flat: Floats, zones: Ints, wide: int) -> tuple[Floats, Ints]:
    """Return the lower height of every neighbouring pixel pair of two basins of a zone, and the basins ``(n, 2)``."""
    saddle, pair = np.empty(4096, np.float32), np.empty((4096, 2), np.int32)
    n = 0
    later = (1, wide - 1, wide, wide + 1)
    for i in at:
        mine = basin[i]
        if basin[i + 1] == basin[i + wide - 1] == basin[i + wide] == basin[i + wide + 1] == mine:
            continue
        if n + 4 > saddle.size:
            saddle, pair = np.append(saddle, saddle), np.concatenate((pair, pair))
        for step in later:
            j = i + step
            if basin[j] and basin[j] != mine and zones[j] == zones[i]:
                saddle[n], pair[n, 0], pair[n, 1] = min(flat[i], flat[j]), mine, basin[j]
                n += 1
    return saddle[:n], pair[:n]


@compiled
def _root(parent: Ints, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@compiled
def _merge(
    saddle: Floats, pair: Ints, peak: Floats, area: Ints, ratio: float, least_rise: float, least_area: float
) -> Ints:
    """Unite basins, the highest saddle first; return each one's representative."""
    parent = np.arange(peak.size).astype(np.int32)
    for e in np.argsort(-saddle):
        a, b = _root(parent, pair[e, 0]), _root(parent, pair[e, 1])
        if a == b:
            continue
        low, high = (a, b) if peak[a] < peak[b] else (b, a)
        ripple = saddle[e] > ratio * peak[low] or peak[low] - saddle[e] < least_rise
        if ripple or area[low] < least_area:
            parent[low] = high
            area[high] += area[low]
    for i in range(peak.size):
        parent[i] = _root(parent, i)
    return parent


@compiled
def split(
    height: Floats, zone: Ints, ratio: float, least_rise: float, least_area: float
) -> tuple[NDArray[np.int32], int]:
    """Label the blobs of ``height`` (pixels above 0), never across two values of ``zone``.

    Parameters
    ----------
    height, zone : (y, x)
        Float32 and int32.
    ratio
        Two blobs are one where their saddle is higher than this share of the lower peak.
    least_rise
        ... or where the lower peak rises less than this above the saddle.
    least_area
        ... or where the lower one has fewer pixels.

    Returns
    -------
    labels, count
        ``(y, x)`` int32 with 1..count.
    """
    wide = height.shape[1] + 2
    at, up, flat, zones = _uphill(height, zone)
    basin, peak, area = _basins(at, up, flat)
    saddle, pair = _saddles(at, basin, flat, zones, wide)
    parent = _merge(saddle, pair, peak, area, ratio, least_rise, least_area)
    name = np.zeros(peak.size, np.int32)
    count = 0
    for i in range(1, peak.size):
        if parent[i] == i:
            count += 1
            name[i] = count
    labels = np.zeros(height.shape, np.int32)
    for i in at:
        labels[i // wide - 1, i % wide - 1] = name[parent[basin[i]]]
    return labels, count
