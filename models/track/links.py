"""What it costs to say that a track goes on in a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.track.matching import near
from models.track.measure import Bodies, overlaps, pace, places
from stream.cells import Segmentation

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

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
    label: NDArray[np.int32]


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
    voted = np.isfinite(found.vote_px[:, 0]) & np.isfinite(found.vote_px[:, 1])
    anchor_px = np.where(voted[:, None], found.vote_px, found.centre_px)
    size = found.typical_px
    radius = size * gate(found.centre_px, size) * np.sqrt(1.0 + np.minimum(expected.missed, 3))
    start, column = near(expected.expected_px, anchor_px, radius)
    row = np.repeat(np.arange(len(start) - 1), np.diff(start))
    by_vote = voted[column] & (expected.missed[row] == 0)
    base = np.where(by_vote[:, None], expected.last_px[row], expected.expected_px[row])
    step = (anchor_px[column] - base) / size
    spread = np.where(by_vote, sigma_voted, sigma) ** 2 * (1.0 + expected.missed[row])
    motion = 2.0 * np.log1p((step**2).sum(axis=1) / (4 * spread))
    growth = np.log(found.area_px[column] / expected.area_px[row])
    change = found.brightness[column] - expected.brightness[row]
    cost = (
        motion
        + np.minimum(4.0 * growth**2, 3.0)
        + np.minimum(2.0 * change**2, 2.0)
        + np.minimum(expected.missed[row], 3)
    )
    return Links(start, column, row, cost, np.zeros(len(column), np.int64))


def gate(centre_px: Floats, typical_px: float) -> float:
    """Return how many typical diameters a cell may be from where it was expected: more where cells are sparse."""
    if len(centre_px) < 2:
        return 2.0
    sample = centre_px[:: max(1, len(centre_px) // 200)]
    start, column = near(sample, centre_px, np.full(len(sample), 4 * typical_px))
    away = np.hypot(*(centre_px[column] - np.repeat(sample, np.diff(start), axis=0)).T)
    away[away == 0] = np.inf
    nearest = np.full(len(sample), 4.0 * typical_px)
    filled = np.diff(start) > 0
    nearest[filled] = np.minimum(np.minimum.reduceat(away, start[:-1][filled]), 4 * typical_px)
    return float(np.clip(0.6 * np.median(nearest) / typical_px, 1.25, 2.0))


def with_overlap(
    made: Links, expected: Expected, found: Bodies, now: Segmentation, before: NDArray[np.int32], shift: tuple[int, int]
) -> Links:
    """Add the overlap of the label images to the price: nothing for a full one, 2 for none."""
    order = np.argsort(expected.label, kind="stable")
    order = order[expected.label[order] > 0]
    start, rows = _sub(made.start, order)
    ids, labels = expected.label[order], now.cells.label
    if len(ids) == 0 or len(labels) == 0:
        return made
    part = overlaps(
        now.labels, int(labels[0]), places(labels), before, int(ids[0]), places(ids), shift, start, made.column[rows],
        pace(found.typical_px),
    )  # fmt: skip
    shared = made.shared_px.copy()
    shared[rows] = part
    smaller = np.minimum(found.area_px[made.column], expected.area_px[made.row])
    cost = made.cost + 2.0 * (1.0 - np.minimum(shared / np.maximum(smaller, 1.0), 1.0))
    return Links(made.start, made.column, made.row, cost, shared)


def _sub(start: Longs, order: Longs) -> tuple[Longs, Longs]:
    """Return the edges of some rows: their own starts, and where they were."""
    counts = start[order + 1] - start[order]
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    rows = np.arange(begin[-1]) - np.repeat(begin[:-1], counts) + np.repeat(start[order], counts)
    return begin, rows
