"""Finding mothers for cells that nobody expected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import Mothers, likelihood
from models.track.links import Links
from models.track.measure import Bodies, daughters

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Track ``row`` became the cells ``daughters`` (rows of the Cells table), the one nearer to it first."""

    row: int
    daughters: tuple[int, ...]
    probability: float


def splits(mothers: Mothers, found: Bodies, made: Links, cell_of: Longs, least: float) -> list[Split]:
    """Propose divisions, the most probable first; no track and no cell is used twice.

    Parameters
    ----------
    mothers
        The past of every track.
    cell_of : (tracks,)
        The cell that each track goes on in, or -1.
    least
        The smallest probability that is worth a proposal.
    """
    row, one, two = _hypotheses(made, cell_of, len(found))
    if len(row) == 0:
        return []
    p = likelihood(mothers.take(row), daughters(found, one, two), found.typical_px)
    return _choose(row, one, two, p, mothers, found, least)


def _hypotheses(made: Links, cell_of: Longs, cells: int) -> tuple[Longs, Longs, Longs]:
    """Pair every unexpected cell with every track near it and with that track's own cell, or another unexpected one."""
    taken = np.zeros(cells, np.bool_)
    taken[cell_of[cell_of >= 0]] = True
    free = ~taken[made.column]
    rows, ones, twos = [], [], []
    for i in np.unique(made.row[free]):
        near = made.column[made.start[i] : made.start[i + 1]]
        new = near[~taken[near]]
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


def _choose(
    row: Longs, one: Longs, two: Longs, p: Floats, mothers: Mothers, found: Bodies, least: float
) -> list[Split]:
    chosen: dict[int, Split] = {}
    used: set[int] = set()
    for k in np.lexsort((two, one, row, -p)):
        i, a, b = int(row[k]), int(one[k]), int(two[k])
        if p[k] < least:
            break
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
