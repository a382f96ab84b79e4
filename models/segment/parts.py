"""From outlines to cells: holes are filled, touching cells parted at their waist, crumbs removed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.segment.foreground import blurred
from models.segment.measure import Doubles, sums
from models.segment.recipe import Recipe
from models.segment.split import split
from stream.cells import Floats, Ints

SAMPLED_FROM_PX = 20.0
"""Cells at least so large are parted on every second pixel."""


@compiled
def _inside(spots: Ints) -> NDArray[np.uint8]:
    """Return 1 inside spots, 0 outside and along the line where two of them touch."""
    rows, columns = spots.shape
    inside = np.zeros(spots.shape, np.uint8)
    for y in range(rows):
        for x in range(columns):
            k = spots[y, x]
            if k == 0:
                continue
            up = spots[y - 1, x] if y else k
            left = spots[y, x - 1] if x else k
            inside[y, x] = not ((up and up != k) or (left and left != k))
    return inside


@compiled
def _fill(spots: Ints, outside: Ints, count: int, largest: float) -> None:
    """Give holes (small parts of the outside that touch one spot only) to that spot, in place."""
    rows, columns = spots.shape
    area = np.zeros(count, np.int32)
    for k in outside.ravel():
        area[k] += 1
    owner = np.zeros(count, np.int32)
    for y in range(rows):
        for x in range(columns):
            hole = outside[y, x]
            if hole == 0 or area[hole] > largest or owner[hole] < 0:
                continue
            if y == 0 or x == 0 or y == rows - 1 or x == columns - 1:
                owner[hole] = -1
                continue
            for k in (spots[y - 1, x], spots[y + 1, x], spots[y, x - 1], spots[y, x + 1]):
                if k and owner[hole] == 0:
                    owner[hole] = k
                elif k and owner[hole] != k:
                    owner[hole] = -1
    for y in range(rows):
        for x in range(columns):
            if outside[y, x] and owner[outside[y, x]] > 0 and area[outside[y, x]] <= largest:
                spots[y, x] = owner[outside[y, x]]


@compiled
def _depths(distance: Floats, spots: Ints, step: int) -> tuple[Floats, Ints]:
    """Take every ``step``-th pixel: its distance to the outline (0 outside, more inside) and its spot."""
    rows, columns = (spots.shape[0] + step - 1) // step, (spots.shape[1] + step - 1) // step
    depth, zone = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.int32)
    for y in range(rows):
        for x in range(columns):
            k = spots[y * step, x * step]
            if k:
                depth[y, x], zone[y, x] = distance[y * step, x * step] + np.float32(0.01), k
    return depth, zone


@compiled
def _spread(spots: Ints, parts: Ints, zone: Ints, step: int) -> Ints:
    """Bring parts back to every pixel of their spot: from the sample before it, else from one beside that."""
    if step == 1:
        return parts
    labels = np.zeros(spots.shape, np.int32)
    rows, columns = parts.shape
    for y in range(spots.shape[0]):
        for x in range(spots.shape[1]):
            k = spots[y, x]
            if k == 0:
                continue
            sy, sx = y // step, x // step
            if zone[sy, sx] == k:
                labels[y, x] = parts[sy, sx]
                continue
            for ny in range(max(sy - 1, 0), min(sy + 2, rows)):
                for nx in range(max(sx - 1, 0), min(sx + 2, columns)):
                    if zone[ny, nx] == k:
                        labels[y, x] = parts[ny, nx]
    return labels


@compiled
def _rename(labels: Ints, zones: Ints, name: Ints, zone_of: Ints) -> None:
    """Rename in place and note which spot each new label lies in."""
    flat, spots = labels.ravel(), zones.ravel()
    for i in range(flat.size):
        if flat[i]:
            flat[i] = name[flat[i]]
            if flat[i]:
                zone_of[flat[i]] = spots[i]


def cells_of(spots: Ints, diameter_px: float, recipe: Recipe) -> tuple[Ints, Doubles, Ints, Ints]:
    """Part the spots and number the cells.

    Returns
    -------
    labels, total, boxes, spot
        ``(y, x)`` labels 1..n; rows 1..n of :func:`models.segment.measure.sums`; the spot that each cell came from.
    """
    area = np.pi / 4 * diameter_px**2
    count, outside = cv2.connectedComponents((spots == 0).view(np.uint8), connectivity=8)
    _fill(spots, outside, count, recipe.least_area * area)
    distance = cv2.distanceTransform(_inside(spots), cv2.DIST_L2, 5)
    step = 2 if diameter_px >= SAMPLED_FROM_PX else 1
    depth, zone = _depths(blurred(distance, recipe.shape * diameter_px), spots, step)
    tiny = 0.25 * recipe.least_area * area / step**2
    parts, count = split(depth, zone, recipe.waist, diameter_px / 60, tiny)
    labels = _spread(spots, parts, zone, step)
    total, boxes = sums(labels, count)
    kept = np.flatnonzero(total[:, 0] >= recipe.least_area * area)
    name = np.zeros(count + 1, np.int32)
    name[kept] = np.arange(1, len(kept) + 1)
    spot = np.zeros(len(kept) + 1, np.int32)
    _rename(labels, spots, name, spot)
    return labels, total[kept], boxes[kept], spot[1:]
