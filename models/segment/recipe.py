"""How one kind of picture is cut into cells; lengths are shares of the typical cell's diameter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers behind a preset.

    Parameters
    ----------
    fine, coarse
        Gaussian widths of the image that outlines are drawn on, and of the one that bright spots are sought in.
    background
        Side of the window whose darkest content is the background; more than a clump of cells.
    sigmas, least_contrast
        A pixel counts when it stands so many deviations of the background above it; a cell, when its level is at least
        this share of the typical (median) level.
    ripple
        Bright spots with a saddle above this share of the lower one's contrast are one cell.
    step
        Chromatin in division shows by this: what lies beside it within one outline and is dimmer than this share of its
        level is another cell; 0: not looked for.
    level, cut
        A cell's level is what the ``level`` share of its pixels (at most half a typical cell) exceed; it reaches down
        to ``cut`` times that.
    waist
        Parts of an outline are one cell where the waist between them is wider than this share of the narrower part.
    shape
        Gaussian width that smooths the distance to the outline.
    least_area
        The smallest cell and the smallest part, as a share of the typical area.
    """

    fine: float
    coarse: float
    background: float
    sigmas: float
    least_contrast: float
    ripple: float
    step: float
    level: float
    cut: float
    waist: float
    shape: float
    least_area: float


NUCLEI = Recipe(
    fine=0.06,
    coarse=0.12,
    background=3.0,
    sigmas=5.0,
    least_contrast=0.03,
    ripple=0.75,
    step=0.65,
    level=0.25,
    cut=0.45,
    waist=0.85,
    shape=0.04,
    least_area=0.12,
)
PHASE = Recipe(
    fine=0.06,
    coarse=0.12,
    background=1.8,
    sigmas=4.0,
    least_contrast=0.1,
    ripple=0.96,
    step=0.0,
    level=0.25,
    cut=0.4,
    waist=0.85,
    shape=0.04,
    least_area=0.25,
)
