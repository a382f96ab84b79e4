"""Cells that began alone lately: each may be a daughter that was not recognised, or a piece of a mother in division."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import Mothers, likelihood
from models.track.links import Links
from models.track.measure import Bodies, daughters
from models.track.memory import Rows
from models.track.splits import Weighed, hypotheses, owners

Longs = NDArray[np.int64]

YOUNG = 1
"""Frames in which a track without a mother may have been seen to be taken for a stray: with two, more is proposed late
and wrong than is found."""


def strays(rows: Rows) -> NDArray[np.bool_]:
    """Say which tracks began alone, lately, while older ones were there, ``(tracks,)``."""
    oldest = int(rows["seen"].max(initial=0))
    lately: NDArray[np.bool_] = (rows["parent"] == 0) & (rows["seen"] <= min(YOUNG, oldest - 1))
    return lately


def weigh_joined(
    stray: NDArray[np.bool_], mothers: Mothers, found: Bodies, made: Links, cell_of: Longs, least: float
) -> Weighed:
    """Weigh the divisions in which strays are daughters: as if each stray had not begun, and as if it had been a piece
    of the mother.

    A dividing cell often falls apart a frame before it divides; its pieces tell nothing, their sum is the mother.
    """
    row, one, two = hypotheses(mothers, found, made, np.where(stray, -1, cell_of))
    owner = owners(cell_of, len(found))
    by = np.stack([owner[one], owner[two]], axis=1) if len(row) else np.zeros((0, 2), np.int64)
    of_stray = (by >= 0) & stray[by]
    foreign = (by >= 0) & (by != row[:, None]) & ~of_stray
    may = ~stray[row] & of_stray.any(axis=1) & ~foreign.any(axis=1)
    row, one, two, by, of_stray = row[may], one[may], two[may], by[may], of_stray[may]
    pairs = daughters(found, one, two)
    p = likelihood(mothers.take(row), pairs, found.typical_px) if len(row) else np.zeros(0)
    for side in range(2):
        its = np.nonzero(of_stray[:, side])[0]
        if len(its):
            sums = joined(mothers.take(row[its]), mothers.take(by[its, side]))
            p[its] = np.maximum(p[its], likelihood(sums, daughters(found, one[its], two[its]), found.typical_px))
    return Weighed(row, one, two, p, np.full(len(row), least))


def joined(one: Mothers, piece: Mothers) -> Mothers:
    """Return mothers as if they and their pieces had been one cell in their last frame."""
    a, b = one.area_px[:, 0], piece.area_px[:, 0]
    places, area = one.places_px.copy(), one.area_px.copy()
    newborn, dividing = one.newborn.copy(), one.dividing.copy()
    share = (b / (a + b))[:, None]
    places[:, 0] += share * (piece.places_px[:, 0] - places[:, 0])
    area[:, 0] = a + b
    newborn[:, 0] = np.fmax(newborn[:, 0], piece.newborn[:, 0])
    dividing[:, 0] = np.fmax(dividing[:, 0], piece.dividing[:, 0])
    return replace(one, places_px=places, area_px=area, newborn=newborn, dividing=dividing)
