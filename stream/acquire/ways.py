"""Straight ways of the stage, and the rectangles that they may not touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.safety import Box

XY = tuple[float, float]
_Numbers = NDArray[np.float64]


def crosses(start: XY, goal: XY, zone: Box) -> bool:
    """Whether the straight way from ``start`` to ``goal`` touches the rectangle.

    >>> crosses((0.0, 0.0), (10.0, 0.0), (4.0, 6.0, -1.0, 1.0))
    True
    >>> crosses((0.0, 0.0), (10.0, 0.0), (4.0, 6.0, 1.0, 2.0))
    False
    """
    return bool(_touch(np.array([start]), np.array([goal]), zone).any())


def inside(point: XY, zone: Box) -> bool:
    """Whether a point lies in the rectangle or on its edge."""
    return zone[0] <= point[0] <= zone[1] and zone[2] <= point[1] <= zone[3]


def crossing(starts: Sequence[XY], goals: Sequence[XY], zone: Box) -> tuple[XY, XY] | None:
    """Return the first way from a start to a goal that touches the rectangle.

    Out of the rectangle, where somebody drove it by hand, the stage may always go.
    """
    outer = [start for start in starts if not inside(start, zone)]
    for start in outer:
        found = np.flatnonzero(_touch(np.array([start]), np.array(goals).reshape(-1, 2), zone))
        if found.size:
            return start, goals[int(found[0])]
    return None


def _touch(starts: _Numbers, goals: _Numbers, zone: Box) -> NDArray[np.bool_]:
    """Say of each way whether it touches the rectangle (Liang and Barsky, 1984); an unknown place touches nothing."""
    enter_x, leave_x = _between(starts[:, 0], goals[:, 0], zone[0], zone[1])
    enter_y, leave_y = _between(starts[:, 1], goals[:, 1], zone[2], zone[3])
    enter, leave = np.maximum(np.maximum(enter_x, enter_y), 0.0), np.minimum(np.minimum(leave_x, leave_y), 1.0)
    touched: NDArray[np.bool_] = enter <= leave
    return touched


def _between(begin: _Numbers, end: _Numbers, low: float, high: float) -> tuple[_Numbers, _Numbers]:
    """Return when, of a way that takes from 0 to 1, an axis is between its limits."""
    step = end - begin
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        first, second = (low - begin) / step, (high - begin) / step
    never = np.where((low <= begin) & (begin <= high), -np.inf, np.inf)
    enter = np.where(step == 0.0, never, np.minimum(first, second))
    leave = np.where(step == 0.0, -never, np.maximum(first, second))
    return enter, leave
