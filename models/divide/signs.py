"""The signs of a coming division: one documented probability that a cell divides within :data:`WITHIN` frames."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import logit
from models.divide.history import History, usual
from stream.cells import Kind

Floats = NDArray[np.float64]

WITHIN: Mapping[Kind, int] = {"nuclei": 3, "phase": 5}
"""Frames in which the division is expected; the constants are fitted to it. In phase contrast cells round
up and shine well before the chromatin of nuclei is as dense, flat and bright as it gets."""
CALM = 3
"""A cell is compared with what it was this many frames ago and before: rounding up takes a few frames."""

SIGNS = ("shrunk", "small", "risen", "bright", "reshaped", "round", "flash", "young", "daughter")
"""Columns of :func:`signs`. Areas are compared as natural logarithms, brightness is relative to the typical cell.

shrunk    how much smaller the cell is than it used to be, -1 to 1
small     how much smaller it is than the typical cell, -1 to 1.5
risen     how much brighter it is than it used to be, -1 to 3
bright    its brightness, -1 to 3
reshaped  how much its roundness differs from what it used to be
round     its roundness
flash     the change of its brightness since the frame before, -1 to 2
young     1 / frames in which it was seen
daughter  the same for a cell that a division began, else 0: daughters are small and bright too
"""
WEIGHTS: Mapping[Kind, tuple[float, ...]] = {
    "nuclei": (5.4, -3.0, 2.4, 0.0, -0.8, 3.3, 2.1, 1.3, -1.4),
    "phase": (2.3, -4.3, 1.9, 1.2, 8.9, 1.2, 0.6, 1.9, 0.2),
}
BIAS: Mapping[Kind, float] = {"nuclei": -6.6, "phase": -6.3}
"""Logistic regression by ``benchmarks/fit_lives.py`` with stiffness 2 on nuclei and on cells in phase contrast, each
recorded and virtual, as networks and as the classical segmenters see them; every sequence weighs the same."""

TOLD = (*SIGNS, "dividing", "before", "newborn")
"""Columns of :func:`told`, where a network says which cells divide.

dividing  how much the cell looks like dividing, as a logit between -5 and 5
before    the largest such logit of the two frames before; the same as now for a cell first seen
newborn   the largest logit of looking newborn in the last two frames
"""
TOLD_WEIGHTS: Mapping[Kind, tuple[float, ...]] = {
    "nuclei": (2.6, -3.8, 2.0, -0.5, -1.1, -0.4, 0.3, 1.6, -0.7, 1.6, 0.1, 0.2),
    "phase": (2.3, -3.6, 0.8, 0.3, 4.4, 0.7, 1.8, 2.0, -0.7, 1.9, -0.3, -0.2),
}
TOLD_BIAS: Mapping[Kind, float] = {"nuclei": -1.0, "phase": -2.8}
"""The same on what the networks saw. They had learned from four fifths of the recorded fields, so their word counts a
little too much here."""


ANNOUNCED: Mapping[Kind, tuple[float, float]] = {"nuclei": (0.67, 0.24), "phase": (0.57, 0.05)}
"""Slope and bias, both on logits, from the probability of any cell in any frame to that of an announcement coming true
(J. Platt, "Probabilistic outputs for support vector machines", 1999). A cell is announced in the first frame that says
enough, which is often a lucky one, and once only. Fitted by ``benchmarks/warn.py`` on what was announced in recordings,
by the quality and by the fast network of each kind."""


def announced(p: float, kind: Kind) -> float:
    """Return how probable it is that the announcement of a cell whose :func:`coming` is ``p`` comes true."""
    slope, bias = ANNOUNCED[kind]
    return float(1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + bias))))


def coming_at(confidence: float, kind: Kind) -> float:
    """Return the :func:`coming` at which an announcement is so sure: the inverse of :func:`announced`."""
    slope, bias = ANNOUNCED[kind]
    return float(1 / (1 + np.exp(-(np.log(confidence / (1 - confidence)) - bias) / slope)))


def coming(history: History, kind: Kind) -> Floats:
    """Return for each track how probable it is that it divides within :data:`WITHIN` frames of its newest one."""
    columns = told(history)
    heard = np.isfinite(columns).all(axis=1)
    p: Floats = np.where(
        heard,
        _logistic(columns, TOLD_WEIGHTS[kind], TOLD_BIAS[kind]),
        _logistic(columns[:, : len(SIGNS)], WEIGHTS[kind], BIAS[kind]),
    )
    return p


def signs(history: History) -> Floats:
    """Return ``(n, len(SIGNS))`` of each track as it was last seen."""
    area, brightness, roundness = (history[name][:, 0] for name in ("area", "brightness", "roundness"))
    young = 1.0 / np.maximum(history["seen"], 1)
    columns = (
        np.clip(_less(usual(history["area"], CALM), area), -1, 1),
        np.clip(-area, -1, 1.5),
        np.clip(_less(brightness, usual(history["brightness"], CALM)), -1, 3),
        np.clip(brightness, -1, 3),
        np.abs(_less(roundness, usual(history["roundness"], CALM))),
        roundness,
        np.clip(_less(brightness, history["brightness"][:, 1]), -1, 2),
        young,
        np.where(history["parent"] > 0, young, 0.0),
    )
    return np.stack(columns, axis=1)


def told(history: History) -> Floats:
    """Return ``(n, len(TOLD))``: :func:`signs` and what a network adds; NaN where it said nothing."""
    dividing, newborn = logit(history["dividing"]), logit(history["newborn"])
    now = dividing[:, 0]
    columns = (
        now,
        np.fmax(np.fmax(dividing[:, 1], dividing[:, 2]), np.where(np.isnan(dividing[:, 1:3]).all(axis=1), now, np.nan)),
        np.fmax(newborn[:, 0], newborn[:, 1]),
    )
    return np.concatenate([signs(history), np.stack(columns, axis=1)], axis=1)


def _less(one: Floats, other: Floats) -> Floats:
    """Return the difference; 0 where one of them is unknown."""
    return np.nan_to_num(one - other)


def _logistic(columns: Floats, weights: tuple[float, ...], bias: float) -> Floats:
    p: Floats = 1 / (1 + np.exp(-np.clip(np.nan_to_num(columns) @ np.array(weights) + bias, -30, 30)))
    return p
