"""The compiled inner loops: crowding, drawing, marking, blurring. Only the virtual microscope imports them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Floats = NDArray[np.float32]
# It tells every step of compiling to whoever listens to everything.
logging.getLogger("numba").setLevel(logging.WARNING)


def compiled(function: Function) -> Function:
    """Compile on first use; the machine code is kept beside the source."""
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


@compiled
def repel(
    x: NDArray[np.float64], y: NDArray[np.float64], radius: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how fast each cell is pushed (x, y; µm a minute) and its number of neighbours within ``reach``."""
    n = len(x)
    columns = int((x.max() - x.min()) // reach) + 1
    rows = int((y.max() - y.min()) // reach) + 1
    bin_x = ((x - x.min()) // reach).astype(np.int64)
    bin_y = ((y - y.min()) // reach).astype(np.int64)
    first = np.full(columns * rows, -1, np.int64)
    after = np.full(n, -1, np.int64)
    for i in range(n - 1, -1, -1):
        box = bin_y[i] * columns + bin_x[i]
        after[i] = first[box]
        first[box] = i
    push_x, push_y, crowd = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        for row in range(max(bin_y[i] - 1, 0), min(bin_y[i] + 2, rows)):
            for column in range(max(bin_x[i] - 1, 0), min(bin_x[i] + 2, columns)):
                j = first[row * columns + column]
                while j >= 0:
                    dx, dy = x[i] - x[j], y[i] - y[j]
                    distance = np.sqrt(dx * dx + dy * dy)
                    if j != i and distance < reach:
                        crowd[i] += 1.0
                        overlap = radius[i] + radius[j] + 2.0 - distance
                        if overlap > 0.0 and distance > 1e-6:
                            force = min(0.12 * overlap, 0.8) / distance
                            push_x[i] += force * dx
                            push_y[i] += force * dy
                    j = after[j]
    return push_x, push_y, crowd


@compiled
def _depth(lobe: NDArray[np.float64], dx: float, dy: float) -> tuple[float, float, float, float]:
    """Where a point lies in a lobe: µm below the outline (negative outside), radius 0 to 1, own (u, v) in µm."""
    long_um, short_um = lobe[3], lobe[4]
    u = lobe[5] * dx + lobe[6] * dy
    v = -lobe[6] * dx + lobe[5] * dy
    p = u / long_um
    bent = v - lobe[7] * long_um * (p * p - 0.33)
    q = bent / short_um
    r = p * p + q * q
    if r > 1.8:
        return -1e3, r, u, v
    r = np.sqrt(r)
    outline, slope = 1.0, 1.0 / short_um
    if r > 1e-3:
        c, s = p / r, q / r
        outline += lobe[8] * (c * c - s * s) + lobe[9] * 2 * c * s
        outline += lobe[10] * (4 * c * c * c - 3 * c) + lobe[11] * (3 * s - 4 * s * s * s)
        slope = np.sqrt((c / long_um) ** 2 + (s / short_um) ** 2)
    return (outline - r) / slope, r / outline, u, v


@compiled
def _reach(lobe: NDArray[np.float64]) -> tuple[float, float]:
    """How far a lobe may reach along x and y in µm: its turned ellipse, a margin for its outline, and its bend."""
    along, across = lobe[3] * 1.27, lobe[4] * 1.27 + abs(lobe[7]) * lobe[3]
    wide = np.sqrt((along * lobe[5]) ** 2 + (across * lobe[6]) ** 2)
    high = np.sqrt((along * lobe[6]) ** 2 + (across * lobe[5]) ** 2)
    return wide, high


@compiled
def _span(centre: float, reach: float, size: int) -> tuple[int, int]:
    return max(int(np.floor(centre - reach)), 0), min(int(np.ceil(centre + reach)) + 1, size)


@compiled
def _texel(tile: Floats, u: float, v: float) -> float:
    """Bilinear look-up in a periodic tile whose side is a power of two."""
    mask = tile.shape[0] - 1
    # Whole tiles are added so that cutting off the fraction rounds down.
    u, v = u + 4.0 * (mask + 1), v + 4.0 * (mask + 1)
    i, j = int(v), int(u)
    fv, fu = v - i, u - j
    i0, j0, i1, j1 = i & mask, j & mask, (i + 1) & mask, (j + 1) & mask
    top = tile[i0, j0] * (1 - fu) + tile[i0, j1] * fu
    return float(top * (1 - fv) + (tile[i1, j0] * (1 - fu) + tile[i1, j1] * fu) * fv)


@compiled
def draw_nuclei(
    image: Floats, lobes: NDArray[np.float64], x0: float, y0: float, pixel: float, calm: Floats, coarse: Floats,
    texel: float,
) -> None:  # fmt: skip
    """Add each lobe's light to ``image``; pixel (0, 0) looks at ``(x0, y0)`` µm. Light is per µm² of specimen."""
    height, width = image.shape
    for k in range(len(lobes)):
        lobe = lobes[k]
        wide, high = _reach(lobe)
        column, row = (lobe[1] - x0) / pixel, (lobe[2] - y0) / pixel
        i0, i1 = _span(row, high / pixel + 1.5, height)
        j0, j1 = _span(column, wide / pixel + 1.5, width)
        level = lobe[12] / (np.pi * lobe[3] * lobe[4])
        for i in range(i0, i1):
            for j in range(j0, j1):
                depth, r, u, v = _depth(lobe, (j - column) * pixel, (i - row) * pixel)
                cover = depth / pixel + 0.5
                if cover <= 0.0:
                    continue
                tu, tv = u / texel + lobe[14] * 8.0, v / texel + lobe[15] * 8.0
                grain = _texel(calm, tu, tv)
                if lobe[13] > 0.01:
                    grain += lobe[13] * (_texel(coarse, tu, tv) - grain)
                dome = 1.12 - 0.24 * min(r * r, 1.0)
                image[i, j] += np.float32(min(cover, 1.0) * level * dome * grain)


@compiled
def draw_bodies(
    image: Floats, lobes: NDArray[np.float64], x0: float, y0: float, pixel: float, calm: Floats, texel: float,
    shade: float,
) -> None:  # fmt: skip
    """Draw each lobe's cell body: a soft mound, flat while spread, steep while round; where two lie, the higher one.

    ``shade`` is what a round body gives relative to a spread one: above 1 in fluorescence, below 0 in phase contrast.
    """
    height, width = image.shape
    for k in range(len(lobes)):
        lobe = lobes[k]
        whole = 1.0 - lobe[17]
        along, across = lobe[16] * (1.0 + 0.3 * whole), lobe[16] * (1.0 - 0.1 * whole)
        wide = 1.2 * np.hypot(along * lobe[5], across * lobe[6]) / pixel
        high = 1.2 * np.hypot(along * lobe[6], across * lobe[5]) / pixel
        column, row = (lobe[1] - x0) / pixel, (lobe[2] - y0) / pixel
        i0, i1 = _span(row, high, height)
        j0, j1 = _span(column, wide, width)
        level = lobe[18] * (whole + lobe[17] * shade)
        for i in range(i0, i1):
            for j in range(j0, j1):
                dx, dy = (j - column) * pixel, (i - row) * pixel
                u, v = lobe[5] * dx + lobe[6] * dy, -lobe[6] * dx + lobe[5] * dy
                p, q = u / along, v / across
                r2 = p * p + q * q
                if r2 >= 1.4:
                    continue
                grain = _texel(calm, u / texel * 0.4 + lobe[15] * 8.0, v / texel * 0.4 + lobe[14] * 8.0)
                # Spread cells have ragged corners, and a rough surface.
                corners = lobe[9] * p * q + lobe[10] * p * (p * p - 3 * q * q) + lobe[11] * q * (q * q - 3 * p * p)
                edge = 1.0 - r2 * max(1.0 + whole * (6.0 * corners + 0.5 * (grain - 1.0)), 0.7)
                if edge <= 0.0:
                    continue
                hollow = 1.0 - 0.4 * whole / (1.0 + ((u / lobe[3]) ** 2 + (v / lobe[4]) ** 2) ** 2)
                mound = whole * min(2.5 * edge, 1.0) * (0.55 + 0.45 * edge) + lobe[17] * np.sqrt(edge)
                value = level * mound * (1.0 + 0.8 * whole * (grain - 1.0)) * hollow
                if abs(value) > abs(image[i, j]):
                    image[i, j] = np.float32(value)


@compiled
def mark(
    labels: NDArray[np.int32], lobes: NDArray[np.float64], x0: float, y0: float, pixel: float
) -> NDArray[np.float64]:
    """Write each lobe's row number + 1 into ``labels`` where its outline lies; the deeper of two lobes wins.

    Returns the area of every lobe in pixels as if nothing hid it and the image had no border, (n,).
    """
    height, width = labels.shape
    best = np.full((height, width), -1e3, np.float32)
    area = np.zeros(len(lobes))
    for k in range(len(lobes)):
        lobe = lobes[k]
        wide, high = _reach(lobe)
        wide, high = wide / pixel + 1.5, high / pixel + 1.5
        column, row = (lobe[1] - x0) / pixel, (lobe[2] - y0) / pixel
        for i in range(int(np.floor(row - high)), int(np.ceil(row + high)) + 1):
            for j in range(int(np.floor(column - wide)), int(np.ceil(column + wide)) + 1):
                depth = _depth(lobe, (j - column) * pixel, (i - row) * pixel)[0]
                if depth < 0.0:
                    continue
                area[k] += 1.0
                if 0 <= i < height and 0 <= j < width and depth > best[i, j]:
                    best[i, j] = depth
                    labels[i, j] = k + 1
    return area


@compiled
def blur(image: Floats, weights: Floats) -> Floats:
    """Convolve with ``weights`` along both axes and return the part that needs no border, smaller by len - 1."""
    taps = len(weights)
    height, width = image.shape[0] - taps + 1, image.shape[1] - taps + 1
    across = np.zeros((image.shape[0], width), np.float32)
    for i in range(image.shape[0]):
        for k in range(taps):
            for j in range(width):
                across[i, j] += weights[k] * image[i, j + k]
    out = np.zeros((height, width), np.float32)
    for i in range(height):
        for k in range(taps):
            for j in range(width):
                out[i, j] += weights[k] * across[i + k, j]
    return out
