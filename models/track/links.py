"""What it costs to say that a track goes on in a cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.track.matching import near
from models.track.measure import Bodies
from models.track.runs import Runs, lookup_of, shared
from stream.cells import Segmentation

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]

MISS = 9.0
"""Cost of leaving a track without a cell: a link must be cheaper."""


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Tracks as they are expected in this frame: ``(n, 2)`` px, areas in px², the rest ``(n,)``."""

    last_px: Floats
    expected_px: Floats
    area_px: Floats
    brightness: Floats
    missed: Longs
    label: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Possible links, by track: those of track ``i`` are ``start[i]`` to ``start[i + 1]``."""

    start: Longs
    column: Longs
    row: Longs
    cost: Floats
    shared_px: Longs


def links(expected: Expected, found: Bodies, sigma: float, sigma_voted: float) -> Links:
    """Gate and price every plausible link by motion, area and brightness.

    A cell that says where it was in the previous frame is compared with where tracks were then, any other with where
    they are expected now.

    Parameters
    ----------
    sigma, sigma_voted
        Usual distance between a track's expected place and its cell, and between its last place and its cell's vote,
        in diameters of the typical cell.

    Notes
    -----
    The motion term is that of a Student distribution: cells sometimes jump, and votes sometimes err.
    """
    size, centre = found.typical_px, found.centre_px
    anchor_px, voted = _anchors(centre, found.vote_px)
    radius = size * gate(centre, size) * np.sqrt(1.0 + np.minimum(expected.missed, 3))
    start, column = near(expected.expected_px, anchor_px, radius)
    row, cost = _prices(
        start, column, expected.last_px, expected.expected_px, expected.missed, expected.area_px, expected.brightness,
        anchor_px, voted, found.area_px, found.brightness, size, sigma**2, sigma_voted**2,
    )  # fmt: skip
    return Links(start, column, row, cost, np.zeros(len(column), np.int64))


@compiled
def gate(centre_px: Floats, typical_px: float) -> float:
    """Return how many typical diameters a cell may be from where it was expected: more where cells are sparse."""
    count, cap = len(centre_px), 4 * typical_px
    if count < 2:
        return 2.0
    sample = centre_px[:: max(1, count // 200)].copy()
    start, column = near(sample, centre_px, np.full(len(sample), cap))
    nearest = np.full(len(sample), cap)
    for i in range(len(sample)):
        for e in range(start[i], start[i + 1]):
            away = np.hypot(centre_px[column[e], 0] - sample[i, 0], centre_px[column[e], 1] - sample[i, 1])
            if 0 < away < nearest[i]:
                nearest[i] = away
    return min(max(0.6 * float(np.median(nearest)) / typical_px, 1.25), 2.0)


def with_overlap(
    made: Links, expected: Expected, found: Bodies, now: Runs, before: Runs, shift: tuple[int, int]
) -> Links:
    """Add the overlap of the label images to the price: nothing for a full one, 2 for none.

    Parameters
    ----------
    now, before
        Runs of this frame by cell, and of the frame before by track.
    shift
        ``(y, x)`` px from the image before to this one.
    """
    if not (expected.label > 0).any() or len(found) == 0:
        return made
    row_of, least = lookup_of(expected.label)
    of = [(one.phase, one.start, one.left, one.right, one.cell) for one in (now, before)]
    both = shared(made.start, made.column, row_of, least, now.pace, of[0], of[1], shift)
    cost = made.cost + _apart(made.row, made.column, both, expected.area_px, found.area_px)
    return Links(made.start, made.column, made.row, cost, both)


def with_centres(made: Links, expected: Expected, known: NDArray[np.bool_], now: Segmentation) -> Links:
    """Count a cell as covering the ``known`` tracks that were not seen last and whose expected centre lies in it.

    Where the frame before shows a track, its overlap says so (:func:`with_overlap`).
    """
    unseen = np.nonzero((expected.label == 0) & known)[0]
    if len(unseen) == 0:
        return made
    y, x = np.rint(expected.expected_px[unseen]).astype(np.int64).T
    within = (y >= 0) & (x >= 0) & (y < now.labels.shape[0]) & (x < now.labels.shape[1])
    label = np.zeros(len(expected.label), np.int32)
    label[unseen[within]] = now.labels[y[within], x[within]]
    inside = (label[made.row] > 0) & (label[made.row] == now.cells.label[made.column])
    covered = np.where(inside, np.ceil(expected.area_px[made.row]), made.shared_px).astype(np.int64)
    return replace(made, shared_px=covered)


@compiled
def _apart(row: Longs, column: Longs, both: Longs, area: Floats, found_area: Floats) -> Floats:
    cost = np.empty(len(row))
    for e in range(len(row)):
        smaller = max(min(found_area[column[e]], area[row[e]]), 1.0)
        cost[e] = 2.0 * (1.0 - min(both[e] / smaller, 1.0))
    return cost


@compiled
def _anchors(centre: Floats, vote: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where each cell says that it was, or is where it does not say, and whether it says."""
    anchor, voted = centre.copy(), np.zeros(len(centre), np.bool_)
    for k in range(len(centre)):
        if np.isfinite(vote[k, 0]) and np.isfinite(vote[k, 1]):
            voted[k] = True
            anchor[k, 0], anchor[k, 1] = vote[k, 0], vote[k, 1]
    return anchor, voted


@compiled
def _prices(
    start: Longs, column: Longs, last: Floats, expected: Floats, missed: Longs, area: Floats, brightness: Floats,
    anchor: Floats, voted: NDArray[np.bool_], found_area: Floats, found_brightness: Floats, size: float,
    spread: float, spread_voted: float,
) -> tuple[Longs, Floats]:  # fmt: skip
    """Return each edge's row and what motion, growth and change of brightness cost."""
    row, cost = np.empty(len(column), np.int64), np.empty(len(column))
    for i in range(len(start) - 1):
        unseen = missed[i]
        for e in range(start[i], start[i + 1]):
            j = column[e]
            by_vote = voted[j] and unseen == 0
            base = last[i] if by_vote else expected[i]
            wide = (spread_voted if by_vote else spread) * (1.0 + unseen)
            away = ((anchor[j, 0] - base[0]) / size) ** 2 + ((anchor[j, 1] - base[1]) / size) ** 2
            growth = np.log(found_area[j] / area[i])
            change = found_brightness[j] - brightness[i]
            motion = 2.0 * np.log1p(away / (4 * wide))
            row[e] = i
            cost[e] = motion + min(4.0 * growth**2, 3.0) + min(2.0 * change**2, 2.0) + min(unseen, 3)
    return row, cost
