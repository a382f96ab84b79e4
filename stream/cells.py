"""The cells of one frame: a label image and one table of equal-length, read-only columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stream.errors import StageError

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

Kind = Literal["nuclei", "phase"]
"""What a picture shows: nuclei in fluorescence, or cells in phase contrast."""
STATES = ("interphase", "mitosis", "newborn", "dead")
"""What the columns of ``state_prob`` mean."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of a Cells table, for people and policies; never built on the hot path."""

    label: int
    centroid_px: tuple[float, float]
    bbox_px: tuple[int, int, int, int]
    area_px: float
    mean_counts: tuple[float, ...]
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The cells of one frame, sorted by label.

    Parameters
    ----------
    label : (n,) int32
        Values in the label image, ascending, never 0.
    centroid_px : (n, 2) float32
        ``(y, x)``.
    bbox_px : (n, 4) int32
        ``(y0, x0, y1, x1)``, the end excluded.
    area_px : (n,) float32
    mean_counts : (n, channels) float32
        Mean of the raw pixels for each of the chain's ``measure_channels``; NaN where a channel is missing.
    score : (n,) float32
        How sure the segmenter is, 0 to 1.
    state_prob : (n, len(STATES)) float32
        NaN where the segmenter does not know.
    prev_centre_px : (n, 2) float32
        Where the cell, or its mother, was in the previous frame; NaN unknown.
    features : (n, k) float32
        Whatever the segmenter hands to the tracker; k may be 0.
    """

    label: Ints
    centroid_px: Floats
    bbox_px: Ints
    area_px: Floats
    mean_counts: Floats
    score: Floats
    state_prob: Floats
    prev_centre_px: Floats
    features: Floats

    def __post_init__(self) -> None:
        n = len(self.label)
        for column in fields(self):
            values = getattr(self, column.name)
            if len(values) != n:
                raise StageError(f"Cells.{column.name} has {len(values)} rows, label has {n}")
            values.flags.writeable = False

    def __len__(self) -> int:
        return len(self.label)

    def row(self, i: int) -> Cell:
        """Return row ``i`` as a :class:`Cell`."""
        y, x = self.centroid_px[i]
        y0, x0, y1, x1 = (int(v) for v in self.bbox_px[i])
        means = tuple(float(v) for v in self.mean_counts[i])
        return Cell(
            int(self.label[i]),
            (float(y), float(x)),
            (y0, x0, y1, x1),
            float(self.area_px[i]),
            means,
            float(self.score[i]),
        )


def make_cells(
    label: Ints, centroid_px: Floats, bbox_px: Ints, area_px: Floats, mean_counts: Floats, **known: Floats
) -> Cells:
    """Build a Cells table; columns that are not given say "unknown"."""
    n = len(label)
    nan = np.float32(np.nan)
    columns: dict[str, Any] = {
        "score": np.ones(n, np.float32),
        "state_prob": np.full((n, len(STATES)), nan, np.float32),
        "prev_centre_px": np.full((n, 2), nan, np.float32),
        "features": np.zeros((n, 0), np.float32),
    }
    columns.update(known)
    return Cells(label, centroid_px, bbox_px, area_px, mean_counts, **columns)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """A label image ``(y, x)`` int32 (0: background) with its cells.

    ``kind`` is what the segmenter took the picture for; None: it does not know.
    """

    labels: Ints
    cells: Cells
    kind: Kind | None = None

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != np.int32:
            raise StageError(f"a label image is (y, x) int32, not {self.labels.shape} {self.labels.dtype}")
        self.labels.flags.writeable = False
