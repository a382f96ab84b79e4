"""Gated sparse assignment: the cheapest set of links in which every row and every column is used at most once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled


@compiled
def match(
    start: NDArray[np.int64], column: NDArray[np.int64], cost: NDArray[np.float64], columns: int, miss: float
) -> NDArray[np.int64]:
    """Assign rows to columns by successive shortest augmenting paths (Jonker and Volgenant 1987, on sparse rows).

    Every row may stay alone at cost ``miss``, so a search ends as soon as leaving someone alone is cheapest: the work
    stays local to a neighbourhood.

    Parameters
    ----------
    start : (rows + 1,) int64
        Edges of row ``i`` are ``start[i]`` to ``start[i + 1]``.
    column, cost : (edges,)
        Where an edge leads and what it costs; edges dearer than ``miss`` are never taken.
    columns
        How many columns there are.

    Returns
    -------
    (rows,) int64
        Each row's column, or -1.
    """
    rows = len(start) - 1
    gain = cost - miss
    column_of, row_of = np.full(rows, -1, np.int64), np.full(columns, -1, np.int64)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    distance, reached_from = np.full(columns, np.inf), np.full(columns, -1, np.int64)
    done, touched = np.zeros(columns, np.bool_), np.empty(columns, np.int64)
    for i in range(rows):
        for e in range(start[i], start[i + 1]):
            row_price[i] = min(row_price[i], gain[e])
    for root in range(rows):
        total, last, alone, n_touched = _search(
            root, start, column, gain, row_of, row_price, column_price, distance, reached_from, done, touched
        )
        row_price[root] += total
        for j in touched[:n_touched]:
            if done[j]:
                column_price[j] += distance[j] - total
                row_price[row_of[j]] -= distance[j] - total
            distance[j], done[j] = np.inf, False
        if last < 0 and alone != root:
            last, column_of[alone] = column_of[alone], -1
        while last >= 0:
            row = reached_from[last]
            row_of[last] = row
            last, column_of[row] = column_of[row], last
            if row == root:
                last = -1
    return column_of


@compiled
def _search(
    root: int,
    start: NDArray[np.int64],
    column: NDArray[np.int64],
    gain: NDArray[np.float64],
    row_of: NDArray[np.int64],
    row_price: NDArray[np.float64],
    column_price: NDArray[np.float64],
    distance: NDArray[np.float64],
    reached_from: NDArray[np.int64],
    done: NDArray[np.bool_],
    touched: NDArray[np.int64],
) -> tuple[float, int, int, int]:
    """Find the cheapest way to place ``root``: its length, the free column or else the row left alone, columns touched.

    ``distance``, ``reached_from``, ``done`` and ``touched`` are written.
    """
    n_touched = 0
    row, so_far = root, 0.0
    alone, alone_at = root, np.inf
    while True:
        if so_far - row_price[row] < alone_at:
            alone_at, alone = so_far - row_price[row], row
        for e in range(start[row], start[row + 1]):
            j = column[e]
            reach = so_far + gain[e] - row_price[row] - column_price[j]
            if not done[j] and reach < distance[j]:
                if np.isinf(distance[j]):
                    touched[n_touched] = j
                    n_touched += 1
                distance[j], reached_from[j] = reach, row
        nearest = -1
        for j in touched[:n_touched]:
            if not done[j] and (nearest < 0 or distance[j] < distance[nearest]):
                nearest = j
        if nearest < 0 or distance[nearest] >= alone_at:
            return alone_at, -1, alone, n_touched
        if row_of[nearest] < 0:
            return distance[nearest], nearest, -1, n_touched
        done[nearest] = True
        row, so_far = row_of[nearest], distance[nearest]


@compiled
def _longer(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a copy with twice the room; one by one, as a slice compiles a message about shapes for seconds."""
    longer = np.empty(2 * len(found), np.int64)
    for k in range(len(found)):
        longer[k] = found[k]
    return longer


@compiled
def near(points: NDArray[np.float64], others: NDArray[np.float64], radius: NDArray[np.float64]
         ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Find for each of ``points`` (n, 2) the ``others`` (m, 2) within its own ``radius`` (n,), by a grid.

    Returns
    -------
    start : (n + 1,) int64
    column : (edges,) int64
        Those near point ``i``, ascending, are ``column[start[i]:start[i + 1]]``.
    """
    n, m = len(points), len(others)
    start = np.zeros(n + 1, np.int64)
    if n == 0 or m == 0:
        return start, np.empty(0, np.int64)
    low_y, low_x = others[:, 0].min(), others[:, 1].min()
    span_y, span_x = others[:, 0].max() - low_y, others[:, 1].max() - low_x
    side = max(radius.max(), np.sqrt((span_y + 1e-9) * (span_x + 1e-9) / m), 1e-9, max(span_y, span_x) / 2000)
    tall, wide = int(span_y / side) + 1, int(span_x / side) + 1
    first = np.zeros(tall * wide + 1, np.int64)
    place = np.empty(m, np.int64)
    for j in range(m):
        place[j] = int((others[j, 0] - low_y) / side) * wide + int((others[j, 1] - low_x) / side)
        first[place[j] + 1] += 1
    for k in range(tall * wide):
        first[k + 1] += first[k]
    member = np.empty(m, np.int64)
    fill = first.copy()
    for j in range(m):
        member[fill[place[j]]] = j
        fill[place[j]] += 1
    found = np.empty(max(8 * n, 16), np.int64)
    count = 0
    for i in range(n):
        y, x, r = points[i, 0], points[i, 1], radius[i]
        for gy in range(max(int(np.floor((y - r - low_y) / side)), 0), min(int((y + r - low_y) / side), tall - 1) + 1):
            for gx in range(
                max(int(np.floor((x - r - low_x) / side)), 0), min(int((x + r - low_x) / side), wide - 1) + 1
            ):
                for k in range(first[gy * wide + gx], first[gy * wide + gx + 1]):
                    j = member[k]
                    if (others[j, 0] - y) ** 2 + (others[j, 1] - x) ** 2 <= r * r:
                        if count == len(found):
                            found = _longer(found)
                        found[count] = j
                        count += 1
        for k in range(start[i] + 1, count):  # few: sorted by insertion
            j, at = found[k], k
            while at > start[i] and found[at - 1] > j:
                found[at] = found[at - 1]
                at -= 1
            found[at] = j
        start[i + 1] = count
    return start, found[:count].copy()


@compiled
def nearest_both(points: NDArray[np.float64], others: NDArray[np.float64], start: NDArray[np.int64],
                 column: NDArray[np.int64]) -> NDArray[np.int64]:  # fmt: skip
    """Return for each point the other that is its nearest and whose nearest it is, or -1; edges are as for near."""
    n, m = len(points), len(others)
    ahead, ahead_best = np.full(n, -1, np.int64), np.full(n, np.inf)
    back, back_best = np.full(m, -1, np.int64), np.full(m, np.inf)
    for i in range(n):
        for e in range(start[i], start[i + 1]):
            j = column[e]
            square = (others[j, 0] - points[i, 0]) ** 2 + (others[j, 1] - points[i, 1]) ** 2
            if square < ahead_best[i]:
                ahead_best[i], ahead[i] = square, j
            if square < back_best[j]:
                back_best[j], back[j] = square, i
    for i in range(n):
        if ahead[i] >= 0 and back[ahead[i]] != i:
            ahead[i] = -1
    return ahead
