"""Who a pixel belongs to: every pixel votes for the centre of its cell, and seeds collect the votes.

All of this happens at half the resolution, in its own unit: a *block* of 2x2 pixels. Block ``i`` has its middle at
``i + 0.5``, which is pixel ``2 i + 0.5``, so an offset of ``d`` pixels moves by ``d / 2`` blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from stream.cells import Floats, Ints

Bytes = NDArray[np.uint8]


FINE = 4096
"""Steps of a probability in sums that must not depend on their order."""


@compiled
def blocks(foreground: Floats, threshold: float) -> Bytes:
    """Return 1 for every block with a pixel above the threshold, ``(y / 2, x / 2)``."""
    rows, columns = foreground.shape[0] // 2, foreground.shape[1] // 2
    inside = np.empty((rows, columns), np.uint8)
    limit = np.float32(threshold)
    for y in range(rows):
        upper, lower = foreground[2 * y], foreground[2 * y + 1]
        for x in range(columns):
            a = max(upper[2 * x], upper[2 * x + 1])
            b = max(lower[2 * x], lower[2 * x + 1])
            inside[y, x] = max(a, b) > limit
    return inside


@compiled
def limits(grid: Ints, foreground: Floats, count: int, seeded: int, dim: float, share: float, bright: float) -> Floats:
    """Return from which probability on a pixel belongs to each label, ``(count + 1,)``.

    ``share`` of the mean over its blocks, each weighed by itself so that a halo hardly counts, between ``dim`` and
    ``bright``; ``bright`` for labels above ``seeded``.
    """
    total, weight = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for y in range(grid.shape[0]):
        upper, lower = foreground[2 * y], foreground[2 * y + 1]
        for x in range(grid.shape[1]):
            k = grid[y, x]
            if k > 0:
                best = max(upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1])
                light = np.int64(best * np.float32(FINE))
                total[k] += light * light
                weight[k] += light
    limit = np.full(count + 1, np.float32(bright), np.float32)
    for k in range(1, seeded + 1):
        if weight[k]:
            limit[k] = min(max(share * total[k] / (weight[k] * FINE), dim), bright)
    return limit


@compiled
def _step(maps: Floats, own: int, y: float, x: float) -> tuple[float, float]:
    """Follow the offset at a place: where its block says that the centre is, inside the picture."""
    rows, columns = maps.shape[1:]
    i, j = int(y), int(x)
    there_y = i + 0.5 + 0.5 * maps[own, i, j]
    there_x = j + 0.5 + 0.5 * maps[own + 1, i, j]
    return min(max(there_y, 0.0), rows - 0.01), min(max(there_x, 0.0), columns - 0.01)


@compiled
def _peaks(plane: Floats, inside: Bytes, threshold: float) -> tuple[Ints, Floats]:
    """Return flat indices and values of the local maxima of 3x3 blocks; of a plateau its first block."""
    rows, columns = plane.shape
    at, value = np.empty(1024, np.int32), np.empty(1024, np.float32)
    n = 0
    for y in range(rows):
        for x in range(columns):
            v = plane[y, x]
            if v <= threshold or inside[y, x] == 0:
                continue
            highest = True
            for i in range(max(y - 1, 0), min(y + 2, rows)):
                for j in range(max(x - 1, 0), min(x + 2, columns)):
                    earlier = i < y or (i == y and j < x)
                    if plane[i, j] > v or (earlier and plane[i, j] == v):
                        highest = False
            if highest:
                if n == at.size:
                    at, value = np.append(at, at), np.append(value, value)
                at[n], value[n] = y * columns + x, v
                n += 1
    return at[:n], value[:n]


@compiled
def seeds(maps: Floats, seed: int, own: int, inside: Bytes, threshold: float, near: float) -> tuple[Floats, Floats]:
    """Find the cells' centres: peaks of the seed plane, moved to where they themselves say that the centre is.

    Of peaks that name centres nearer than ``near`` blocks to each other the strongest stays.

    Returns
    -------
    centres, strength
        ``(n, 2)`` in blocks and ``(n,)``, the strongest first.
    """
    rows, columns = inside.shape
    at, value = _peaks(maps[seed], inside, threshold)
    centres, strength = np.empty((at.size, 2), np.float32), np.empty(at.size, np.float32)
    side = max(near, 1.0)
    first = np.full((int(rows / side) + 2, int(columns / side) + 2), -1, np.int32)
    after = np.empty(at.size, np.int32)
    n = 0
    for k in np.argsort(-value, kind="mergesort"):
        y, x = _step(maps, own, at[k] // columns + 0.5, at[k] % columns + 0.5)
        bin_y, bin_x = int(y / side), int(x / side)
        free = True
        for i in range(max(bin_y - 1, 0), min(bin_y + 2, first.shape[0])):
            for j in range(max(bin_x - 1, 0), min(bin_x + 2, first.shape[1])):
                other = first[i, j]
                while other >= 0:
                    if (centres[other, 0] - y) ** 2 + (centres[other, 1] - x) ** 2 < near * near:
                        free = False
                    other = after[other]
        if free:
            centres[n, 0], centres[n, 1], strength[n] = y, x, value[k]
            after[n], first[bin_y, bin_x] = first[bin_y, bin_x], n
            n += 1
    return centres[:n], strength[:n]


@compiled
def spread(centres: Floats, rows: int, columns: int, reach: float) -> Ints:
    """Write each centre's number (from 1) on the blocks nearest to it within ``reach`` blocks."""
    owner = np.zeros((rows, columns), np.int32)
    nearest = np.full((rows, columns), np.float32(reach * reach), np.float32)
    for k in range(len(centres)):
        cy, cx = centres[k, 0], centres[k, 1]
        for i in range(max(int(cy - reach), 0), min(int(cy + reach) + 1, rows)):
            for j in range(max(int(cx - reach), 0), min(int(cx + reach) + 1, columns)):
                d = (np.float32(i) + np.float32(0.5) - cy) ** 2 + (np.float32(j) + np.float32(0.5) - cx) ** 2
                if d < nearest[i, j]:
                    nearest[i, j], owner[i, j] = d, k + 1
    return owner


@compiled
def assign(maps: Floats, own: int, inside: Bytes, owner: Ints, hops: int) -> tuple[Ints, Ints]:
    """Give every block to the seed that its vote reaches, and list the blocks that reach none.

    A vote that falls short (in a large cell) is passed on by the block where it lands, at most ``hops`` times.
    """
    rows, columns = inside.shape
    grid = np.zeros((rows, columns), np.int32)
    lost = np.empty(rows * columns, np.int32)
    n = 0
    for i in range(rows):
        for j in range(columns):
            if inside[i, j] == 0:
                continue
            y, x = i + 0.5, j + 0.5
            for _ in range(hops + 1):
                y, x = _step(maps, own, y, x)
                k = owner[int(y), int(x)]
                if k:
                    break
            if k:
                grid[i, j] = k
            else:
                lost[n] = i * columns + j
                n += 1
    return grid, lost[:n]


@compiled
def settle(grid: Ints, lost: Ints, count: int, least: float) -> int:
    """Find a cell for the blocks whose votes reached no seed, in place; return how many cells there are then.

    A connected patch of at least ``least`` blocks is a cell that showed no seed: all its votes point away from the
    seeds beside it. Smaller patches go to the labelled blocks around them, the nearest first; what touches none is 0.
    """
    rows, columns = grid.shape
    flat = grid.ravel()
    for i in lost:
        flat[i] = -1
    queue = np.empty(lost.size, np.int32)
    for start in lost:
        if flat[start] != -1:
            continue
        head, tail = 0, 1
        queue[0], flat[start] = start, -2
        while head < tail:
            i = queue[head]
            head += 1
            y, x = i // columns, i % columns
            for side in range(4):
                ny, nx = y + (side == 1) - (side == 0), x + (side == 3) - (side == 2)
                if 0 <= ny < rows and 0 <= nx < columns and flat[ny * columns + nx] == -1:
                    flat[ny * columns + nx] = -2
                    queue[tail] = ny * columns + nx
                    tail += 1
        if tail >= least:
            count += 1
            for i in queue[:tail]:
                flat[i] = count
    _flood(flat, lost, rows, columns, queue)
    return count


@compiled
def _flood(flat: Ints, lost: Ints, rows: int, columns: int, queue: Ints) -> None:
    """Let labels grow over the blocks marked -2, one ring after the other; what is not reached becomes 0."""
    tail = 0
    for i in lost:
        if flat[i] == -2 and _beside(flat, i, rows, columns) > 0:
            queue[tail], flat[i] = i, -3
            tail += 1
    head, ring = 0, tail
    found = np.empty(lost.size, np.int32)
    while head < ring:
        for q in range(head, ring):
            found[q] = _beside(flat, queue[q], rows, columns)
        for q in range(head, ring):
            flat[queue[q]] = found[q]
        for q in range(head, ring):
            y, x = queue[q] // columns, queue[q] % columns
            for side in range(4):
                ny, nx = y + (side == 1) - (side == 0), x + (side == 3) - (side == 2)
                if 0 <= ny < rows and 0 <= nx < columns and flat[ny * columns + nx] == -2:
                    flat[ny * columns + nx] = -3
                    queue[tail] = ny * columns + nx
                    tail += 1
        head, ring = ring, tail
    for i in lost:
        flat[i] = max(flat[i], 0)


@compiled
def _beside(flat: Ints, i: int, rows: int, columns: int) -> int:
    """Return the label of the neighbour above, left, right or below, the first that has one; 0: none."""
    y, x = i // columns, i % columns
    if y > 0 and flat[i - columns] > 0:
        return int(flat[i - columns])
    if x > 0 and flat[i - 1] > 0:
        return int(flat[i - 1])
    if x < columns - 1 and flat[i + 1] > 0:
        return int(flat[i + 1])
    if y < rows - 1 and flat[i + columns] > 0:
        return int(flat[i + columns])
    return 0
