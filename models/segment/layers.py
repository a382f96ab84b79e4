"""Bright chromatin that lies against a dim neighbour: one outline, no valley between them, but two cells.

The plates of a dividing cell are several times brighter than a nucleus in interphase. Where they touch one, brightness
has no saddle, only a step; and it is just then, at the split, that both must be seen apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.segment.measure import Doubles, levels, sums
from models.segment.recipe import Recipe
from stream.cells import Floats, Ints

LOOSE = 0.6
"""Outlines are first drawn at this share of their own threshold: the dim one of two cells may lie below it."""
GLARE = 0.13
"""Around bright chromatin nothing dim is looked for so near, in cell diameters."""
CORE = (0.04, 0.5)
"""Bright chromatin has so much area above its mark, in typical areas: less is a crumb, more is a nucleus of its own."""
STEP = 1.2
"""Bright chromatin ends where it is not so many times brighter than the dim cell."""
CONTRAST = 2.2
"""Chromatin is so many times brighter than the dim cell: else it is texture."""
FREE = (0.5, 0.3)
"""What is this much dimmer than the dim cell is background; chromatin has so much of it around, the lens where two
nuclei overlap has not."""
LIKELY = 0.7
"""Outlines whose parts differ on average by less than this share of the contrast are not looked into."""
FINEST_STEP_PX = 12.0
"""In cells smaller than this every blurred spot has a bright core and a dim rim: a step says nothing."""
SMALLEST_REST = 0.25
"""The dim part must be at least so large."""


@compiled
def reach(image: Floats, base: float, spots: Ints, step: int, least: Floats, stride: int = 1) -> Ints:
    """Keep of every spot (found on a copy reduced by ``step``) what is above its own threshold, a contrast.

    ``image`` may hold every ``stride``-th pixel along both axes only.
    """
    rows, columns = image.shape
    kept = np.zeros(image.shape, np.int32)
    place = np.minimum(np.arange(columns) * stride // step, spots.shape[1] - 1)
    for y in range(rows):
        line = spots[min(y * stride // step, spots.shape[0] - 1)]
        for x in range(columns):
            spot = line[place[x]]
            if spot and image[y, x] - base > least[spot]:
                kept[y, x] = spot
    return kept


@compiled
def _core(loose: Ints, image: Floats, base: float, bright: Floats) -> NDArray[np.uint8]:
    """Return 1 where a spot is brighter than its own ``bright``, a contrast."""
    core = np.zeros(loose.shape, np.uint8)
    spots, values, out = loose.ravel(), image.ravel(), core.ravel()
    for i in range(spots.size):
        k = spots[i]
        if k and values[i] - base > bright[k]:
            out[i] = 1
    return core


@compiled
def _parts(
    loose: Ints, image: Floats, base: float, count: int, core: NDArray[np.uint8], near: NDArray[np.uint8]
) -> Doubles:
    """Return pixels and contrast of each outline's chromatin, and of its rest, ``(count + 1, 4)``."""
    part = np.zeros((count + 1, 4))
    spots, values, cores, nears = loose.ravel(), image.ravel(), core.ravel(), near.ravel()
    for i in range(spots.size):
        k = spots[i]
        if k and cores[i]:
            part[k, 0] += 1
            part[k, 1] += values[i] - base
        elif k and nears[i] == 0:
            part[k, 2] += 1
            part[k, 3] += values[i] - base
    return part


def layered(
    tight: Ints, image: Floats, base: float, spots: Ints, step: int, loosely: Floats, diameter_px: float, recipe: Recipe
) -> tuple[Ints, Ints]:
    """Part outlines that hold bright chromatin beside a dim cell; which ones may is judged on every second pixel.

    Parameters
    ----------
    tight : (y, x)
        Outlines at their spots' own thresholds; changed in place.
    image, base
        What the outlines were drawn on, and its background.
    spots, step
        The spots, on a copy reduced by ``step``.
    loosely : (count + 1,)
        :data:`LOOSE` thresholds, contrasts; infinite where a spot is no cell.

    Returns
    -------
    labels, origin
        Labels ``(y, x)``; the old label of each, ``(new count + 1,)``.
    """
    typical, count = np.pi / 4 * diameter_px**2, len(loosely) - 1
    half = np.ascontiguousarray(image[::2, ::2])
    loose = reach(half, base, spots, step, loosely, 2)
    top, _ = levels(loose, count, half - np.float32(base), 1.0, CORE[0] * typical / 2)
    least_bright = recipe.step * top
    core = _core(loose, half, base, least_bright)
    near = np.asarray(cv2.dilate(core, _ball(GLARE * diameter_px / 2)), np.uint8)
    part = 4 * _parts(loose, half, base, count, core, near)
    bright, rest = part[:, 0], part[:, 2]
    likely = (bright >= CORE[0] * typical) & (rest >= SMALLEST_REST * typical) & np.isfinite(loosely)
    likely &= part[:, 1] * rest > LIKELY * CONTRAST * part[:, 3] * bright
    origin = list(range(count + 1))
    boxes = sums(loose, count)[1]
    for k in np.flatnonzero(likely):
        here = _box(boxes[k], image.shape)
        height = np.ascontiguousarray(image[here]) - np.float32(base)
        names = _names(spots, step, here)
        inside = (names == k) & (height > loosely[k])
        bright_here = ((height > loosely[names]) & (height > least_bright[names])).astype(np.uint8)
        ball = _ball(GLARE * diameter_px)
        near_here = np.asarray(cv2.dilate(bright_here, ball), np.uint8)
        _part(tight[here], inside, bright_here, near_here, int(k), origin, ball, typical, height, recipe.cut)
    return tight, np.array(origin, np.int32)


def _ball(radius_px: float) -> NDArray[np.uint8]:
    radius = max(1, round(radius_px))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _box(box: Ints, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return where a box of every second pixel lies in the whole image, a pixel wider."""
    y0, x0, y1, x1 = (2 * int(v) for v in box)
    return slice(max(y0 - 2, 0), min(y1 + 2, shape[0])), slice(max(x0 - 2, 0), min(x1 + 2, shape[1]))


def _names(spots: Ints, step: int, here: tuple[slice, slice]) -> Ints:
    """Return the spots of a part of the whole image."""
    rows = np.minimum(np.arange(here[0].start, here[0].stop) // step, spots.shape[0] - 1)
    columns = np.minimum(np.arange(here[1].start, here[1].stop) // step, spots.shape[1] - 1)
    return np.asarray(spots[np.ix_(rows, columns)])


def _part(spots: Ints, inside: NDArray[np.bool_], core: NDArray[np.uint8], near: NDArray[np.uint8], k: int,
          origin: list[int], ball: NDArray[np.uint8], typical: float, height: Floats, cut: float) -> None:  # fmt: skip
    """Give bright and dim parts of spot ``k`` labels of their own, in place; do nothing where there is only one."""
    dim = _pieces(inside & (near == 0), SMALLEST_REST * typical)
    if not dim:
        return
    dimmer = max(float(np.median(height[piece > 0])) for piece in dim)
    bright = [
        piece
        for piece in _pieces(inside & (core > 0), CORE[0] * typical, CORE[1] * typical)
        if _stands_out(piece, height, dimmer, ball)
    ]
    if not bright:
        return
    spots[spots == k] = 0
    name = k
    for piece in dim:
        grown = (cv2.dilate(piece, ball) > 0) & inside & (height > cut * float(np.median(height[piece > 0])))
        spots[grown & (spots == 0)] = name
        name = len(origin)
        origin.append(k)
    for piece in bright:
        level = float(np.median(height[piece > 0]))
        spots[(cv2.dilate(piece, ball) > 0) & inside & (height > max(cut * level, STEP * dimmer))] = name
        name = len(origin)
        origin.append(k)
    origin.pop()


def _stands_out(piece: NDArray[np.uint8], height: Floats, dimmer: float, ball: NDArray[np.uint8]) -> bool:
    """Say whether a piece is much brighter than the dim cell and has background, not cells, past its glare."""
    if float(np.median(height[piece > 0])) < CONTRAST * dimmer:
        return False
    around = height[cv2.dilate(piece, ball, iterations=2) > cv2.dilate(piece, ball)]
    return float(np.mean(around < FREE[0] * dimmer)) > FREE[1]


def _pieces(mask: NDArray[np.bool_], least: float, most: float = np.inf) -> list[NDArray[np.uint8]]:
    """Return the connected parts of a mask that are large enough."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return [(parts == i).astype(np.uint8) for i in range(1, count) if least <= stats[i, cv2.CC_STAT_AREA] <= most]
