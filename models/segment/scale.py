"""What a picture shows: bright or dark cells, with halos or without, and how large they are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.segment.foreground import blurred
from stream.cells import Floats

LARGEST_SIDE_PX = 640
"""Pictures are reduced to this before scales are tried."""
SCALES_PX = tuple(1.5 * 1.25**k for k in range(14))
"""Gaussian widths tried, in reduced pixels."""
HALO_SHARE = 0.12
"""A picture that reaches this far below its background, as a share of how far above, shows phase contrast. Nuclei stay
below .1, hardly ever above at 5 photons; phase contrast in a field of 200 px is above .15 19 times in 20."""

GRAIN_PX = (5, 15)
"""Sides of the squares whose means are compared with those around them."""
STANDS_OUT = 4.5
"""Standard deviations of such a mean. Of a camera's noise none of 2048 x 2048 px stands out by 4; of cells in phase
contrast at 2 photons the best do by 5, of nuclei at 5 photons by 17."""
LEAST_NOISE = 0.3
"""Counts, standard deviation: that of whole numbers."""


def is_grain(pixels: NDArray[Any]) -> bool:
    """Say whether nothing stands out of the noise of single pixels ``(y, x)``: the light is off, or nothing is there.

    Only noise that is independent from pixel to pixel is known as such. Broken pixels do not count.
    """
    rows = pixels[::2].astype(np.float32)
    steps = np.abs(np.diff(rows, axis=1)) if rows.shape[1] > 1 else np.zeros((1, 1), np.float32)
    noise = max(float(np.median(steps)) / (0.6745 * 2**0.5), LEAST_NOISE)
    plain = pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)
    means, side = np.asarray(cv2.medianBlur(np.ascontiguousarray(plain), 3), np.float32), 1
    for wanted in GRAIN_PX:
        height, width = (max(1, length * side // wanted) for length in means.shape)
        means, side = np.asarray(cv2.resize(means, (width, height), interpolation=cv2.INTER_AREA), np.float32), wanted
        if float(np.abs(means - cv2.blur(means, (5, 5))).max()) > STANDS_OUT * 1.2 * noise / side:
            return False
    return True


def reduced(image: Floats) -> tuple[Floats, float]:
    """Return a copy of at most :data:`LARGEST_SIDE_PX` and how many pixels one of its pixels covers per axis."""
    step = max(1.0, max(image.shape) / LARGEST_SIDE_PX)
    if step == 1.0:
        return image, 1.0
    size = (round(image.shape[1] / step), round(image.shape[0] / step))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32), step


def halo_share(image: Floats) -> float:
    """Return how far the picture reaches below its background, as a share of how far above (fine noise smoothed)."""
    small = blurred(reduced(image)[0], 1.5)
    values = np.sort(small, axis=None)
    quarter = max(1, len(values) // 4)
    start = int(np.argmin(values[quarter:] - values[:-quarter])) if len(values) > quarter else 0
    base = float(values[start + quarter // 2])
    rare = len(values) // 1000  # one cell in a large picture must count, one broken pixel must not
    below, above = base - float(values[rare]), float(values[-1 - rare]) - base
    return max(below, 0.0) / max(above, 1e-9)


def _strongest_band(image: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Return for every pixel which difference of neighbouring scales is largest, and that difference.

    A Gaussian of a Gaussian is a Gaussian, so each layer is made from the one before by a narrower kernel.
    """
    best, strength = np.zeros(image.shape, np.uint8), np.full(image.shape, -np.inf, np.float32)
    layer = blurred(image, SCALES_PX[0])
    for k, (sigma, wider) in enumerate(pairwise((*SCALES_PX, SCALES_PX[-1] * 1.25))):
        smoother = blurred(layer, (wider**2 - sigma**2) ** 0.5)
        band = layer - smoother
        best[band > strength] = k
        np.maximum(strength, band, out=strength)
        layer = smoother
    return best, strength


def blob_diameter_px(image: Floats) -> float | None:
    """Return the typical diameter of bright blobs; None where there are none.

    Each blob is the extremum of the scale-normalised Laplacian over place and scale (a difference of Gaussians; a disc
    of diameter d answers most at a width of d / 2.83).
    """
    small, step = reduced(image)
    span = float(small.max() - small.min())
    if span <= 0:
        return None
    best, strength = _strongest_band(small)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    floor = max(0.1 * float(np.percentile(strength, 99)), 1e-6 * span)
    peaks = (strength >= cv2.dilate(strength, window)) & (strength > floor) & (best > 0)
    if not peaks.any():
        return None
    widths = np.asarray(SCALES_PX)[best[peaks]] * 1.25**0.5
    order = np.argsort(widths)
    weight = np.cumsum((widths**2 * np.sqrt(strength[peaks]))[order])
    return float(2.83 * widths[order][int(np.searchsorted(weight, weight[-1] / 2))] * step)
