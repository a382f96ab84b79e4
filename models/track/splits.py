"""Finding mothers for cells that nobody expected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import Mothers, likelihood
from models.track.links import Links
from models.track.matching import near
from models.track.measure import Bodies, daughters

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


FALLS_INTO = 0.75
"""How far a vote may be from the last place of the track that it is for, in diameters of the typical cell."""


@dataclass(frozen=True, slots=True)
class Split:
    """Track ``row`` became the cells ``daughters`` (rows of the Cells table), the one nearer to it first."""

    row: int
    daughters: tuple[int, ...]
    probability: float


def splits(
    mothers: Mothers, found: Bodies, made: Links, cell_of: Longs, least: float, least_taken: float
) -> list[Split]:
    """Propose divisions, the most probable first; no track and no cell is used twice.

    Parameters
    ----------
    mothers
        The past of every track.
    cell_of : (tracks,)
        The cell that each track goes on in, or -1.
    least, least_taken
        The smallest probability that is worth a proposal; the same for one that takes a cell from another track.
    """
    row, one, two = hypotheses(mothers, found, made, cell_of)
    if len(row) == 0:
        return []
    p = likelihood(mothers.take(row), daughters(found, one, two), found.typical_px)
    enough = p >= np.where(_takes(cell_of, len(found), row, one, two), least_taken, least)
    return _choose(row[enough], one[enough], two[enough], p[enough], mothers, found)


def hypotheses(mothers: Mothers, found: Bodies, made: Links, cell_of: Longs) -> tuple[Longs, Longs, Longs]:
    """Return which track may have become which two cells, ``(row, one, two)``, all distinct.

    Every unexpected cell is paired with every track near it and that track's own cell, or another unexpected one. Cells
    that say that they come from the same track's last place are paired whoever goes on in them.
    """
    both = zip(_unexpected(made, cell_of, len(found)), _voted(mothers, found), strict=True)
    row, one, two = (np.concatenate(parts) for parts in both)
    triples = np.stack([row, np.minimum(one, two), np.maximum(one, two)], axis=1)
    _, first = np.unique(triples, axis=0, return_index=True)
    return row[first], one[first], two[first]


def _unexpected(made: Links, cell_of: Longs, cells: int) -> tuple[Longs, Longs, Longs]:
    taken = np.zeros(cells, np.bool_)
    taken[cell_of[cell_of >= 0]] = True
    free = ~taken[made.column]
    rows, ones, twos = [], [], []
    for i in np.unique(made.row[free]):
        reached = made.column[made.start[i] : made.start[i + 1]]
        new = reached[~taken[reached]]
        if cell_of[i] >= 0:
            rows += [i] * len(new)
            ones += [cell_of[i]] * len(new)
            twos += list(new)
        else:
            for k, j in enumerate(new):
                rows += [i] * (len(new) - k - 1)
                ones += [j] * (len(new) - k - 1)
                twos += list(new[k + 1 :])
    return np.array(rows, np.int64), np.array(ones, np.int64), np.array(twos, np.int64)


def _voted(mothers: Mothers, found: Bodies) -> tuple[Longs, Longs, Longs]:
    nothing = np.zeros(0, np.int64)
    told = np.nonzero(np.isfinite(found.vote_px).all(axis=1))[0]
    if len(told) == 0:
        return nothing, nothing, nothing
    places = np.ascontiguousarray(mothers.places_px[:, 0])
    votes = found.vote_px[told]
    start, column = near(votes, places, np.full(len(told), FALLS_INTO * found.typical_px))
    vote = np.repeat(np.arange(len(told)), np.diff(start))
    order = np.lexsort((column, np.hypot(*(votes[vote] - places[column]).T), vote))
    _, nearest = np.unique(vote[order], return_index=True)
    cell, row = told[vote[order[nearest]]], column[order[nearest]]
    order = np.lexsort((cell, row))
    cell, row = cell[order], row[order]
    rows, ones, twos = [], [], []
    _, begin, count = np.unique(row, return_index=True, return_counts=True)
    for first, votes_for in zip(begin[count > 1], count[count > 1], strict=True):
        a, b = np.triu_indices(votes_for, 1)
        rows += [np.full(len(a), row[first])]
        ones += [cell[first + a]]
        twos += [cell[first + b]]
    return np.concatenate([nothing, *rows]), np.concatenate([nothing, *ones]), np.concatenate([nothing, *twos])


def _takes(cell_of: Longs, cells: int, row: Longs, one: Longs, two: Longs) -> NDArray[np.bool_]:
    """Say which hypotheses use a cell in which another track goes on."""
    owner = np.full(cells, -1, np.int64)
    owner[cell_of[cell_of >= 0]] = np.nonzero(cell_of >= 0)[0]
    foreign = [(owner[cell] >= 0) & (owner[cell] != row) for cell in (one, two)]
    takes: NDArray[np.bool_] = foreign[0] | foreign[1]
    return takes


def _choose(row: Longs, one: Longs, two: Longs, p: Floats, mothers: Mothers, found: Bodies) -> list[Split]:
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
    if len(new) != 1 or len(split.daughters) > 2 or p < 0.75 * split.probability:
        return
    sizes = found.area_px[[*split.daughters, new[0]]]
    if sizes.max() < 1.6 * sizes.min():
        chosen[i] = Split(i, (*split.daughters, new[0]), split.probability)
        used.update(new)
