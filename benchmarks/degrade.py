"""Fewer photons: what a recording would look like had there been less light, the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DARK_PERCENTILE, PEAK_PERCENTILE = 1.0, 99.8


def degraded(pixels: NDArray[Any], photons: float, seed: int, *, phase: bool | None = None) -> NDArray[Any]:
    """Return the frame as if its brightest pixels had caught so many photons.

    Parameters
    ----------
    pixels
        ``(y, x)`` uint8 or uint16.
    photons
        At the brightest pixels (the 99.8th percentile), above the field's own offset.
    seed
        The same frame, photons and seed give the same counts.
    phase
        Phase contrast, where black is no light at all; None: 8 bit recordings are. Else the field's dark background
        (the 1st percentile; near 32768 in some recordings) is no light.

    Returns
    -------
    pixels
        Of the same type and in the same range: offset and contrast stay, detail is lost in noise.
    """
    image = pixels.astype(np.float64)
    dark, peak = np.percentile(image, [DARK_PERCENTILE, PEAK_PERCENTILE])
    if phase if phase is not None else pixels.dtype == np.uint8:
        dark = 0.0
    per_photon = max(peak - dark, 1.0) / photons
    caught = np.random.default_rng(seed).poisson(np.maximum(image - dark, 0.0) / per_photon)
    top = np.iinfo(pixels.dtype).max
    return np.clip(np.round(caught * per_photon + dark), 0, top).astype(pixels.dtype)
