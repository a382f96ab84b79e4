"""Cells that the image's edge cuts: their centre, size and daughters cannot be trusted, so they are not followed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.cells import Cells, Segmentation


def reach_px(cells: Cells, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return how far each cell reaches into the image from the nearest edge, ``(n,)``."""
    y0, x0, y1, x1 = cells.bbox_px.T
    height, width = shape
    reach: NDArray[np.int32] = np.minimum(np.minimum(y1, x1), np.minimum(height - y0, width - x0))
    return reach.astype(np.float64)


def without_cut(given: Segmentation, least_px: float) -> Segmentation:
    """Return the segmentation without the cells that reach less than ``least_px`` into the image.

    Only the table gets shorter; their pixels stay in the label image.
    """
    kept = reach_px(given.cells, given.labels.shape) >= least_px
    if kept.all():
        return given
    columns: dict[str, Any] = {f.name: getattr(given.cells, f.name)[kept] for f in fields(Cells)}
    return replace(given, cells=Cells(**columns))
