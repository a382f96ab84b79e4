"""How much a mother and two cells look like a division: one documented score, shared by the tracker and the divider."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEATURES = ("middle", "apart", "opposite", "uneven", "contrast", "sum", "small", "mother_bright", "mother_big",
            "mother_round", "stayed", "young")  # fmt: skip
"""Columns of :func:`evidence`, lengths in diameters of the typical cell, areas as natural logarithms of ratios:

middle          distance of the daughters' midpoint from the mother's last place
apart           distance between the daughters
opposite        cosine of the angle between their ways from the mother's last place (-1: opposite)
uneven          log ratio of their areas
contrast        difference of their brightness
sum             absolute log ratio of their summed area to the mother's
small           log ratio of the larger daughter's area to the mother's
mother_bright   the mother's brightness in her last frames, relative to the typical cell
mother_big      log ratio of the mother's area to the typical cell
mother_round    the mother's roundness in her last frames
stayed          how near the nearer daughter is to the mother's last place
young           1 for a mother seen in one frame only, falling as 1 / frames seen
"""


DEPTH = 3
"""Frames of a mother's past that are looked at: a split may be noticed two frames late."""
LATE = 0.8
"""Factor on the probability for each frame by which a split is noticed late."""
SHRUNK = 0.8
"""A late split needs a mother that shrank to at most this when her first daughter took her place."""


@dataclass(frozen=True, slots=True, eq=False)
class Mothers:
    """The past of supposed mothers, newest first: places ``(n, DEPTH, 2)`` px of the daughters' frame, NaN unknown;
    areas in px², brightness and roundness ``(n, DEPTH)``; frames in which each was seen ``(n,)``."""

    places_px: Floats
    area_px: Floats
    brightness: Floats
    roundness: Floats
    seen: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Mothers:
        """Return some of them, repeats allowed."""
        return Mothers(
            self.places_px[rows], self.area_px[rows], self.brightness[rows], self.roundness[rows], self.seen[rows]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Daughters:
    """One supposed daughter for each mother: centre ``(n, 2)`` px, the rest ``(n,)``."""

    centre_px: Floats
    area_px: Floats
    brightness: Floats


def likelihood(mothers: Mothers, one: Daughters, two: Daughters, typical_px: float) -> Floats:
    """Return how probable it is that each mother became her two daughters, 0 to 1.

    Where a mother has shrunk lately, the split may have been noticed late: then her past is tried too.
    """
    best = np.zeros(len(mothers.seen))
    for lag in range(DEPTH):
        with np.errstate(invalid="ignore"):
            fits = np.isfinite(mothers.area_px[:, lag]) & (mothers.seen > lag)
            if lag:
                fits &= mothers.area_px[:, 0] <= SHRUNK * mothers.area_px[:, lag]
        if fits.any():
            with np.errstate(all="ignore"):
                p = probability(evidence(mothers, one, two, typical_px, lag)) * LATE**lag
            best = np.where(fits, np.maximum(best, p), best)
    return best


def evidence(mothers: Mothers, one: Daughters, two: Daughters, typical_px: float, lag: int = 0) -> Floats:
    """Return ``(n, len(FEATURES))`` for mothers as they were ``lag`` frames before their last."""
    typical_area = np.pi * typical_px**2 / 4
    a, b = one.centre_px, two.centre_px
    last, area = mothers.places_px[:, lag], mothers.area_px[:, lag]
    way_a, way_b = a - last, b - last
    lengths = np.maximum(_length(way_a) * _length(way_b), 1e-9)
    larger = np.maximum(one.area_px, two.area_px)
    smaller = np.minimum(one.area_px, two.area_px)
    columns = (
        _length((a + b) / 2 - last) / typical_px,
        _length(a - b) / typical_px,
        (way_a * way_b).sum(axis=1) / lengths,
        np.log(larger / smaller),
        np.abs(one.brightness - two.brightness),
        np.abs(np.log((one.area_px + two.area_px) / area)),
        np.log(larger / area),
        np.fmax.reduce(mothers.brightness[:, lag:], axis=1),
        np.log(area / typical_area),
        np.fmax.reduce(mothers.roundness[:, lag:], axis=1),
        np.minimum(_length(way_a), _length(way_b)) / typical_px,
        1.0 / np.maximum(mothers.seen - lag, 1),
    )
    return np.stack(columns, axis=1)


def _length(vectors: Floats) -> Floats:
    length: Floats = np.hypot(vectors[:, 0], vectors[:, 1])
    return length


def probability(features: Floats) -> Floats:
    """Return how probable a division is for each row of :func:`evidence`, 0 to 1."""
    middle, apart, opposite, uneven, contrast, total, small, *_, stayed, young = features.T
    logit = (
        4.0
        - 4.0 * np.maximum(middle - 0.1, 0)
        - 3.0 * np.maximum(apart - 1.2, 0) ** 2
        - 2.0 * (opposite + 0.8)
        - 2.5 * uneven
        - 1.0 * contrast
        - 1.0 * total
        - 2.0 * np.maximum(small + 0.3, 0)
        + 2.0 * np.minimum(stayed - 0.3, 0.3)
        - 2.0 * young
    )
    p: Floats = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
    return p
