"""From a network's outputs to cells, in our way and in the usual one, so that their times can be compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.segment.decode import DecodeSettings, decode
from models.spec import NetSpec

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A label image ``(y, x)`` and how many cells it holds."""

    labels: NDArray[np.int32]
    count: int

    def agreement(self, other: Cells) -> float:
        """Return the share of the pixels in a cell of either image that are in the same cell of both.

        A cell is the same as the one that covers most of it. 1.0 when neither image holds a cell.
        """
        inside = (self.labels > 0) | (other.labels > 0)
        if not inside.any():
            return 1.0
        ours, theirs = self.labels[inside].astype(np.int64), other.labels[inside].astype(np.int64)
        codes, shared = np.unique(ours * (other.count + 1) + theirs, return_counts=True)
        one, two = np.divmod(codes, other.count + 1)
        best_two, best_one = np.zeros(self.count + 1, np.int64), np.zeros(other.count + 1, np.int64)
        order = np.argsort(shared, kind="stable")
        best_two[one[order]], best_one[two[order]] = two[order], one[order]
        same = (one > 0) & (two > 0) & (best_two[one] == two) & (best_one[two] == one)
        return float(shared[same].sum() / len(ours))


class Reader:
    """Reads the outputs of one network.

    Parameters
    ----------
    spec
        What its planes are and how large its cells.
    """

    def __init__(self, spec: NetSpec) -> None:
        self._spec = spec
        self._settings = DecodeSettings.of(spec.kind, spec.object_px)

    def cells(self, foreground: Floats, maps: Floats) -> Cells:
        """Return the cells as the pipeline finds them."""
        decoded = decode(foreground[0, 0], maps[0], self._spec.channels, self._settings)
        return Cells(decoded.labels, decoded.count)

    def usual(self, foreground: Floats, maps: Floats) -> Mapping[str, Any] | None:
        """Do what is usually done: peaks of the seed plane, watershed, measured regions; None without skimage."""
        if importlib.util.find_spec("skimage") is None:
            return None
        from skimage.feature import peak_local_max
        from skimage.measure import regionprops_table
        from skimage.segmentation import watershed

        seed = maps[0, self._spec.channels.index("seed")].repeat(2, 0).repeat(2, 1)
        inside = foreground[0, 0] > self._settings.foreground
        apart = max(1, int(self._spec.object_px / 4))
        peaks = peak_local_max(seed, min_distance=apart, threshold_abs=self._settings.seed, labels=inside.astype(int))
        markers = np.zeros(seed.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        labels = watershed(-seed, markers, mask=inside)
        found: Mapping[str, Any] = regionprops_table(labels, properties=("label", "area", "bbox", "centroid"))
        return found
