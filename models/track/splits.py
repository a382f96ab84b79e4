"""Finding mothers for cells that nobody expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.divide.evidence import Mothers, likelihood
from models.track.links import Links
from models.track.matching import near
from models.track.measure import Bodies, daughters
from models.track.strays import joined

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]


FALLS_INTO = 0.75
"""How far a vote may be from the last place of the track that it is for, in diameters of the typical cell."""


THIRD = 0.9
"""Probability from which a third daughter is believed: hardly one division in a hundred has one."""


@dataclass(frozen=True, slots=True)
class Split:
    """Track ``row`` became the cells ``daughters`` (rows of the Cells table), the one nearer to it first."""

    row: int
    daughters: tuple[int, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Least:
    """The smallest probability that is worth a proposal: of cells that nobody goes on in, where one of them would be
    taken from another track, and where that one is doubted."""

    new: float
    taken: float
    stray: float


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Supposed divisions: track ``row`` became the cells ``one`` and ``two``, with what probability, and the least that
    is worth a proposal; ``(n,)`` each."""

    row: Longs
    one: Longs
    two: Longs
    p: Floats
    least: Floats

    def take(self, rows: Any) -> Weighed:
        """Return some of them, by row numbers or a mask."""
        return Weighed(self.row[rows], self.one[rows], self.two[rows], self.p[rows], self.least[rows])


def weigh(mothers: Mothers, found: Bodies, made: Links, cell_of: Longs, stray: Bools, least: Least) -> Weighed:
    """Weigh every division that this frame suggests.

    Parameters
    ----------
    mothers
        The past of every track.
    cell_of : (tracks,)
        The cell that each track goes on in, or -1.
    stray : (tracks,)
        Which of them are doubted: :func:`models.track.strays.strays`. Their cells are as good as unexpected, and a
        mother is weighed with and without them as pieces of her.
    """
    row, one, two = hypotheses(mothers, found, made, np.where(stray, -1, cell_of))
    row, one, two = (column[~stray[row]] for column in (row, one, two))
    if len(row) == 0:
        return Weighed(row, one, two, np.zeros(0), np.zeros(0))
    by, mine, doubted = owners(row, one, two, cell_of, stray)
    goes_on, takes = np.any(mine, axis=1, keepdims=False), np.any((by >= 0) & ~mine & ~doubted, axis=1)
    pairs = daughters(found, one, two, goes_on, takes)
    p = likelihood(mothers.take(row), pairs, found.typical_px, found.kind)
    enough = np.where(takes, least.taken, np.where(doubted.any(axis=1), least.stray, least.new))
    for side in range(2):
        its = np.nonzero(doubted[:, side] & ~takes)[0]
        if len(its):
            sums = joined(mothers.take(row[its]), mothers.take(by[its, side]))
            p[its] = np.maximum(p[its], likelihood(sums, pairs.take(its), found.typical_px, found.kind))
    return Weighed(row, one, two, p, enough)


def owners(row: Longs, one: Longs, two: Longs, cell_of: Longs, stray: Bools) -> tuple[Longs, Bools, Bools]:
    """Return the tracks that go on in both cells of each supposed division if nobody divides, or -1, whether these are
    the mother, and whether they are doubted; ``(n, 2)`` each."""
    owner = np.full(max(cell_of.max(initial=0), one.max(initial=0), two.max(initial=0)) + 1, -1, np.int64)
    seen = np.nonzero(cell_of >= 0)[0]
    owner[cell_of[seen]] = seen
    by = np.stack([owner[one], owner[two]], axis=1)
    return by, by == row[:, None], (by >= 0) & stray[by]


def hypotheses(mothers: Mothers, found: Bodies, made: Links, cell_of: Longs) -> tuple[Longs, Longs, Longs]:
    """Return which track may have become which two cells, ``(row, one, two)``, all distinct.

    Every unexpected cell is paired with every track near it and that track's own cell, or another unexpected one. Cells
    that say that they come from the same track's last place are paired whoever goes on in them.
    """
    last = np.ascontiguousarray(mothers.places_px[:, 0])
    made_of = np.concatenate(
        [
            _unexpected(made.start, made.column, cell_of, len(found)),
            _voted(found.vote_px, last, FALLS_INTO * found.typical_px),
        ]
    )
    low, high = made_of[:, 1:].min(axis=1), made_of[:, 1:].max(axis=1)
    _, first = np.unique((made_of[:, 0] * len(found) + low) * len(found) + high, return_index=True)
    row, one, two = made_of[first].T
    return row, one, two


@compiled
def _unexpected(start: Longs, column: Longs, cell_of: Longs, cells: int) -> Longs:
    """Return ``(row, one, two)`` for pairs of which one cell at least has no track, ``(n, 3)``."""
    taken = np.zeros(cells, np.bool_)
    for j in cell_of:
        if j >= 0:
            taken[j] = True
    made = [(0, 0, 0)]
    for i in range(len(start) - 1):
        for e in range(start[i], start[i + 1]):
            if taken[column[e]]:
                continue
            if cell_of[i] >= 0:
                made.append((i, cell_of[i], column[e]))
                continue
            for other in range(e + 1, start[i + 1]):
                if not taken[column[other]]:
                    made.append((i, column[e], column[other]))
    return _table(made)


@compiled
def _voted(votes: Floats, places: Floats, radius: float) -> Longs:
    """Return ``(row, one, two)`` for pairs that both say that they come from the same last place, ``(n, 3)``."""
    told = np.nonzero(np.isfinite(votes[:, 0]) & np.isfinite(votes[:, 1]))[0]
    start, column = near(votes[told], places, np.full(len(told), radius))
    first, then = np.full(len(places), -1, np.int64), np.full(len(told), -1, np.int64)
    mother = np.full(len(told), -1, np.int64)
    for k in range(len(told)):
        least = np.inf
        for e in range(start[k], start[k + 1]):
            y, x = places[column[e], 0] - votes[told[k], 0], places[column[e], 1] - votes[told[k], 1]
            away = np.hypot(y, x)
            if away < least:
                least, mother[k] = away, column[e]
    for k in range(len(told) - 1, -1, -1):  # chains of those that share a mother, ascending
        if mother[k] >= 0:
            then[k], first[mother[k]] = first[mother[k]], k
    made = [(0, 0, 0)]
    for i in range(len(places)):
        k = first[i]
        while k >= 0:
            other = then[k]
            while other >= 0:
                made.append((i, told[k], told[other]))
                other = then[other]
            k = then[k]
    return _table(made)


@compiled
def _table(made: list[tuple[int, int, int]]) -> Longs:
    """Return all but the first, which only says of what kind they are."""
    rows = np.empty((len(made) - 1, 3), np.int64)
    for k in range(1, len(made)):
        rows[k - 1, 0], rows[k - 1, 1], rows[k - 1, 2] = made[k]
    return rows


def choose(weighed: Weighed, mothers: Mothers, found: Bodies) -> list[Split]:
    """Propose divisions, the most probable first; no track and no cell is used twice."""
    likely = weighed.take(weighed.p >= weighed.least)
    row, one, two, p = likely.row, likely.one, likely.two, likely.p
    chosen: dict[int, Split] = {}
    used: set[int] = set()
    for k in np.lexsort((two, one, row, -p)):
        i, a, b = int(row[k]), int(one[k]), int(two[k])
        if i in chosen:
            _third(chosen, used, i, (a, b), float(p[k]), found)
        elif a not in used and b not in used:
            away = np.hypot(*(found.centre_px[[a, b]] - mothers.places_px[i, 0]).T)
            chosen[i] = Split(i, (a, b) if away[0] <= away[1] else (b, a), float(p[k]))
            used.update((a, b))
    return list(chosen.values())


def _third(chosen: dict[int, Split], used: set[int], i: int, pair: tuple[int, int], p: float, found: Bodies) -> None:
    """Take a third daughter where she looks as good as the first two and is of their size."""
    split = chosen[i]
    new = [cell for cell in pair if cell not in used]
    if len(new) != 1 or len(split.daughters) > 2 or p < max(THIRD, 0.9 * split.probability):
        return
    sizes = found.area_px[[*split.daughters, new[0]]]
    if sizes.max() < 1.6 * sizes.min():
        chosen[i] = Split(i, (*split.daughters, new[0]), split.probability)
        used.update(new)
