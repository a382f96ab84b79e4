"""Which objects of a result cover which objects of the truth, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """One frame's label images against each other.

    Parameters
    ----------
    truth, found : (n,), (m,) int64
        Labels in each image, ascending.
    pair_truth, pair_found : (k,) int64
        Pairs in which the found object covers more than half of the true one; ascending by truth, each true object
        at most once.
    iou : (k,) float64
        Intersection over union of each pair.
    """

    truth: Labels
    found: Labels
    pair_truth: Labels
    pair_found: Labels
    iou: NDArray[np.float64]

    def matches(self) -> Mapping[int, int]:
        """Return found → true for objects that cover exactly one true object."""
        objects, counts = np.unique(self.pair_found, return_counts=True)
        alone = set(objects[counts == 1].tolist())
        pairs = zip(self.pair_found.tolist(), self.pair_truth.tolist(), strict=True)
        return {found: true for found, true in pairs if found in alone}


def overlap(truth: Labels, found: Labels | None) -> Overlap:
    """Compare two label images ``(y, x)`` (0: background); ``found`` None: a frame without result.

    Raises
    ------
    SourceError
        The images differ in shape.
    """
    if found is None:
        found = np.zeros_like(truth)
    if truth.shape != found.shape:
        raise SourceError(f"the truth is {truth.shape} px, the result {found.shape}: not the same recording")
    true_area, found_area = np.bincount(truth.ravel()), np.bincount(found.ravel())
    inside = (truth > 0) & (found > 0)
    width = len(found_area)
    codes, shared = np.unique(truth[inside] * width + found[inside], return_counts=True)
    pair_truth, pair_found = np.divmod(codes, width)
    covers = 2 * shared > true_area[pair_truth]
    pair_truth, pair_found, shared = pair_truth[covers], pair_found[covers], shared[covers]
    iou = shared / (true_area[pair_truth] + found_area[pair_found] - shared)
    return Overlap(_present(true_area), _present(found_area), pair_truth, pair_found, iou)


def _present(area: NDArray[np.int64]) -> Labels:
    return np.flatnonzero(area[1:]) + 1
