"""How far the whole field moved in a way that the stage did not report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.track.matching import near, nearest_both

Floats = NDArray[np.float64]


def drift_px(expected: Floats, found: Floats, typical_px: float) -> Floats:
    """Estimate the common displacement ``(y, x)`` of the found cells from where they were expected.

    The median over cells that are each other's nearest. Where few of them are near (a jump that nobody reported), the
    displacement that most pairs within six cell diameters vote for.

    Parameters
    ----------
    expected, found : (n, 2), (m, 2) float64
        Image points in px.
    """
    still = np.zeros(2)
    if min(len(expected), len(found)) < 3:
        return still
    steps = _steps(expected, found, typical_px)
    if len(steps) < 0.4 * min(len(expected), len(found)) or _scatter(steps) > 0.35 * typical_px:
        jump = _vote(expected, found, typical_px)
        again = _steps(expected + jump, found, typical_px)
        if len(again) > 1.3 * len(steps) or (len(again) > len(steps) and _scatter(again) < 0.6 * _scatter(steps)):
            return jump + _middle(again)
    return _middle(steps) if len(steps) >= 8 else still


@compiled
def _steps(expected: Floats, found: Floats, radius: float) -> Floats:
    """Return the steps ``(k, 2)`` between points that are each other's nearest."""
    start, column = near(expected, found, np.full(len(expected), radius))
    pair = nearest_both(expected, found, start, column)
    steps, count = np.empty((len(expected), 2)), 0
    for i in range(len(expected)):
        if pair[i] >= 0:
            steps[count, 0] = found[pair[i], 0] - expected[i, 0]
            steps[count, 1] = found[pair[i], 1] - expected[i, 1]
            count += 1
    return steps[:count].copy()


@compiled
def _middle(steps: Floats) -> Floats:
    """Return the median of each column; NaN of nothing."""
    if len(steps) == 0:
        return np.full(2, np.nan)
    return np.array([np.median(steps[:, 0]), np.median(steps[:, 1])])


@compiled
def _scatter(steps: Floats) -> float:
    if len(steps) == 0:
        return np.inf
    away = steps - _middle(steps)
    return float(np.median(np.hypot(away[:, 0], away[:, 1])))


def _vote(expected: Floats, found: Floats, typical_px: float) -> Floats:
    start, column = near(expected, found, np.full(len(expected), 6 * typical_px))
    if len(column) == 0:
        return np.zeros(2)
    steps = found[column] - np.repeat(expected, np.diff(start), axis=0)
    bins = np.floor(steps / (typical_px / 2)).astype(np.int64)
    bins -= bins.min(axis=0)
    votes = np.zeros(bins.max(axis=0) + 3)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            np.add.at(votes, (bins[:, 0] + dy, bins[:, 1] + dx), 1.0)
    peak = np.array(np.unravel_index(int(np.argmax(votes)), votes.shape))
    chosen = (np.abs(bins + 1 - peak) <= 1).all(axis=1)
    middle: Floats = np.median(steps[chosen], axis=0)
    return middle
