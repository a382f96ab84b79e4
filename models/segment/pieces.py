"""From blocks to outlines: runs of equal label along the rows make it cheap to see what hangs together.

A row of a label image has a few dozen runs where it has a thousand pixels, so connected pieces, holes, areas, centroids
and boxes are all taken from the runs. A table of runs is ``(n, 4)``: start, end (excluded), label, row.
"""

from __future__ import annotations

import numpy as np

from models.compiled import compiled
from models.segment.measure import Doubles
from stream.cells import Floats, Ints

_LOOSE = -1


@compiled
def runs_of(foreground: Floats, limits: Floats, grid: Ints, row_of: Ints, column_of: Ints) -> tuple[Ints, Ints]:
    """Cut every row into runs: pixels above the limit of their block's label have that label, others 0.

    Returns
    -------
    runs, first
        The table, and the number of the first run of each row, ``(rows + 1,)``.
    """
    rows, columns = foreground.shape
    runs, first = np.empty((rows * 64 + columns + 1, 4), np.int32), np.empty(rows + 1, np.int32)
    n = 0
    for y in range(rows):
        if n + columns > len(runs):
            runs = np.concatenate((runs, np.empty_like(runs)))
        first[y] = n
        line, values = grid[row_of[y]], foreground[y]
        label, start = np.int32(-1), 0
        for x in range(columns):
            k = line[column_of[x]]
            if k and values[x] <= limits[k]:
                k = np.int32(0)
            if k != label:
                if x:
                    runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = start, x, label, y
                    n += 1
                label, start = k, x
        runs[n, 0], runs[n, 1], runs[n, 2], runs[n, 3] = start, columns, label, y
        n += 1
    first[rows] = n
    return runs[:n], first


@compiled
def _join(parent: Ints, a: int, b: int) -> None:
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    while parent[b] != b:
        parent[b] = parent[parent[b]]
        b = parent[b]
    parent[max(a, b)] = min(a, b)


@compiled
def pieces_of(runs: Ints, first: Ints) -> tuple[Ints, int]:
    """Return each run's connected piece, from 0, and how many there are (labels: 8 neighbours, background: 4)."""
    parent = np.arange(len(runs)).astype(np.int32)
    for y in range(1, len(first) - 1):
        a, b = first[y - 1], first[y]
        while a < first[y] and b < first[y + 1]:
            if runs[a, 2] == runs[b, 2]:
                _join(parent, a, b)
            end_a, end_b = runs[a, 1], runs[b, 1]
            if end_a == end_b:
                if b + 1 < first[y + 1] and runs[a, 2] and runs[a, 2] == runs[b + 1, 2]:
                    _join(parent, a, b + 1)
                if a + 1 < first[y] and runs[b, 2] and runs[b, 2] == runs[a + 1, 2]:
                    _join(parent, a + 1, b)
            a += end_a <= end_b
            b += end_b <= end_a
    count = 0
    for i in range(len(runs)):  # a root comes before what hangs on it
        if parent[i] == i:
            parent[i] = count
            count += 1
        else:
            parent[i] = parent[parent[i]]
    return parent, count


@compiled
def names_of(
    runs: Ints, first: Ints, piece: Ints, pieces: int, labels: int, least: float, own: float, hole: float
) -> tuple[Ints, int]:
    """Decide what each piece is: a cell, part of the cell around or beside it, or nothing.

    The largest piece of a label is its cell, unless it is below ``least`` pixels; another one is a cell of its own from
    ``own`` pixels. Pieces that are no cell go to the cell that they touch most. A hole of at most ``hole`` pixels goes
    to the cell around it, if it is one.

    Returns
    -------
    name, count
        ``(pieces,)``: the cell, from 1 in the order of the labels, or 0; and how many cells there are.
    """
    area, label_of = np.zeros(pieces, np.int64), np.zeros(pieces, np.int32)
    name = np.full(pieces, np.int32(_LOOSE))
    rows, columns = len(first) - 1, runs[-1, 1]
    for i in range(len(runs)):
        start, end, label, y = runs[i]
        area[piece[i]] += end - start
        label_of[piece[i]] = label
        if label == 0 and (start == 0 or end == columns or y in (0, rows - 1)):
            name[piece[i]] = 0
    main = np.full(labels + 1, np.int32(-1))
    for p in range(pieces):
        k = label_of[p]
        if k and (main[k] < 0 or area[p] > area[main[k]]):
            main[k] = p
        if k == 0 and area[p] > hole:
            name[p] = 0
    count = 0
    for k in range(1, labels + 1):
        if main[k] >= 0 and area[main[k]] >= least:
            count += 1
            name[main[k]] = count
    for p in range(pieces):
        if label_of[p] and name[p] == _LOOSE and area[p] >= own and area[p] >= least:
            count += 1
            name[p] = count
    _adopt(runs, first, piece, label_of, name)
    return name, count


@compiled
def _adopt(runs: Ints, first: Ints, piece: Ints, label_of: Ints, name: Ints) -> None:
    """Give loose pieces to a neighbour, in place: holes to their only one, others to the one that they touch most.

    The vote is Boyer and Moore's: one pass, exact wherever a neighbour has the majority of the contact.
    """
    winner, weight = np.zeros(name.size, np.int32), np.zeros(name.size, np.int32)
    several = np.zeros(name.size, np.uint8)
    for i in range(len(runs)):
        p = piece[i]
        if name[p] != _LOOSE:
            continue
        start, end, y = runs[i, 0], runs[i, 1], runs[i, 3]
        for line in range(max(y - 1, 0), min(y + 2, len(first) - 1)):
            for other in range(first[line], first[line + 1]):
                touch = min(end, runs[other, 1]) - max(start, runs[other, 0]) + (line == y)
                k = name[piece[other]]
                if touch <= 0 or k <= 0:
                    continue
                several[p] |= winner[p] > 0 and winner[p] != k
                if winner[p] == k:
                    weight[p] += touch
                elif touch > weight[p]:
                    winner[p], weight[p] = k, touch - weight[p]
                else:
                    weight[p] -= touch
    for p in range(name.size):
        if name[p] == _LOOSE:
            name[p] = 0 if label_of[p] == 0 and several[p] else winner[p]


@compiled
def painted(runs: Ints, piece: Ints, name: Ints, count: int, foreground: Floats) -> tuple[Ints, Doubles, Ints, Doubles]:
    """Draw the cells.

    Returns
    -------
    labels, total, boxes, light
        ``(y, x)`` labels 1..count; for each cell n, Σy, Σx, its box ``(y0, x0, y1, x1)`` and the sum of ``foreground``.
    """
    rows, columns = foreground.shape
    labels = np.zeros((rows, columns), np.int32)
    total, light = np.zeros((count, 3), np.float64), np.zeros(count, np.float64)
    boxes = np.zeros((count, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = rows, columns
    for i in range(len(runs)):
        k = name[piece[i]]
        if k == 0:
            continue
        start, end, y = runs[i, 0], runs[i, 1], runs[i, 3]
        line, values = labels[y], foreground[y]
        inside = np.float32(0)
        for x in range(start, end):
            line[x] = k
            inside += values[x]
        light[k - 1] += inside
        t, b, n = total[k - 1], boxes[k - 1], end - start
        t[0] += n
        t[1] += n * y
        t[2] += n * 0.5 * (start + end - 1)
        b[0], b[1] = min(b[0], y), min(b[1], start)
        b[2], b[3] = max(b[2], y + 1), max(b[3], end)
    return labels, total, boxes, light
