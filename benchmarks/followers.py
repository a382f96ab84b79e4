"""Trackers that are compared: each gets the same cells and says which of them are one, and who came from whom."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.track.matching import near
from stream.cells import STATES
from stream.stages import Segmented

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST_OVERLAP = 0.3
"""Part of the smaller cell that two must share to be one."""
FALLS_INTO = 0.75
"""How far a vote may be from the cell that it is for, in diameters of the typical cell."""

BTRACK_MOTION = {
    "measurements": 3,
    "states": 6,
    "accuracy": 7.5,
    "prob_not_assign": 0.1,
    "max_lost": 5,
    "A": np.eye(6) + np.eye(6, k=3),
    "H": np.eye(3, 6),
    "P": 150.0 * np.diag([0.1, 0.1, 0.1, 1.0, 1.0, 1.0]),
    "G": 15.0 * np.array([0.5, 0.5, 0.5, 1.0, 1.0, 1.0]),
    "R": 5.0 * np.eye(3),
}
BTRACK_HYPOTHESES = {
    "hypotheses": ["P_FP", "P_init", "P_term", "P_link", "P_branch", "P_dead"],
    "lambda_time": 5.0,
    "lambda_dist": 3.0,
    "lambda_link": 10.0,
    "lambda_branch": 50.0,
    "eta": 1e-10,
    "theta_dist": 20.0,
    "theta_time": 5.0,
    "dist_thresh": 40.0,
    "time_thresh": 2.0,
    "apop_thresh": 5,
    "segmentation_miss_rate": 0.1,
    "apoptosis_rate": 0.001,
    "relax": True,
}
"""btrack's ``cell_config`` (lowe-lab-ucl/btrack-examples): constant velocity, and every hypothesis but merging."""
BTRACK_SETTINGS = {
    "motion_model": BTRACK_MOTION,
    "hypothesis_model": BTRACK_HYPOTHESES,
    "optimizer_options": {"tm_lim": 60_000, "msg_lev": "GLP_MSG_OFF"},
}
BTRACK_STATES = np.array([0, 2, 3, 4])
"""btrack's numbers of :data:`stream.cells.STATES`: interphase, metaphase, anaphase, apoptosis."""
BTRACK_UNKNOWN = 5


@dataclass(slots=True)
class Lineage:
    """Which track every cell of every frame belongs to (rows of the Cells tables), and each daughter's mother."""

    id_of_cell: list[Longs] = field(default_factory=list)
    parent: dict[int, int] = field(default_factory=dict)


Follower = Callable[[Sequence[Segmented]], Lineage]


class NotInstalled(Exception):
    """Somebody else's tracker is not there, or its library does not load on this machine."""


def typical_px(shots: Iterable[Segmented]) -> float:
    """Return the diameter of the typical cell."""
    areas = np.concatenate([one.segmentation.cells.area_px for one in shots])
    return float(2 * np.sqrt(np.median(areas) / np.pi))


def overlap_only(shots: Sequence[Segmented]) -> Lineage:
    """Every cell comes from the one that it shares most pixels with; two from one are daughters."""
    return _by_parents(shots, _most_shared)


def vote_only(shots: Sequence[Segmented]) -> Lineage:
    """Every cell comes from the one that its back-offset points at; two from one are daughters."""
    return _by_parents(shots, _voted)


def votes_and_heads(shots: Sequence[Segmented]) -> Lineage:
    """The same, but daughters only where the network's heads say on average that they are new or that she divides."""
    return _by_parents(shots, _voted, heads=True)


def _by_parents(
    shots: Sequence[Segmented],
    parents: Callable[[Segmented, Segmented], tuple[Longs, Floats]],
    heads: bool = False,
) -> Lineage:
    lineage, next_id = Lineage(), 1
    for number, now in enumerate(shots):
        count = len(now.segmentation.cells)
        ids = np.zeros(count, np.int64)
        if number:
            before, was = shots[number - 1], lineage.id_of_cell[-1]
            of, closeness = parents(before, now)
            for mother in np.unique(of[of >= 0]):
                children = np.nonzero(of == mother)[0]
                children = children[np.argsort(-closeness[children], kind="stable")][:2]
                if len(children) == 1 or (heads and not _said_to_divide(before, now, int(mother), children)):
                    ids[children[0]] = was[mother]
                    continue
                ids[children] = np.arange(next_id, next_id + 2)
                lineage.parent.update(dict.fromkeys(ids[children].tolist(), int(was[mother])))
                next_id += 2
        new = np.nonzero(ids == 0)[0]
        ids[new] = np.arange(next_id, next_id + len(new))
        next_id += len(new)
        lineage.id_of_cell.append(ids)
    return lineage


def _most_shared(before: Segmented, now: Segmented) -> tuple[Longs, Floats]:
    a, b = before.segmentation, now.segmentation
    wide = int(b.labels.max()) + 1
    both = (a.labels > 0) & (b.labels > 0)
    codes, shared = np.unique(a.labels[both].astype(np.int64) * wide + b.labels[both], return_counts=True)
    old, new = np.searchsorted(a.cells.label, codes // wide), np.searchsorted(b.cells.label, codes % wide)
    part = shared / np.minimum(a.cells.area_px[old], b.cells.area_px[new])
    of, closeness = np.full(len(b.cells), -1, np.int64), np.zeros(len(b.cells))
    for i in np.argsort(shared, kind="stable"):
        if part[i] >= LEAST_OVERLAP:
            of[new[i]], closeness[new[i]] = old[i], shared[i]
    return of, closeness


def _voted(before: Segmented, now: Segmented) -> tuple[Longs, Floats]:
    votes = now.segmentation.cells.prev_centre_px.astype(np.float64)
    votes = np.where(np.isfinite(votes), votes, now.segmentation.cells.centroid_px)
    centres = before.segmentation.cells.centroid_px.astype(np.float64)
    of, closeness = np.full(len(votes), -1, np.int64), np.zeros(len(votes))
    start, column = near(votes, centres, np.full(len(votes), FALLS_INTO * typical_px([now])))
    for i in range(len(votes)):
        found = column[start[i] : start[i + 1]]
        if len(found):
            away = np.hypot(*(centres[found] - votes[i]).T)
            of[i], closeness[i] = found[np.argmin(away)], -away.min()
    return of, closeness


def _said_to_divide(before: Segmented, now: Segmented, mother: int, daughters: Longs) -> bool:
    dividing = float(before.segmentation.cells.state_prob[mother, STATES.index("mitosis")])
    newborn = float(now.segmentation.cells.state_prob[daughters, STATES.index("newborn")].mean())
    return bool(np.nan_to_num((dividing + newborn) / 2) >= 0.5)


def laptrack_with(reach: float) -> Follower:
    """Return laptrack's global solution with every cutoff at ``reach`` diameters; it needs the whole movie."""

    def follow(shots: Sequence[Segmented]) -> Lineage:
        try:
            import pandas as pd
            from laptrack import LapTrack
        except (ImportError, OSError) as error:
            raise NotInstalled(f"laptrack: not installed: {error}") from error
        cells = [one.segmentation.cells for one in shots]
        centres = np.concatenate([one.centroid_px for one in cells])
        frame = np.repeat(np.arange(len(cells)), [len(one) for one in cells])
        table = pd.DataFrame({"frame": frame, "y": centres[:, 0], "x": centres[:, 1]})
        far = (reach * typical_px(shots)) ** 2
        solver = LapTrack(cutoff=far, gap_closing_cutoff=far, gap_closing_max_frame_count=2, splitting_cutoff=far)
        found, splits, _ = solver.predict_dataframe(table, ["y", "x"], only_coordinate_cols=False)
        found = found.reset_index()
        ids = found.sort_values(["frame", "index"])["track_id"].to_numpy(np.int64) + 1
        parent = {int(c) + 1: int(p) + 1 for p, c in splits[["parent_track_id", "child_track_id"]].to_numpy()}
        return Lineage(_by_frame(ids, shots), parent)

    return follow


def _by_frame(ids: Longs, shots: Sequence[Segmented]) -> list[Longs]:
    begin = np.cumsum([0, *(len(one.segmentation.cells) for one in shots)])
    return [ids[a:b] for a, b in itertools.pairwise(begin)]


class Tracklet(Protocol):
    """What is read of btrack's: its number, its mother's (its own where it has none) and its objects.

    Objects count from 0 over all that were appended; negative ones fill gaps.
    """

    ID: int
    parent: int
    refs: list[int]


def btrack_with(diameter: float) -> Follower:
    """Return btrack's global solution, with the settings that it publishes for cells; it needs the whole movie.

    Lengths are scaled so that the typical cell has ``diameter``, in the unit of those settings. It is told which cells
    the network's heads say divide or are new, which is what its hypotheses of divisions ask for.
    """

    def follow(shots: Sequence[Segmented]) -> Lineage:
        btrack = _btrack()
        scale = diameter / typical_px(shots)
        height, width = (scale * side for side in shots[0].segmentation.labels.shape)
        with btrack.BayesianTracker(verbose=False) as tracker:
            tracker.configure(BTRACK_SETTINGS)
            tracker.volume = ((0.0, width), (0.0, height))
            tracker.append(btrack.io.localizations_to_objects(_localizations(shots, scale)))
            tracker.track()
            tracker.optimise()
            return lineage_of(tracker.tracks, shots)

    return follow


def _btrack() -> Any:
    """Import btrack and try its library, of which its own loader would say only ``Exception``. Raises NotInstalled."""
    try:
        import btrack
        from btrack.constants import BTRACK_LIB_PATH
        from btrack.libwrapper import load_library

        inspect.unwrap(load_library)(BTRACK_LIB_PATH)
    except (ImportError, OSError) as error:
        raise NotInstalled(f"btrack: not installed: {error}") from error
    return btrack


def _localizations(shots: Sequence[Segmented], scale: float) -> dict[str, NDArray[Any]]:
    cells = [one.segmentation.cells for one in shots]
    centre = np.concatenate([one.centroid_px for one in cells]).astype(np.float64) * scale
    likely = np.nan_to_num(np.concatenate([one.state_prob for one in cells]))
    return {
        "t": np.repeat(np.arange(len(cells)), [len(one) for one in cells]),
        "x": centre[:, 1],
        "y": centre[:, 0],
        "z": np.zeros(len(centre)),
        "label": np.where(likely.max(axis=1) > 0, BTRACK_STATES[likely.argmax(axis=1)], BTRACK_UNKNOWN),
    }


def lineage_of(tracklets: Sequence[Tracklet], shots: Sequence[Segmented]) -> Lineage:
    """Return what btrack found, tracks numbered from 1; a cell that it left out is a track of its own."""
    ids = np.zeros(sum(len(one.segmentation.cells) for one in shots), np.int64)
    number = {one.ID: i for i, one in enumerate(tracklets, start=1)}
    for one in tracklets:
        ids[[ref for ref in one.refs if ref >= 0]] = number[one.ID]
    alone = np.flatnonzero(ids == 0)
    ids[alone] = len(tracklets) + 1 + np.arange(len(alone))
    parent = {number[one.ID]: number[one.parent] for one in tracklets if one.parent in number and one.parent != one.ID}
    return Lineage(_by_frame(ids, shots), parent)


def without(shots: Sequence[Segmented], *columns: str) -> list[Segmented]:
    """Return the shots with columns of the Cells tables as if nobody had said anything there."""
    blind: list[Segmented] = []
    for one in shots:
        cells = one.segmentation.cells
        unknown: dict[str, Any] = {name: np.full_like(getattr(cells, name), np.nan) for name in columns}
        blind.append(replace(one, segmentation=replace(one.segmentation, cells=replace(cells, **unknown))))
    return blind
