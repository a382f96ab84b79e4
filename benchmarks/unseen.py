"""The part of a recording that training never learned from: the right-hand fifth of its field, scored by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.train.split import SHARE
from stream.score.asof import told
from stream.score.ctc import crop
from stream.score.divisions import Judge, divisions_of, pair
from stream.score.overlap import Overlap, overlap
from stream.score.truth import numbered_masks, read_mask, read_truth

Labels = NDArray[np.int64]
Columns = NDArray[np.float64]
MISSED, MERGED, FALSE = 10, 5, 1
"""What DET counts for a cell that was not found, one that shares an object with another, and one that is none."""


def figures(res: Path, gt: Path) -> dict[str, Any]:
    """Score the cells and divisions whose middle lies in the fifth.

    Parameters
    ----------
    res, gt
        A folder that ``cytoloop evaluate`` wrote, and the truth of the sequence.

    Returns
    -------
    dict
        ``unseen_DET``; ``unseen_F1`` of divisions, strict; ``unseen_divisions``, how many are true.
    """
    truth, masks = read_truth(gt, None), numbered_masks(res)
    overlaps, middle_px, cost, cells = {}, {}, 0, 0
    for number in sorted(truth.markers.keys() & masks.keys()):
        true, found = read_mask(truth.markers[number]), read_mask(masks[number])
        overlaps[number] = overlap(true, found)
        edge_px = (1 - SHARE) * true.shape[1]
        middle_px[number] = _middles_px(true)
        mine = np.flatnonzero(middle_px[number] >= edge_px)
        cost += _cost(overlaps[number], mine, np.flatnonzero(_middles_px(found) >= edge_px))
        cells += len(mine)
    true_ones = divisions_of(crop(truth.rows, min(overlaps), max(overlaps)))
    judge = Judge(overlaps, true_ones)
    lines = [json.loads(line) for line in (res / "events.jsonl").read_text("utf-8").splitlines()]
    between_px = {
        (line["frame"], line["parent_id"]): float(np.mean([x for _, x in line["daughters_yx_px"]]))
        for line in lines
        if line["kind"] == "division"
    }
    events = [one for one in told(lines) if not one.retracted]
    hit = pair([judge.hits(one.division) for one in events]).values()
    wanted = {i for i, one in enumerate(true_ones) if np.mean(middle_px[one.frame][list(one.daughters)]) >= edge_px}
    said = sum(between_px[one.division.frame, one.division.mother] >= edge_px for one in events)
    return {
        "unseen_DET": 1 - cost / (MISSED * cells),
        "unseen_F1": 2 * len(wanted & set(hit)) / (len(wanted) + said) if wanted or said else None,
        "unseen_divisions": len(wanted),
    }


def _middles_px(labels: Labels) -> Columns:
    """Return the column of each label's centroid, ``(labels + 1,)``; NaN for the background and labels not there."""
    area = np.bincount(labels.ravel())
    columns = np.broadcast_to(np.arange(labels.shape[1], dtype=np.float64), labels.shape)
    with np.errstate(invalid="ignore"):
        middle: Columns = np.bincount(labels.ravel(), columns.ravel()) / area
    middle[0] = np.nan
    return middle


def _cost(one: Overlap, true: Labels, found: Labels) -> int:
    """Return what is wrong with the cells of the fifth in one frame, in DET's points."""
    mine = np.isin(one.pair_truth, true)
    _, counts = np.unique(one.pair_found[mine], return_counts=True)
    false = np.setdiff1d(found, one.pair_found)
    return int(MISSED * (len(true) - mine.sum()) + MERGED * (counts - 1).sum() + FALSE * len(false))
