"""How strong the noise is at each brightness: given by the user, or read from one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK_PX = 8
"""Side of the blocks whose brightness and noise are compared."""
LEVELS = 24
"""Brightness levels at which the noise is read."""
LEAST_BLOCKS = 8
"""A level with fewer blocks says nothing."""
MOST_WEIGHT = 8.0
"""A dark ground of many blocks says no more than so many roots of blocks."""
LEAST_SIGMA = 0.29
"""Counts; what rounding to whole counts alone makes (1/sqrt 12)."""
LEAST_RISE = 1.5
"""A variance that grows less than this from dark to bright counts as constant."""
QUIET = 0.3
"""Share of a level's blocks that are taken to hold no structure."""
QUIET_SHARE = 0.808
"""That quantile of the variances of blocks of pure noise, over their mean (measured; the same at all brightnesses)."""
_CURVATURE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


@dataclass(frozen=True, slots=True)
class Noise:
    """Variance of a count: ``gain * (counts - zero)`` where ``gain`` is positive, else ``sigma ** 2`` everywhere.

    Parameters
    ----------
    gain
        Counts per photoelectron; 0: the noise does not depend on the brightness.
    zero
        Counts at which the line of variance meets zero: the offset less ``read_noise ** 2 / gain``.
    sigma
        Counts; used where ``gain`` is 0.
    """

    gain: float
    zero: float
    sigma: float


def known(gain: float, offset: float, read_noise: float) -> Noise:
    """Noise of a camera whose figures are known, in counts."""
    return Noise(gain, offset - read_noise**2 / gain, read_noise)


def estimate(pixels: NDArray[Any], gain: float | None = None, dark: tuple[float, float] | None = None) -> Noise:
    """Read the noise from one frame: local means and variances, and a line through the quietest of them.

    Where no rising line explains the frame (phase contrast, stretched recordings) the noise is taken as constant, from
    the quietest blocks: too small rather than too large, so that at worst nothing is filtered.

    Parameters
    ----------
    pixels
        ``(y, x)``, uint8 or uint16.
    gain
        Counts per photoelectron where known.
    dark
        Offset and read noise in counts where known.
    """
    means, variances = _blocks(pixels)
    if dark is not None and gain is not None:
        return known(gain, *dark)
    constant = Noise(0.0, 0.0, max(float(np.sqrt(_quiet(variances))) if len(variances) else 0.0, LEAST_SIGMA))
    level, variance, weight = _levels(means, variances)
    if len(level) < 3:
        return constant if gain is None else Noise(gain, _zero_at(gain, constant, means), constant.sigma)
    if gain is not None:
        above = np.average(variance - gain * level, weights=weight)
        return Noise(gain, -float(above) / gain, constant.sigma)
    slope, base = _line(level, variance, weight, dark)
    low, high = slope * level[0] + base, slope * level[-1] + base
    if slope <= 0 or high < LEAST_RISE * max(low, LEAST_SIGMA**2):
        return constant
    base = max(base, LEAST_SIGMA**2 - slope * float(level[0]))
    return Noise(slope, -base / slope, constant.sigma)


def _zero_at(gain: float, constant: Noise, means: Floats) -> float:
    typical = float(np.median(means)) if len(means) else 0.0
    return typical - constant.sigma**2 / gain


def _blocks(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return mean and noise variance of every block without saturated pixels."""
    height, width = (side // BLOCK_PX * BLOCK_PX for side in pixels.shape)
    if not height or not width:
        return np.zeros(0), np.zeros(0)
    image = pixels.astype(np.float32)
    rough = cv2.filter2D(image, -1, _CURVATURE, borderType=cv2.BORDER_REFLECT_101) ** 2

    def tiles(values: NDArray[Any]) -> NDArray[Any]:
        cut = values[:height, :width].reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
        return cut.transpose(0, 2, 1, 3).reshape(-1, BLOCK_PX * BLOCK_PX)

    cut = tiles(image)
    top = float(np.iinfo(pixels.dtype).max)
    inside = (cut.min(axis=1) > 0) & (cut.max(axis=1) < top)
    means = cut.mean(axis=1, dtype=np.float64)[inside]
    return means, tiles(rough).mean(axis=1, dtype=np.float64)[inside]


def _quiet(variances: Floats) -> float:
    """Return the variance of the blocks that hold no structure."""
    return float(np.quantile(variances, QUIET)) / QUIET_SHARE


def _levels(means: Floats, variances: Floats) -> tuple[Floats, Floats, Floats]:
    """Return brightness, quiet variance and weight of the levels that enough blocks share."""
    if len(means) < 3 * LEAST_BLOCKS:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    low, high = np.quantile(means, [0.001, 0.999])
    edges = low + (high - low) * np.linspace(0, 1, LEVELS + 1) ** 1.3
    where = np.clip(np.searchsorted(edges, means, side="right") - 1, 0, LEVELS - 1)
    full = [k for k in range(LEVELS) if np.count_nonzero(where == k) >= LEAST_BLOCKS]
    level = np.array([np.mean(means[where == k]) for k in full])
    variance = np.array([_quiet(variances[where == k]) for k in full])
    weight = np.array([min(np.sqrt(np.count_nonzero(where == k)), MOST_WEIGHT) for k in full])
    return level, variance, weight


def _line(level: Floats, variance: Floats, weight: Floats, dark: tuple[float, float] | None) -> tuple[float, float]:
    """Fit ``variance = slope * level + base``; levels far above the line hold structure and lose their weight."""
    at, over = (0.0, 0.0) if dark is None else (dark[0], dark[1] ** 2)
    trust = weight / np.maximum(variance, LEAST_SIGMA**2)
    slope = base = 0.0
    for _ in range(8):
        if dark is None:
            slope, base = (float(part) for part in np.polyfit(level, variance, 1, w=trust))
        else:
            x = level - at
            slope = float(np.sum(trust**2 * x * (variance - over)) / max(np.sum(trust**2 * x * x), 1e-12))
            base = over - slope * at
        fitted = np.maximum(slope * level + base, LEAST_SIGMA**2)
        excess = np.maximum(variance / fitted - 1, 0)
        trust = weight / fitted / (1 + (excess / 0.35) ** 2)
    return slope, base
