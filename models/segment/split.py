"""Blobs of a height image: every pixel climbs to a peak, and peaks without a valley between them are one blob.

Where two basins meet, the height of the saddle tells whether they are one: a low peak that stands hardly above its
saddle is a ripple and is merged (persistence, as with h-maxima), and so is a tiny basin. Saddles are taken from the
highest down, so the boundaries that remain are those of a watershed. The pixels are passed in memory order, and only
the pixel pairs between basins are sorted, which makes this several times faster than a flood.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.track.compiled import compiled
from stream.cells import Floats, Ints


@compiled
def _uphill(height: Floats, zone: Ints) -> Ints:
    """Return for every pixel above 0 the flat index of its highest neighbour in its zone, or its own at a peak."""
    rows, columns = height.shape
    flat, zones = height.ravel(), zone.ravel()
    up = np.full(flat.size, -1, np.int32)
    for y in range(rows):
        for x in range(columns):
            i = y * columns + x
            if not flat[i] > 0:
                continue
            best, highest, mine = i, flat[i], zones[i]
            left, right = max(x - 1, 0) - x, min(x + 2, columns) - x
            for row in range(i - columns * (y > 0), i + columns * (y + 1 < rows) + 1, columns):
                for j in range(row + left, row + right):
                    if (flat[j] > highest or (flat[j] == highest and j < best)) and zones[j] == mine:
                        best, highest = j, flat[j]
            up[i] = best
    return up


@compiled
def _basins(height: Floats, up: Ints) -> tuple[Ints, Floats, Ints]:
    """Follow every pixel to its peak; return the basin (1..n) of every pixel, and the peak and area of each basin."""
    flat = height.ravel()
    basin = np.zeros(up.size, np.int32)
    peak, area = np.zeros(1024, np.float32), np.zeros(1024, np.int32)
    count = 0
    for i in range(up.size):
        if up[i] < 0:
            continue
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
def _saddles(height: Floats, zone: Ints, basin: Ints) -> tuple[Floats, Ints]:
    """Return the lower height of every neighbouring pixel pair of two basins of a zone, and the basins ``(n, 2)``."""
    rows, columns = height.shape
    flat, zones = height.ravel(), zone.ravel()
    saddle = np.empty(4 * flat.size, np.float32)
    pair = np.empty((4 * flat.size, 2), np.int32)
    n = 0
    for y in range(rows):
        for x in range(columns):
            i = y * columns + x
            if basin[i] == 0:
                continue
            for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
                if y + dy >= rows or x + dx < 0 or x + dx >= columns:
                    continue
                j = i + dy * columns + dx
                if basin[j] and basin[j] != basin[i] and zones[j] == zones[i]:
                    saddle[n], pair[n, 0], pair[n, 1] = min(flat[i], flat[j]), basin[i], basin[j]
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
        Contiguous.
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
    basin, peak, area = _basins(height, _uphill(height, zone))
    saddle, pair = _saddles(height, zone, basin)
    parent = _merge(saddle, pair, peak, area, ratio, least_rise, least_area)
    name = np.zeros(peak.size, np.int32)
    count = 0
    for i in range(1, peak.size):
        if parent[i] == i:
            count += 1
            name[i] = count
    for i in range(1, peak.size):
        name[i] = name[parent[i]]
    for i in range(basin.size):
        basin[i] = name[basin[i]]
    return basin.reshape(height.shape), count
