"""Bright chromatin that lies against a dim neighbour: one outline, no valley between them, but two cells.

The plates of a dividing cell are several times brighter than a nucleus in interphase. Where they touch one, brightness
has no saddle, only a step; and it is just then, at the split, that both must be seen apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.segment.measure import Doubles, levels
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
def _tighten(
    loose: Ints, image: Floats, base: float, least: Floats, core: NDArray[np.uint8], near: NDArray[np.uint8]
) -> tuple[Ints, Doubles, Ints]:
    """Keep what is above the thresholds; sum pixels and contrast of each loose outline's chromatin and rest; box it."""
    rows, columns = loose.shape
    tight = np.zeros(loose.shape, np.int32)
    part = np.zeros((least.size, 4))
    boxes = np.zeros((least.size, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = rows, columns
    for y in range(rows):
        for x in range(columns):
            k = loose[y, x]
            if k == 0:
                continue
            height = image[y, x] - base
            if height > least[k]:
                tight[y, x] = k
            b = boxes[k]
            b[0], b[1] = min(b[0], y), min(b[1], x)
            b[2], b[3] = max(b[2], y + 1), max(b[3], x + 1)
            if core[y, x]:
                part[k, 0] += 1
                part[k, 1] += height
            elif near[y, x] == 0:
                part[k, 2] += 1
                part[k, 3] += height
    return tight, part, boxes


def layered(
    loose: Ints, image: Floats, base: float, least: Floats, diameter_px: float, recipe: Recipe
) -> tuple[Ints, Ints]:
    """Tighten loose outlines and part those that hold bright chromatin beside a dim cell.

    Parameters
    ----------
    loose : (y, x)
        Outlines at :data:`LOOSE` of their thresholds.
    image, base
        What the outlines were drawn on, and its background.
    least : (count + 1,)
        Each spot's threshold, a contrast.

    Returns
    -------
    spots, origin
        Labels ``(y, x)``; the old label of each, ``(new count + 1,)``.
    """
    typical = np.pi / 4 * diameter_px**2
    small = np.ascontiguousarray(loose[::2, ::2])
    top, _ = levels(small, len(least) - 1, np.ascontiguousarray(image[::2, ::2]) - np.float32(base), 1.0,
                    CORE[0] * typical / 2)  # fmt: skip
    core = _core(loose, image, base, recipe.step * top)
    radius = max(1, round(GLARE * diameter_px))
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    near = np.asarray(cv2.dilate(core, ball), np.uint8)
    spots, part, boxes = _tighten(loose, image, base, least, core, near)
    bright, rest = part[:, 0], part[:, 2]
    likely = (bright >= CORE[0] * typical) & (rest >= SMALLEST_REST * typical) & np.isfinite(least)
    likely &= part[:, 1] * rest > LIKELY * CONTRAST * part[:, 3] * bright
    origin = list(range(len(least)))
    for k in np.flatnonzero(likely):
        y0, x0, y1, x1 = (int(v) for v in boxes[k])
        here = slice(y0, y1), slice(x0, x1)
        _part(spots[here], loose[here] == k, core[here], near[here], int(k), origin, ball, typical,
              image[here] - np.float32(base), recipe.cut)  # fmt: skip
    return spots, np.array(origin, np.int32)


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
