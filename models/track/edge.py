"""Cells that the image's edge cuts: their centre, size and daughters cannot be trusted, so they are not followed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.cells import Cells, Segmentation


def reach_px(cells: Cells, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how far each cell reaches into the image from the nearest edge, ``(n,)``."""
    y0, x0, y1, x1 = cells.bbox_px.T.astype(np.float64)
    height, width = shape
    reach: NDArray[np.float64] = np.minimum(np.minimum(y1, x1), np.minimum(height - y0, width - x0))
    return reach


def without_cut(given: Segmentation, least_px: float) -> Segmentation:
    """Return the segmentation without the cells that reach less than ``least_px`` into the image."""
    cells, (height, width) = given.cells, given.labels.shape
    kept = reach_px(cells, (height, width)) >= least_px
    if kept.all():
        return given
    labels = given.labels.copy()
    for label, (y0, x0, y1, x1) in zip(cells.label[~kept], cells.bbox_px[~kept], strict=True):
        box = labels[y0:y1, x0:x1]
        box[box == label] = 0
    columns: dict[str, Any] = {f.name: getattr(cells, f.name)[kept] for f in fields(Cells)}
    return Segmentation(labels, replace(cells, **columns))
