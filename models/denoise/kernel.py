"""One pass over the image: stabilise the noise, look for motion, blend, and go back to counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Image = NDArray[np.float32]

RADIUS = 2
"""Motion is looked for in boxes of ``2 * RADIUS + 1`` pixels a side."""
_SPAN = 2 * RADIUS + 1
_MOST = np.float32(32)
"""Standard errors beyond which a difference counts no more, so that running sums keep their precision."""
_LEAST_ROOT = np.float32(2 * np.sqrt(3 / 8))
_ROOT_3_2 = np.float32(np.sqrt(3 / 2))


def fast(function: Function) -> Function:
    """Compile for values that are finite: sums may be taken in another order."""
    return cast(Function, numba.njit(nogil=True, cache=True, fastmath=True)(function))


@fast
def stabilise(pixels: NDArray[Any], out: Image, gain: float, zero: float, sigma: float) -> None:
    """Write counts ``(y, x)`` as values whose noise is 1 everywhere (generalised Anscombe; linear where gain is 0)."""
    for row in range(pixels.shape[0]):
        _stabilise_row(pixels[row], out[row], np.float32(gain), np.float32(zero), np.float32(sigma))


@fast
def advance(
    pixels: NDArray[Any], memory: Image, spread: Image, out: Image,
    gain: float, zero: float, sigma: float, level: float, floor: float, threshold: float,
) -> None:  # fmt: skip
    """Blend one frame into the memory, in place, and write the result in counts.

    Parameters
    ----------
    pixels
        ``(y, x)`` counts.
    memory, spread
        ``(y, x)``: the filtered image with its noise stabilised, and its variance in units of one frame's.
    out
        ``(y, x)`` counts.
    gain, zero, sigma
        See :class:`models.denoise.noise.Noise`.
    level
        Standard deviation of the stabilised noise, 1 where the noise is as believed.
    floor
        Least weight of the new frame.
    threshold
        Standard errors at which a box has moved for certain; at half as many doubt begins.
    """
    height, width = pixels.shape
    fresh, change, energy = np.empty((3, _SPAN, width), np.float32)
    padded = np.zeros(width + 2 * RADIUS, np.float32)
    sums = np.zeros((2, width), np.float32)
    counts = np.empty(width, np.float32)
    for column in range(width):
        counts[column] = min(column + RADIUS, width - 1) - max(column - RADIUS, 0) + 1
    per_count = np.float32(1) / counts
    per_level = np.float32(1.0 / level)
    g, z, s = np.float32(gain), np.float32(zero), np.float32(sigma)
    for row in range(height + RADIUS):
        if row < height:
            slot = row % _SPAN
            _stabilise_row(pixels[row], fresh[slot], g, z, s)
            if row >= _SPAN:
                _add_row(sums, change[slot], energy[slot], np.float32(-1))
            _compare_row(fresh[slot], memory[row], spread[row], padded, change[slot], energy[slot], per_level)
            _add_row(sums, change[slot], energy[slot], np.float32(1))
        elif row >= _SPAN:
            _add_row(sums, change[row % _SPAN], energy[row % _SPAN], np.float32(-1))
        done = row - RADIUS
        if done >= 0:
            first, last = max(done - RADIUS, 0), min(done + RADIUS, height - 1)
            _blend_row(
                fresh[done % _SPAN], memory[done], spread[done], sums, counts, per_count, np.float32(last - first + 1),
                np.float32(floor), np.float32(threshold * threshold),
            )  # fmt: skip
            _restore_row(pixels[done], memory[done], spread[done], out[done], g, z, s, np.float32(level * level))


@fast
def _stabilise_row(counts: NDArray[Any], out: Image, gain: np.float32, zero: np.float32, sigma: np.float32) -> None:
    if gain > 0:
        scale, lift = np.float32(4) / gain, np.float32(1.5)
        for x in range(out.shape[0]):
            out[x] = np.sqrt(max((np.float32(counts[x]) - zero) * scale + lift, np.float32(0)))
    else:
        scale = np.float32(1) / sigma
        for x in range(out.shape[0]):
            out[x] = np.float32(counts[x]) * scale


@fast
def _compare_row(
    fresh: Image, memory: Image, spread: Image, padded: Image, change: Image, energy: Image, per_level: np.float32
) -> None:
    """Write the sums along the row of the standardised difference and of its square."""
    width = fresh.shape[0]
    for x in range(width):
        differs = (fresh[x] - memory[x]) * per_level / np.sqrt(np.float32(1) + spread[x])
        padded[x + RADIUS] = min(max(differs, -_MOST), _MOST)
    for x in range(width):
        total = power = np.float32(0)
        for k in range(_SPAN):
            total += padded[x + k]
            power += padded[x + k] * padded[x + k]
        change[x] = total
        energy[x] = power


@fast
def _add_row(sums: Image, change: Image, energy: Image, sign: np.float32) -> None:
    for x in range(sums.shape[1]):
        sums[0, x] += sign * change[x]
        sums[1, x] += sign * energy[x]


@fast
def _blend_row(
    fresh: Image, memory: Image, spread: Image, sums: Image, counts: Image, per_count: Image, rows: np.float32,
    floor: np.float32, certain: np.float32,
) -> None:  # fmt: skip
    """Weigh new against old: as their variances say where still, the new alone where the box moved."""
    one, half, zero = np.float32(1), np.float32(0.5), np.float32(0)
    per_row = one / rows
    doubt = np.float32(0.25) * certain
    per_doubt = one / (certain - doubt)
    for x in range(fresh.shape[0]):
        # noise alone: the squared sum over n, and the squared excess over 2n, are about chi squared with one degree
        excess = max(sums[1, x] - counts[x] * rows, zero)
        evidence = max(sums[0, x] * sums[0, x], excess * excess * half) * per_count[x] * per_row
        moved = min(max((evidence - doubt) * per_doubt, zero), one)
        still = max(spread[x] / (one + spread[x]), floor)
        weight = still + (one - still) * moved
        memory[x] += weight * (fresh[x] - memory[x])
        spread[x] = weight * weight + (one - weight) * (one - weight) * spread[x]


@fast
def _restore_row(
    counts: NDArray[Any], memory: Image, spread: Image, out: Image, gain: np.float32, zero: np.float32,
    sigma: np.float32, noise: np.float32,
) -> None:  # fmt: skip
    """Go back to counts without bias.

    The closed form of Mäkitalo and Foi (IEEE TIP 2011, 2013) is for a value without noise left. The noise that is left
    (``spread``) brings its share of the correction itself: with all of it, the algebraic inverse is the count itself.
    """
    one, quarter, last = np.float32(1), np.float32(0.25), np.float32(0.9999)
    if gain > 0:
        for x in range(out.shape[0]):
            value = max(memory[x], _LEAST_ROOT)
            per = one / value
            lost = quarter + per * (
                quarter * _ROOT_3_2 + per * (np.float32(-1.375) + per * np.float32(0.625) * _ROOT_3_2)
            )
            share = noise * (one - spread[x])
            electrons = quarter * value * value - np.float32(0.375) + share * lost
            out[x] = np.float32(counts[x]) if spread[x] > last else zero + gain * electrons
    else:
        for x in range(out.shape[0]):
            out[x] = np.float32(counts[x]) if spread[x] > last else memory[x] * sigma


@fast
def restore(
    pixels: NDArray[Any], value: Image, spread: Image, out: Image, gain: float, zero: float, sigma: float, level: float
) -> None:
    """Write a stabilised image ``(y, x)`` in counts; ``spread``: the variance of the noise that is left in it.

    Where all of it is left the counts are copied from ``pixels``.
    """
    g, z, s, noise = np.float32(gain), np.float32(zero), np.float32(sigma), np.float32(level * level)
    for row in range(pixels.shape[0]):
        _restore_row(pixels[row], value[row], spread[row], out[row], g, z, s, noise)
