"""Undecimated wavelet-frame shrinkage of one stabilised image, in a few passes.

The frame is the B3-spline "à trous" one (Starck, Murtagh and Bijaoui 1998; isotropic undecimated wavelets: Starck,
Fadili and Murtagh, IEEE TIP 2007): smooth, subtract, smooth that with gaps twice as wide, and so on; what was
subtracted, shrunk, and the last smooth image add up to the result.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.denoise.kernel import fast

Image = NDArray[np.float32]

NOISE = (0.8908, 0.2007, 0.0856, 0.0413, 0.0205)
"""Standard deviation of white noise of 1 in each scale of the frame."""
Rule = Literal["soft", "garrote", "local"]
THRESHOLDS: dict[Rule, tuple[float, ...]] = {
    "soft": (3.0, 2.0, 1.5, 1.5, 1.5),
    "garrote": (3.5, 2.5, 2.0, 2.0, 2.0),
    "local": (2.0, 1.4, 1.0, 1.0, 1.0),
}
"""Standard deviations of the noise of each scale up to which a detail is noise. ``local`` is the garrote on the mean
power of 3x3 neighbours, as far apart as the scale is wide (after Chen, Bui and Krzyzak 2005)."""
_SAMPLED = 7
_TO_SIGMA = 1 / 0.6745
FULL = 0.5
"""How fast a threshold falls with the power of its scale: sparse details need a high one, texture a low one."""


def shrink(
    image: Image, spread: Image, scales: int, strength: float, rule: Rule, room: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the image with less noise.

    Parameters
    ----------
    image : (y, x)
        Stabilised, finite.
    spread : (y, x)
        Variance of its noise.
    scales
        1 to ``len(NOISE)``.
    strength
        What the thresholds are multiplied with.
    rule
        A key of ``THRESHOLDS``.
    room : (4, y, x)
        Workspace; its first plane holds the result.

    Returns
    -------
    found : (scales,)
        The noise that was found in each scale, as a share of what white noise would give.
    """
    done, smooth, rough, between = room
    done[:] = 0
    smooth[:] = image
    found = np.ones(scales, np.float32)
    for scale in range(scales):
        step = 1 << scale
        _smooth_rows(smooth, between, step)
        _smooth_columns(between, rough, step)
        sigma, power = _noise_and_power(smooth, rough, spread)
        found[scale] = min(sigma / NOISE[scale], 1.0)
        least = np.float32(strength * _threshold(THRESHOLDS[rule][scale], power) * NOISE[scale] * found[scale])
        if rule == "local":
            _power_along_rows(smooth, rough, between, step)
            _shrink_local(smooth, rough, between, spread, done, least, step)
        else:
            _shrink_each(smooth, rough, spread, done, least, rule == "soft")
        smooth, rough = rough, smooth
    done += smooth
    return found


@fast
def _smooth_rows(image: Image, out: Image, step: int) -> None:
    height, width = image.shape
    a, b, c = np.float32(1 / 16), np.float32(4 / 16), np.float32(6 / 16)
    padded = np.empty(width + 4 * step, np.float32)
    for y in range(height):
        row, to = image[y], out[y]
        for x in range(width):
            padded[x + 2 * step] = row[x]
        for k in range(2 * step):
            padded[2 * step - 1 - k] = row[_mirrored(-1 - k, width)]
            padded[width + 2 * step + k] = row[_mirrored(width + k, width)]
        for x in range(width):
            far = padded[x] + padded[x + 4 * step]
            to[x] = a * far + b * (padded[x + step] + padded[x + 3 * step]) + c * padded[x + 2 * step]


@fast
def _smooth_columns(image: Image, out: Image, step: int) -> None:
    height, width = image.shape
    a, b, c = np.float32(1 / 16), np.float32(4 / 16), np.float32(6 / 16)
    for y in range(height):
        up2, up = image[_mirrored(y - 2 * step, height)], image[_mirrored(y - step, height)]
        down, down2 = image[_mirrored(y + step, height)], image[_mirrored(y + 2 * step, height)]
        here, to = image[y], out[y]
        for x in range(width):
            to[x] = a * (up2[x] + down2[x]) + b * (up[x] + down[x]) + c * here[x]


@compiled
def _mirrored(at: int, length: int) -> int:
    """Return the place that is seen in a mirror at the rim; images smaller than the reach are seen again and again."""
    while at < 0 or at >= length:
        at = -1 - at if at < 0 else 2 * length - 1 - at
    return at


def _threshold(most: float, power: float) -> float:
    """Return the threshold of a scale, in standard deviations: lower where it holds much more than noise."""
    return float(np.sqrt(most**2 / (1 + FULL * (max(power, 1.0) - 1))))


@compiled
def _noise_and_power(smooth: Image, rough: Image, spread: Image) -> tuple[float, float]:
    """Return the noise of a scale from its median, for cells are no noise, and its power over that of the noise."""
    height, width = smooth.shape
    sample = np.empty(((height + _SAMPLED - 1) // _SAMPLED, (width + _SAMPLED - 1) // _SAMPLED), np.float32)
    power = 0.0
    for i in range(sample.shape[0]):
        for j in range(sample.shape[1]):
            y, x = i * _SAMPLED, j * _SAMPLED
            sample[i, j] = abs(smooth[y, x] - rough[y, x]) / np.sqrt(spread[y, x])
            power += sample[i, j] * sample[i, j]
    sigma = max(float(np.median(sample)) * _TO_SIGMA, 1e-6)
    return sigma, power / (sample.size * sigma * sigma)


@fast
def _shrink_each(smooth: Image, rough: Image, spread: Image, done: Image, least: np.float32, soft: bool) -> None:
    zero, tiny = np.float32(0), np.float32(1e-12)
    for y in range(smooth.shape[0]):
        for x in range(smooth.shape[1]):
            detail = smooth[y, x] - rough[y, x]
            power = detail * detail + tiny
            share = least * least * spread[y, x] / power
            keep = max(np.float32(1) - (np.sqrt(share) if soft else share), zero)
            done[y, x] += keep * detail


@fast
def _power_along_rows(smooth: Image, rough: Image, out: Image, reach: int) -> None:
    """Write the mean power of three details of a row."""
    height, width = smooth.shape
    third = np.float32(1 / 3)
    power = np.empty(width + 2 * reach, np.float32)
    for y in range(height):
        for x in range(width):
            detail = smooth[y, x] - rough[y, x]
            power[x + reach] = detail * detail
        for k in range(reach):
            power[reach - 1 - k] = power[reach + _mirrored(-1 - k, width)]
            power[width + reach + k] = power[reach + _mirrored(width + k, width)]
        for x in range(width):
            out[y, x] = (power[x] + power[x + reach] + power[x + 2 * reach]) * third


@fast
def _shrink_local(
    smooth: Image, rough: Image, power: Image, spread: Image, done: Image, least: np.float32, reach: int
) -> None:
    """The mean power of 3x3 details decides for the one in the middle."""
    height, width = smooth.shape
    one, zero, tiny, limit = np.float32(1), np.float32(0), np.float32(1e-12), np.float32(3) * least * least
    for y in range(height):
        above, here, below = power[_mirrored(y - reach, height)], power[y], power[_mirrored(y + reach, height)]
        for x in range(width):
            keep = max(one - limit * spread[y, x] / (above[x] + here[x] + below[x] + tiny), zero)
            done[y, x] += keep * (smooth[y, x] - rough[y, x])
