"""How much a mother and two cells look like a division: one documented score, shared by the tracker and the divider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stream.cells import Kind

Floats = NDArray[np.float64]

FEATURES = ("middle", "close", "uneven", "contrast", "small", "bright", "big", "round", "stayed", "young")
"""Columns of :func:`evidence`. Lengths are in diameters of the typical cell, areas compared as natural logarithms.

middle    how far the daughters' midpoint is from the mother's last place, squared
close     how far the daughters' distance is below 0.7
uneven    how much larger one daughter is than the other
contrast  difference of their brightness, at most 2
small     the larger daughter compared with the mother; more than a fifth smaller counts alike
bright    the mother's brightness in her last frames relative to the typical cell
big       the mother compared with the typical cell
round     the mother's roundness in her last frames
stayed    how far the nearer daughter is from the mother's last place, at most 0.5
young     1 / frames in which the mother was seen
"""
WEIGHTS = (-7.7, -5.9, -3.7, -1.6, -1.4, 1.2, -1.7, 4.5, 5.0, -0.9)
BIAS = -4.0
"""Logistic regression, rounded, on candidates from nuclei in fluorescence, from cells in phase contrast (both with
near-perfect, with classical and with rough masks) and from the virtual microscope; every set weighs the same."""

VOTED = (*FEATURES, "astray", "parted", "newborn", "newest", "dividing", "goes_on", "taken", "turned", "was_new")
"""Columns of :func:`voted_evidence`, where a network says where cells were, which are new and which divide.

astray    how far the midpoint of both daughters' votes is from the mother's last place, at most 1
parted    how far their votes are from each other, at most 1: late splits were one cell, but not one place
newborn   how new both daughters look together: mean of two logits, each between -5 and 5
newest    the smaller of the two logits
dividing  how much the mother looked like dividing: the largest logit of her last two frames, likewise
goes_on   1 where the mother's own track would go on in one of the daughters if nobody divided
taken     1 where another track would go on in one of them
turned    how much newer than dividing the daughters look: the smaller difference of their two logits
was_new   how new the mother looked: the largest logit of her last two frames; two that look like one look both
"""
VOTED_WEIGHTS: Mapping[Kind, tuple[float, ...]] = {
    "nuclei": (-4.5, 0.6, -2.4, -0.9, 0.3, -0.1, -1.1, 1.5, -0.1, -1.4, -4.5, -2.0, 0.4, 0.4, 0.3, 0.0, 0.0, 0.0, 0.0),
    "phase": (
        -1.9, -1.1, -1.3, -0.2, 0.3, -0.2, -1.0, 0.6, 2.1, -1.2, -4.6, -0.9, -0.1, 0.4, 0.8, 3.1, -1.6, 1.1, 1.0,
    ),
}  # fmt: skip
VOTED_BIAS: Mapping[Kind, float] = {"nuclei": 1.0, "phase": -3.7}
"""Logistic regression, rounded, by ``benchmarks/fit_divisions.py`` with stiffness 5. Nuclei: on what the networks said
of nuclei and of cells in phase contrast, recorded and virtual, every set weighing the same; the last four columns told
nothing more there. Phase contrast: on recorded cells as both networks see them, told to look for 11.5 and 13 px and
with the size that they measure, with all light, and that one with 20 photons, and on virtual ones. The biases are .3
and .4 above the fits': a proposal is the likeliest of several hypotheses, and more of them came true than the
hypotheses' own probability says. The networks had learned from four fifths of the recorded fields, so their word counts
a little too much here."""
SHARPEST = 5.0
"""Logits of a network are not believed beyond this."""

DEPTH = 3
"""Frames of a mother's past that are looked at: a split may be noticed two frames late."""
LATE = 0.8
"""Factor on the probability for each frame by which a split is noticed late."""
SHRUNK = 0.8
"""A late split needs a mother that shrank to at most this when her first daughter took her place."""


@dataclass(frozen=True, slots=True, eq=False)
class Mothers:
    """The past of supposed mothers, newest first: places ``(n, DEPTH, 2)`` px of the daughters' frame, NaN unknown;
    areas in px², brightness, roundness, probabilities that she is newborn and that she divides ``(n, DEPTH)``; frames
    in which each was seen ``(n,)``."""

    places_px: Floats
    area_px: Floats
    brightness: Floats
    roundness: Floats
    newborn: Floats
    dividing: Floats
    seen: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Mothers:
        """Return some of them, repeats allowed."""
        return Mothers(*(getattr(self, column.name)[rows] for column in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Daughters:
    """Two supposed daughters for each mother: centres, and where they say that they or their mother were, ``(n, 2, 2)``
    px; areas, brightness and probabilities that they are newborn and that they divide ``(n, 2)``, NaN: nobody says;
    whether the mother's track, and whether another one, would go on in one of them ``(n,)``."""

    centre_px: Floats
    vote_px: Floats
    area_px: Floats
    brightness: Floats
    newborn: Floats
    dividing: Floats
    goes_on: NDArray[np.bool_]
    taken: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> Daughters:
        """Return some of them, repeats allowed."""
        return Daughters(*(getattr(self, column.name)[rows] for column in fields(self)))


def likelihood(mothers: Mothers, daughters: Daughters, typical_px: float, kind: Kind | None) -> Floats:
    """Return how probable it is that each mother became her two daughters, 0 to 1.

    Where a network's word on votes, daughters and mother is there, it counts. Where a mother has shrunk lately, the
    split may have been noticed late: then her past is tried too. An unknown kind of picture is nuclei.
    """
    return stated(described(mothers, daughters, typical_px), kind)


def described(mothers: Mothers, daughters: Daughters, typical_px: float) -> Floats:
    """Return ``(n, DEPTH, len(VOTED))``: the evidence of each lag, all NaN where that lag is out of the question."""
    told = np.full((len(mothers.seen), DEPTH, len(VOTED)), np.nan)
    for lag in range(DEPTH):
        with np.errstate(all="ignore"):
            fits = np.isfinite(mothers.area_px[:, lag]) & (mothers.seen > lag)
            if lag:
                fits &= mothers.area_px[:, 0] <= SHRUNK * mothers.area_px[:, lag]
            if fits.any():
                plain = evidence(mothers, daughters, typical_px, lag)
                voted = voted_evidence(plain, mothers, daughters, typical_px, lag)
                told[fits, lag] = voted[fits]
    return told


def stated(described: Floats, kind: Kind | None) -> Floats:
    """Return the probability of the likeliest lag for each row of :func:`described`."""
    name: Kind = kind or "nuclei"
    by_lag = np.where(
        np.isfinite(described).all(axis=-1),
        _logistic(described, VOTED_WEIGHTS[name], VOTED_BIAS[name]),
        _logistic(described[..., : len(FEATURES)], WEIGHTS, BIAS),
    )
    p: Floats = np.nan_to_num(by_lag * LATE ** np.arange(DEPTH)).max(axis=1)
    return p


def evidence(mothers: Mothers, daughters: Daughters, typical_px: float, lag: int = 0) -> Floats:
    """Return ``(n, len(FEATURES))`` for mothers as they were ``lag`` frames before their last."""
    typical_area = np.pi * typical_px**2 / 4
    a, b = daughters.centre_px[:, 0], daughters.centre_px[:, 1]
    last, area = mothers.places_px[:, lag], mothers.area_px[:, lag]
    larger = daughters.area_px.max(axis=1)
    smaller = daughters.area_px.min(axis=1)
    columns = (
        (_length((a + b) / 2 - last) / typical_px) ** 2,
        np.maximum(0.7 - _length(a - b) / typical_px, 0),
        np.log(larger / smaller),
        np.minimum(np.abs(daughters.brightness[:, 0] - daughters.brightness[:, 1]), 2),
        np.maximum(np.log(larger / area), -0.8) + 0.3,
        np.clip(np.fmax.reduce(mothers.brightness[:, lag:], axis=1), -1, 2),
        np.clip(np.log(area / typical_area), -1, 1),
        np.fmax.reduce(mothers.roundness[:, lag:], axis=1),
        np.minimum(np.minimum(_length(a - last), _length(b - last)) / typical_px, 0.5),
        1.0 / np.maximum(mothers.seen - lag, 1),
    )
    return np.stack(columns, axis=1)


def voted_evidence(plain: Floats, mothers: Mothers, daughters: Daughters, typical_px: float, lag: int = 0) -> Floats:
    """Return ``(n, len(VOTED))``: :func:`evidence` and what a network adds to it; NaN where it said nothing."""
    a, b = daughters.vote_px[:, 0], daughters.vote_px[:, 1]
    newborn = logit(daughters.newborn)
    if lag:
        # the two were one cell then, and it was the newborn one
        newborn = np.maximum(newborn, logit(mothers.newborn[:, lag - 1 : lag]))
    columns = (
        np.minimum(_length((a + b) / 2 - mothers.places_px[:, 0]) / typical_px, 1.0),
        np.minimum(_length(a - b) / typical_px, 1.0),
        newborn.mean(axis=1),
        newborn.min(axis=1),
        logit(np.fmax.reduce(mothers.dividing[:, lag : lag + 2], axis=1)),
        daughters.goes_on.astype(np.float64),
        daughters.taken.astype(np.float64),
        (logit(daughters.newborn) - logit(daughters.dividing)).min(axis=1),
        logit(np.fmax.reduce(mothers.newborn[:, lag : lag + 2], axis=1)),
    )
    return np.concatenate([plain, np.stack(columns, axis=1)], axis=1)


def logit(p: Floats) -> Floats:
    """Return the logit of probabilities, at most :data:`SHARPEST` large; NaN stays."""
    sharp = 1 / (1 + np.exp(-SHARPEST))
    inside = np.clip(p, 1 - sharp, sharp)
    return np.log(inside / (1 - inside))


def _length(vectors: Floats) -> Floats:
    length: Floats = np.hypot(vectors[:, 0], vectors[:, 1])
    return length


def _logistic(features: Floats, weights: tuple[float, ...], bias: float) -> Floats:
    p: Floats = 1 / (1 + np.exp(-np.clip(features @ np.array(weights) + bias, -30, 30)))
    return p
