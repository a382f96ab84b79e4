"""What one or two passes over a label image say about every label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from stream.cells import Floats, Ints
from stream.errors import StageError
from stream.stages import Moment

Doubles = NDArray[np.float64]


@compiled
def sums(labels: Ints, count: int) -> tuple[Doubles, Ints]:
    """Return n, Σy, Σx, Σy², Σx², Σyx of every label, ``(count + 1, 6)``, and boxes ``(y0, x0, y1, x1)``."""
    rows, columns = labels.shape
    total = np.zeros((count + 1, 6), np.float64)
    boxes = np.zeros((count + 1, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = rows, columns
    for y in range(rows):
        for x in range(columns):
            k = labels[y, x]
            if k == 0:
                continue
            t, b = total[k], boxes[k]
            t[0] += 1
            t[1] += y
            t[2] += x
            t[3] += y * y
            t[4] += x * x
            t[5] += y * x
            b[0], b[1] = min(b[0], y), min(b[1], x)
            b[2], b[3] = max(b[2], y + 1), max(b[3], x + 1)
    return total, boxes


@compiled
def means(labels: Ints, count: int, pixels: NDArray[Any]) -> Doubles:
    """Return the mean of ``pixels`` over every label, ``(count + 1,)``; NaN where a label is absent."""
    total = np.zeros(count + 1, np.float64)
    number = np.zeros(count + 1, np.int64)
    flat, values = labels.ravel(), pixels.ravel()
    for i in range(flat.size):
        if flat[i]:
            total[flat[i]] += values[i]
            number[flat[i]] += 1
    for k in range(count + 1):
        total[k] = total[k] / number[k] if number[k] else np.nan
    return total


def mean_counts(labels: Ints, count: int, moment: Moment) -> Floats:
    """Return ``(count, channels)``: the mean of the raw pixels over every label, for each of the measured channels.

    NaN where a channel was not taken. Without measured channels it is the channel that was segmented. Raises StageError
    where a channel has another shape than the labels.
    """
    columns = []
    for pixels in moment.channels.values() or [moment.frame.pixels]:
        if pixels is None:
            columns.append(np.full(count, np.nan))
            continue
        if pixels.shape != labels.shape:
            raise StageError(f"a measured channel is {pixels.shape}, the frame {labels.shape}")
        columns.append(means(labels, count, np.ascontiguousarray(pixels))[1:])
    return np.stack(columns, 1).astype(np.float32)


@compiled
def levels(labels: Ints, count: int, values: Floats, share: float, most: float) -> tuple[Floats, Ints]:
    """Return how bright labels are where they are bright, and their areas, both ``(count + 1,)``.

    The level is the value that ``share`` of a label's pixels exceed, but never more than ``most`` of them: haze around
    a cell must not count as the cell. It is exact to 1/64 of the label's maximum.
    """
    peak = np.zeros(count + 1, np.float32)
    area = np.zeros(count + 1, np.int32)
    flat, heights = labels.ravel(), values.ravel()
    for i in range(flat.size):
        k = flat[i]
        if k:
            peak[k] = max(peak[k], heights[i])
            area[k] += 1
    steps = np.zeros((count + 1, 64), np.int32)
    for i in range(flat.size):
        k = flat[i]
        if k and heights[i] > 0:
            steps[k, min(int(heights[i] / peak[k] * 64), 63)] += 1
    level = np.zeros(count + 1, np.float32)
    for k in range(1, count + 1):
        left = min(share * area[k], most)
        step = 63
        while step > 0 and left > steps[k, step]:
            left -= steps[k, step]
            step -= 1
        level[k] = (step + 0.5) / 64 * peak[k]
    return level, area
