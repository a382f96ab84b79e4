"""Cells that began alone lately: each may be a daughter that was not recognised, or a piece of a mother in division."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import Mothers
from models.track.memory import Rows

YOUNG = 1
"""Frames in which a track without a mother may have been seen to be taken for a stray: with two, more is proposed late
and wrong than is found."""


def strays(rows: Rows) -> NDArray[np.bool_]:
    """Say which tracks began alone, lately, while older ones were there, ``(tracks,)``."""
    oldest = int(rows["seen"].max(initial=0))
    lately: NDArray[np.bool_] = (rows["parent"] == 0) & (rows["seen"] <= min(YOUNG, oldest - 1))
    return lately


def joined(one: Mothers, piece: Mothers) -> Mothers:
    """Return mothers as if they and their pieces had been one cell in their last frame.

    A dividing cell often falls apart a frame before it divides; its pieces tell nothing, their sum is the mother.
    """
    a, b = one.area_px[:, 0], piece.area_px[:, 0]
    places, area = one.places_px.copy(), one.area_px.copy()
    newborn, dividing = one.newborn.copy(), one.dividing.copy()
    share = (b / (a + b))[:, None]
    places[:, 0] += share * (piece.places_px[:, 0] - places[:, 0])
    area[:, 0] = a + b
    newborn[:, 0] = np.fmax(newborn[:, 0], piece.newborn[:, 0])
    dividing[:, 0] = np.fmax(dividing[:, 0], piece.dividing[:, 0])
    return replace(one, places_px=places, area_px=area, newborn=newborn, dividing=dividing)
