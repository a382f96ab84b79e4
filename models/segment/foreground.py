"""From an image to outlines: background, bright spots, and how far each of them reaches.

Every spot gets its own threshold, a share of its own brightness: a dim nucleus beside a bright mitotic one keeps its
outline, and a bright one does not grow into its glare.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.compiled import compiled
from models.segment.layers import FINEST_STEP_PX, LOOSE, layered, reach
from models.segment.measure import levels
from models.segment.recipe import Recipe
from models.segment.split import split
from stream.cells import Floats, Ints

SAMPLE = 4
"""Statistics of the background look at every fourth pixel along both axes."""
FINEST_BLUR_PX = 1.5
"""A Gaussian this wide keeps what a pixel can hold: wider ones are computed on smaller copies."""


def blurred(image: Floats, sigma_px: float) -> Floats:
    """Smooth by a Gaussian; widths below a third of a pixel change nothing."""
    return image if sigma_px < 0.33 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)


def contrast(image: Floats, diameter_px: float, recipe: Recipe) -> Floats:
    """Subtract the background: the image's opening by a window larger than cells, computed on a reduced copy."""
    rows, columns = image.shape
    step = max(1, round(diameter_px / 6))
    size = (max(1, columns // step), max(1, rows // step))
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    side = round(recipe.background * diameter_px / step) | 1
    window = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    low = cv2.morphologyEx(small, cv2.MORPH_OPEN, window, borderType=cv2.BORDER_REFLECT)
    low = cv2.GaussianBlur(low, (0, 0), side / 3)
    return np.asarray(image - cv2.resize(low, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)


def base_and_floor(image: Floats, recipe: Recipe, sample: int = 1) -> tuple[float, float]:
    """Return the level of the background and how much higher a cell's dimmest pixel must be.

    The level is the middle of the shortest interval with a quarter of the pixels (the mode, even where cells cover
    most of the image); the deviation is that of the pixels below it, which no cell raises. Half of what the dimmest
    cell must reach, judged by the 99th percentile, is skipped in any case: that only saves time.
    """
    values = np.sort(image[::sample, ::sample], axis=None)
    quarter = max(1, len(values) // 4)
    start = int(np.argmin(values[quarter:] - values[:-quarter])) if len(values) > quarter else 0
    base = float(values[start : start + quarter + 1].mean())
    below = values[: max(1, int(np.searchsorted(values, base)))]
    bright = float(values[int(0.99 * (len(values) - 1))]) - base
    deviation = 1.4826 * float(np.median(base - below))
    return base, max(recipe.sigmas * deviation, 0.5 * recipe.least_contrast * bright)


@compiled
def _heights(image: Floats, base: float, floor: float) -> Floats:
    """Square root of the contrast (so dim and bright cells take like steps), 0 below the floor."""
    height = np.zeros(image.shape, np.float32)
    flat, out = image.ravel(), height.ravel()
    for i in range(flat.size):
        if flat[i] - base > floor:
            out[i] = np.sqrt(flat[i] - base)
    return height


def _coarse(above: Floats, sigma_px: float) -> tuple[Floats, int]:
    """Smooth, on a reduced copy where the blur leaves nothing that it would lose; return it and the reduction."""
    step = max(1, int(sigma_px / FINEST_BLUR_PX))
    rows, columns = above.shape
    if step == 1 or min(rows, columns) < 8 * step:
        return blurred(above, sigma_px), 1
    cut = above[: rows // step * step, : columns // step * step]
    small = cv2.resize(cut, (columns // step, rows // step), interpolation=cv2.INTER_AREA)
    return blurred(np.asarray(small, np.float32), sigma_px / step), step


def outlines(image: Floats, diameter_px: float, recipe: Recipe) -> tuple[Ints, Floats]:
    """Find the spots of an image and how far each reaches.

    Returns
    -------
    spots, certainty
        ``(y, x)`` labels, and for each label (with 0) how far it rises above what the dimmest cell must, 0 to 1.
    """
    above = contrast(image, diameter_px, recipe)
    coarse, step = _coarse(above, recipe.coarse * diameter_px)
    base, floor = base_and_floor(coarse, recipe, max(1, SAMPLE // step))
    height = _heights(coarse, base, floor)
    if not height.any():
        return np.zeros(image.shape, np.int32), np.zeros(1, np.float32)
    typical = np.pi / 4 * (diameter_px / step) ** 2
    zone = np.zeros(height.shape, np.int32)
    spots, count = split(height, zone, recipe.ripple**0.5, 0.0, recipe.least_area * 0.25 * typical)
    root, area = levels(spots, count, height, recipe.level, typical / 2)
    least, certainty = _thresholds(root**2, root**2 * np.minimum(area, typical), floor, recipe)
    fine = blurred(above, recipe.fine * diameter_px)
    if recipe.step == 0 or diameter_px < FINEST_STEP_PX:
        return reach(fine, base, spots, step, least), certainty
    loosely = np.maximum(np.float32(LOOSE) * least, np.float32(floor))
    parted, origin = layered(
        reach(fine, base, spots, step, least), fine, base, spots, step, loosely, diameter_px, recipe
    )
    return parted, certainty[origin]


def _thresholds(level: Floats, weight: Floats, floor: float, recipe: Recipe) -> tuple[Floats, Floats]:
    """Return the contrast down to which each spot reaches (infinite: no cell), and how certain each is.

    The typical level is the median over all light of the spots, so that much dim haze does not lower it.
    """
    order = np.argsort(level)
    half = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    dimmest = max(floor, recipe.least_contrast * float(level[order[half]]))
    least = np.where(level < dimmest, np.inf, np.maximum(floor, recipe.cut * level))
    return least.astype(np.float32), np.clip(1 - dimmest / np.maximum(level, 1e-9), 0, 1).astype(np.float32)
