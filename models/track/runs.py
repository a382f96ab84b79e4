"""The label image as runs of equal labels on every so manieth line: what measuring and overlaps need of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs of cells on the lines ``phase``, ``phase + pace``, …

    Parameters
    ----------
    height, width, pace, phase
        Of the image, and which of its lines are there.
    start : (lines + 1,) int32
        Runs of line ``i`` are ``start[i]`` to ``start[i + 1]``, from left to right.
    left, right : (n,) int32
        First column of a run, and the one behind its last.
    cell : (n,) int32
        Whose it is: a row of the Cells table, or a track's id.
    """

    height: int
    width: int
    pace: int
    phase: int
    start: Ints
    left: Ints
    right: Ints
    cell: Ints

    def named(self, names: Longs | Ints, labels: Ints) -> Runs:
        """Return the runs with ``names[cell]`` in the place of ``cell``.

        Where the name is 0 the cell was cut or left out: then what ``labels`` says there counts.
        """
        start, left, right, cell = _named(
            self.start, self.left, self.right, self.cell, names.astype(np.int32), labels, self.pace, self.phase
        )
        return replace(self, start=start, left=left, right=right, cell=cell)

    def packed(self) -> list[Any]:
        """Return what msgpack takes."""
        columns = [getattr(self, column.name) for column in fields(self)]
        return [*columns[:4], *(column.tobytes() for column in columns[4:])]

    @classmethod
    def unpacked(cls, said: list[Any]) -> Runs:
        """Take up what :meth:`packed` returned. Raises ValueError."""
        return cls(*said[:4], *(np.frombuffer(column, np.int32).copy() for column in said[4:]))


def pace(typical_px: float) -> int:
    """Return how many lines apart a cell may be sampled and still be crossed eight times."""
    return int(np.clip(typical_px / 8, 1, 4))


def scan(labels: Ints, known: Ints, pixels: NDArray[Any], pace: int, phase: int = 0) -> tuple[Runs, Floats]:
    """Find the runs of the cells ``known`` (their labels, ascending), and sum over each cell.

    Returns
    -------
    Runs
        Of rows of ``known``; other labels have none.
    (n, 7) float64
        Sums of 1, value, y, x, yy, xx, yx; coordinates count from each cell's first run, so that squares stay small.
    """
    lookup, least = lookup_of(known)
    start, left, right, cell, sums = _scan(labels, lookup, least, len(known), pixels, pace, phase)
    return Runs(labels.shape[0], labels.shape[1], pace, phase, start, left, right, cell), sums


@compiled
def lookup_of(known: Ints) -> tuple[Ints, int]:
    """Return the lookup from label, less the smallest, to its place in ``known``, -1 where none; and the smallest.

    Labels that are not positive are none.
    """
    least, most = 1 << 40, 0
    for k in range(len(known)):
        if known[k] > 0:
            least, most = min(least, int(known[k])), max(most, int(known[k]))
    lookup = np.full(max(most - least + 1, 0), -1, np.int32)
    for k in range(len(known)):
        if known[k] > 0:
            lookup[known[k] - least] = k
    return lookup, least


@compiled
def _scan(
    labels: Ints, lookup: Ints, least: int, cells: int, pixels: NDArray[Any], pace: int, phase: int
) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    height, width = labels.shape
    lines = max(0, (height - phase + pace - 1) // pace)
    start = np.zeros(lines + 1, np.int32)
    runs = np.empty((max(16 * cells, 2 * width), 3), np.int32)
    sums, origin = np.zeros((cells, 7)), np.zeros((cells, 2), np.int64)
    n = 0
    for line in range(lines):
        if n + width > len(runs):
            longer = np.empty((2 * len(runs) + width, 3), np.int32)
            for k in range(n):  # a slice's message about shapes that differ takes seconds to compile
                longer[k, 0], longer[k, 1], longer[k, 2] = runs[k, 0], runs[k, 1], runs[k, 2]
            runs = longer
        y = phase + line * pace
        n = _scan_line(labels[y], pixels[y], y, lookup, least, runs, n, sums, origin)
        start[line + 1] = n
    return start, runs[:n, 0].copy(), runs[:n, 1].copy(), runs[:n, 2].copy(), sums


@compiled
def _scan_line(
    labels: Ints,
    pixels: NDArray[Any],
    y: int,
    lookup: Ints,
    least: int,
    runs: Ints,
    n: int,
    sums: Floats,
    origin: Longs,
) -> int:
    """Add the runs of line ``y`` behind the first ``n``, and to the sums; return how many there are then."""
    x, width = 0, len(labels)
    while x < width:
        label = labels[x]
        if label == 0:
            x += 1
            continue
        first, value = x, np.int64(0)
        while x < width and labels[x] == label:
            x += 1
        for i in range(first, x):
            value += pixels[i]
        place = label - least
        k = lookup[place] if 0 <= place < len(lookup) else np.int32(-1)
        if k < 0:
            continue
        runs[n, 0], runs[n, 1], runs[n, 2] = first, x, k
        n += 1
        if sums[k, 0] == 0:
            origin[k, 0], origin[k, 1] = y, first
        count, dy, low = float(x - first), float(y - origin[k, 0]), float(first - origin[k, 1])
        high = low + count - 1
        across = count * (low + high) / 2
        sums[k, 0] += count
        sums[k, 1] += value
        sums[k, 2] += dy * count
        sums[k, 3] += across
        sums[k, 4] += dy * dy * count
        sums[k, 5] += (high * (high + 1) * (2 * high + 1) - (low - 1) * low * (2 * low - 1)) / 6
        sums[k, 6] += dy * across
    return n


@compiled
def _named(
    start: Ints, left: Ints, right: Ints, cell: Ints, names: Ints, labels: Ints, pace: int, phase: int
) -> tuple[Ints, Ints, Ints, Ints]:
    room = len(cell)
    for k in range(len(cell)):
        if names[cell[k]] == 0:
            room += right[k] - left[k]
    runs, begin, n = np.empty((room, 3), np.int32), start.copy(), 0
    for line in range(len(start) - 1):
        for k in range(start[line], start[line + 1]):
            if names[cell[k]] != 0:
                runs[n, 0], runs[n, 1], runs[n, 2] = left[k], right[k], names[cell[k]]
                n += 1
                continue
            row, last = labels[phase + line * pace], np.int32(0)
            for x in range(left[k], right[k]):
                if row[x] != last:
                    last = row[x]
                    if last != 0:
                        runs[n, 0], runs[n, 2] = x, last
                        n += 1
                if last != 0:
                    runs[n - 1, 1] = x + 1
        begin[line + 1] = n
    return begin, runs[:n, 0].copy(), runs[:n, 1].copy(), runs[:n, 2].copy()


def phase_after(before: Runs, down: int) -> int:
    """Return the phase at which an image shows the lines of the one before, moved ``down`` by so many px."""
    return (before.phase + down) % before.pace


@compiled
def shared(
    start: Longs, column: Longs, row_of: Ints, least: int, pace: int,
    now: tuple[int, Ints, Ints, Ints, Ints], before: tuple[int, Ints, Ints, Ints, Ints], shift: tuple[int, int],
) -> Longs:  # fmt: skip
    """Count for each edge the pixels that its track's runs share with its cell's; every line counts for ``pace``.

    Parameters
    ----------
    start, column
        Edges of row ``i`` are ``start[i]`` to ``start[i + 1]``.
    row_of, least
        :func:`lookup_of` the tracks' ids.
    now, before
        ``(phase, start, left, right, cell)`` of both images, the first by cell, the other by track id.
    shift
        ``(y, x)`` px from the image before to this one; the phases fit to it.
    """
    found = np.zeros(len(column), np.int64)
    phase, first, left, right, cell = now
    phase_was, first_was, left_was, right_was, track = before
    offset = (phase - shift[0] - phase_was) // pace
    for line in range(max(0, -offset), min(len(first) - 1, len(first_was) - 1 - offset)):
        a, b = first[line], first_was[line + offset]
        while a < first[line + 1] and b < first_was[line + offset + 1]:
            low = max(left[a], left_was[b] + shift[1])
            high = min(right[a], right_was[b] + shift[1])
            if low < high:
                place = track[b] - least
                i = row_of[place] if 0 <= place < len(row_of) else np.int32(-1)
                if i >= 0:
                    for e in range(start[i], start[i + 1]):
                        if column[e] == cell[a]:
                            found[e] += (high - low) * pace
            if right[a] < right_was[b] + shift[1]:
                a += 1
            else:
                b += 1
    return found
