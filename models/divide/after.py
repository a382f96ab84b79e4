"""What the frames after a split tell of it: how far the daughters are apart, whether they grow, whether one hides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream.cells import Kind

Floats = NDArray[np.float64]

AFTER = ("apart", "shrunk", "hidden", "fused")
"""Columns of :meth:`After.columns`.

apart   how far the daughters were from each other when last seen together, in diameters of the typical cell, up to 2.5
shrunk  how much smaller one of them is by then than at first, as a natural logarithm, -1.5 to 1.5; young cells grow
hidden  frames in which a daughter was out of sight and her sister did not cover her: dim young cells flicker
fused   frames in which one cell covered both: one cell fell apart for a moment
"""
WEIGHTS: Mapping[Kind, tuple[float, ...]] = {"nuclei": (0.0, 0.0, -0.6, -1.5), "phase": (1.6, -1.4, -0.8, -1.0)}
SLOPE: Mapping[Kind, float] = {"nuclei": 1.0, "phase": 0.9}
BIAS: Mapping[Kind, float] = {"nuclei": 0.1, "phase": -1.6}
"""Phase contrast: logistic regression, rounded, by ``benchmarks/fit_after.py`` on what the quality and the fast network
saw of recorded cells with all light, 20 and 5 photons. On nuclei such a fit tells no more, on blocks of time left out,
than the first word alone: there only daughters who are not both seen count, by hand."""
FARTHEST, MOST_SHRUNK = 2.5, 1.5


@dataclass(frozen=True, slots=True)
class After:
    """What was seen of the daughters of a division.

    Parameters
    ----------
    first
        Logit of the probability that was stated at once.
    areas
        Of each daughter in her first frame, relative to the typical cell, as a natural logarithm.
    apart, shrunk, hidden, fused
        See :data:`AFTER`.
    together
        Whether two daughters were seen in the newest frame.
    """

    first: float
    areas: tuple[float, ...]
    apart: float
    shrunk: float = 0.0
    hidden: int = 0
    fused: int = 0
    together: bool = True

    @property
    def columns(self) -> Floats:
        """What the score looks at, ``(len(AFTER),)``."""
        return np.array([self.apart, self.shrunk, self.hidden, self.fused], np.float64)

    def logit(self, kind: Kind | None) -> float:
        """Return how probable the division is after at least one more frame, as a logit; an unknown kind is nuclei."""
        name: Kind = kind or "nuclei"
        return BIAS[name] + SLOPE[name] * self.first + float(self.columns @ np.array(WEIGHTS[name]))

    def seen(self, areas: Mapping[int, float], apart: float) -> After:
        """Return it with a frame that shows two daughters at least; ``areas`` by their place in the first frame's."""
        shrunk = max(self.areas[i] - area for i, area in areas.items())
        return replace(self, apart=apart, shrunk=float(np.clip(shrunk, -MOST_SHRUNK, MOST_SHRUNK)), together=True)

    def unseen(self, *, fused: bool) -> After:
        """Return it with a frame that does not, because one cell covers both or because one is out of sight."""
        return replace(self, hidden=self.hidden + (not fused), fused=self.fused + fused, together=False)


def apart_of(places: Floats, typical_px: float) -> float:
    """Return the largest distance between daughters ``(n, 2)`` px, in diameters, at most :data:`FARTHEST`."""
    between = places[:, None] - places[None]
    return min(float(np.hypot(between[..., 0], between[..., 1]).max()) / typical_px, FARTHEST)


def relative_area(area_px: Floats, typical_px: float) -> Floats:
    """Return areas relative to the typical cell, as natural logarithms."""
    relative: Floats = np.log(np.maximum(area_px, 1.0) / (np.pi * typical_px**2 / 4))
    return relative
