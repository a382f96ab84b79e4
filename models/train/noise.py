"""Photon noise for training: what a frame would have looked like with less light."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MANY = 30.0
"""Mean counts above which a Poisson distribution is as good as normal."""


def fewer_photons(pixels: NDArray[Any], black: float, peak: float, photons: float, rng: np.random.Generator) -> Floats:
    """Return pixels as if ``peak`` counts above ``black`` had been ``photons`` photons, float32 of the same counts."""
    mean = np.maximum((pixels.astype(np.float32) - black) * np.float32(photons / peak), 0)
    noisy = mean + np.sqrt(mean) * rng.standard_normal(mean.shape, np.float32)
    few = mean < MANY
    noisy[few] = rng.poisson(mean[few])
    return np.asarray(np.maximum(noisy, 0) * np.float32(peak / photons) + np.float32(black), np.float32)
