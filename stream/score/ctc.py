"""The Cell Tracking Challenge's figures, through py-ctcmetrics, from overlaps in memory.

py-ctcmetrics takes folders and frames that begin at 0, and its CHOTA needs minutes for a thousand tracks. Here its
formulas get the overlaps that every other score uses too, frames are re-based, and CHOTA is the same sum done with
matrix products (a test compares both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from stream.score.overlap import Overlap
from stream.score.truth import Rows

FIGURES = ("DET", "TRA", "LNK", "CHOTA", "CT", "BC1")


def seg(overlaps: Sequence[Overlap]) -> float | None:
    """Return the mean, over the true objects, of the IoU with the object that covers more than half; None: no truth."""
    objects = sum(len(one.truth) for one in overlaps)
    return float(sum(one.iou.sum() for one in overlaps) / objects) if objects else None


def crop(rows: Rows, first: int, last: int) -> Rows:
    """Cut track rows to frames ``first`` to ``last``; a parent that ended before is no parent any more."""
    kept = rows[(rows[:, 2] >= first) & (rows[:, 1] <= last)].copy()
    kept[:, 1:3] = np.clip(kept[:, 1:3], first, last)
    kept[~np.isin(kept[:, 3], kept[:, 0]), 3] = 0
    return kept


def figures(overlaps: Mapping[int, Overlap], truth_rows: Rows, found_rows: Rows) -> dict[str, float | None]:
    """Compute DET, TRA, LNK, CHOTA, CT and BC(1).

    Parameters
    ----------
    overlaps
        One per frame, ascending; every frame between the first and the last.
    truth_rows, found_rows
        Tracks of exactly the labels in the overlaps, frames numbered as the overlaps.

    Returns
    -------
    dict
        By :data:`FIGURES`; None where the truth has nothing to compare (BC1: no division).
    """
    from ctc_metrics.metrics import bc, ct, det, lnk, raw_division_metrics, tra

    if not len(truth_rows):
        return dict.fromkeys(FIGURES)
    if not len(found_rows):
        return dict.fromkeys(FIGURES, 0.0)
    frames = sorted(overlaps)
    ref, comp = _rebased(truth_rows, frames), _rebased(found_rows, frames)
    traj = _lists([overlaps[frame] for frame in frames])
    operations = _operations(ref, comp, traj)
    divisions = raw_division_metrics(comp, ref, traj["mapped_ref"], traj["mapped_comp"], i=1)
    found: dict[str, Any] = {
        "DET": det(**operations),
        "TRA": tra(**operations)[0],
        "LNK": lnk(**operations) if operations["num_edges"] else None,
        "CHOTA": _chota(ref, comp, traj),
        "CT": ct(comp, ref, traj["labels_ref"], traj["mapped_ref"], traj["mapped_comp"]),
        "BC1": bc(*divisions),
    }
    return {name: None if value is None else float(value) for name, value in found.items()}


def _rebased(rows: Rows, frames: Sequence[int]) -> Rows:
    rows = rows.copy()
    rows[:, 1:3] = np.searchsorted(frames, rows[:, 1:3])
    return rows


def _lists(overlaps: Sequence[Overlap]) -> dict[str, list[list[int]]]:
    return {
        "labels_ref": [one.truth.tolist() for one in overlaps],
        "labels_comp": [one.found.tolist() for one in overlaps],
        "mapped_ref": [one.pair_truth.tolist() for one in overlaps],
        "mapped_comp": [one.pair_found.tolist() for one in overlaps],
    }


def _operations(ref: Rows, comp: Rows, traj: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations

    operations: dict[str, Any] = count_acyclic_graph_correction_operations(
        ref, comp, traj["labels_ref"], traj["labels_comp"], traj["mapped_ref"], traj["mapped_comp"]
    )
    return operations


def _chota(ref: Rows, comp: Rows, traj: Mapping[str, list[list[int]]]) -> float:
    """CHOTA as py-ctcmetrics defines it: HOTA's association with every track replaced by its whole lineage."""
    from ctc_metrics.utils.representations import merge_tracks, track_confusion_matrix

    ref_rows, ref_labels, ref_mapped = merge_tracks(ref, traj["labels_ref"], traj["mapped_ref"])
    comp_rows, comp_labels, comp_mapped = merge_tracks(comp, traj["labels_comp"], traj["mapped_comp"])
    shared = np.asarray(track_confusion_matrix(ref_labels, comp_labels, ref_mapped, comp_mapped), np.float64)
    ref_kin, comp_kin = _kin(ref_rows, shared.shape[0]), _kin(comp_rows, shared.shape[1])
    together = sparse.csr_array(ref_kin @ sparse.csr_array(shared) @ comp_kin.T)
    i, j = (axis + 1 for axis in np.nonzero(shared[1:, 1:]))
    both = np.asarray(together[i, j]).ravel()
    either = (ref_kin @ shared.sum(1))[i] + (comp_kin @ shared.sum(0))[j] - both
    weight = shared[1:, 1:].sum() + shared[0, 1:].sum() + shared[1:, 0].sum()
    return float(np.sqrt((shared[i, j] * both / either).sum() / weight))


def _kin(rows: Rows, size: int) -> sparse.csr_array:
    """Return ``(size, size)``: 1 where the column's track is the row's, or its descendant or ancestor."""
    linked = rows[(rows[:, 3] > 0) & (rows[:, 3] != rows[:, 0])]  # merging may leave a track as its own parent
    children = sparse.csr_array((np.ones(len(linked)), (linked[:, 3], linked[:, 0])), shape=(size, size))
    step = sparse.csr_array((np.ones(len(rows)), (rows[:, 0], rows[:, 0])), shape=(size, size))
    reached = step
    while (step := step @ children).nnz:
        reached = reached + step
    return sparse.csr_array(reached + reached.T > 0).astype(np.float64)
