"""The classical tracker: gated sparse assignment on the stage, with gaps, merges and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import Mothers
from models.track import links as linking
from models.track.cuts import cut, cuts, relinked
from models.track.drift import drift_px
from models.track.edge import reach_px, without_cut
from models.track.links import Expected, Links
from models.track.matching import match
from models.track.measure import Bodies, Sizes, compact, measured, middle, sizes
from models.track.memory import Memory, Rows, View
from models.track.options import TrackOptions
from models.track.runs import Runs, phase_after, scan
from models.track.runs import pace as pace_of
from models.track.settle import Step, ended_before, inside, settle, tracks
from models.track.sheet import Piece, by_track, published
from models.track.splits import Least, Split, Weighed, choose, weigh
from models.track.strays import strays
from models.track.write import SMOOTHING
from stream.cells import Cells, Segmentation
from stream.errors import StageError
from stream.lineage import TrackState
from stream.settings import parse
from stream.stages import Segmented, Tracked

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


TRUST = 0.5
"""How much of a track's smoothed velocity its prediction uses: cells seldom keep their way."""
SHARPEST_VOTE = 0.18
"""Votes are never believed to be surer than this, in diameters of the typical cell."""
KNOWN = 4
"""Frames in which a track must have been seen to be looked for inside another's cell though it was not seen last."""
MATURE = 4
"""Frames in which a daughter must have been seen to be a mother: what seems to divide sooner is a sister found late."""


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """How a frame is linked: ``cell_of`` and ``host_of`` are by track, ``is_piece`` is by cell."""

    found: Bodies
    expected: Expected
    drift: Floats
    links: Links
    cell_of: Longs
    host_of: Longs
    is_piece: NDArray[np.bool_]
    runs: Runs
    pieces: tuple[Piece, ...] = ()
    keep: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Where there are pieces: which of the cells before were not cut."""


class AssignmentTracker:
    """Links the cells of one field frame by frame; a :class:`stream.stages.Tracker`.

    Tracks live on the stage, in µm, so that stage moves, ROI changes and new epochs do not end them.

    Parameters
    ----------
    options
        See :class:`models.track.options.TrackOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(TrackOptions, options, "[chain] track_options")
        self._memory = Memory(next_id=self._options.first_id)

    def reset(self, reason: str) -> None:
        """Forget every track; ids go on, so that none is used twice."""
        self._memory = Memory(next_id=self._memory.next_id)

    def save(self) -> bytes:
        """Return the state as bytes."""
        return self._memory.save()

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError."""
        self._memory = Memory.load(state)
        self._memory.next_id = max(self._memory.next_id, self._options.first_id)

    def step(self, segmented: Segmented) -> Tracked:
        """Link this frame's cells.

        Returns
        -------
        Tracked
            The label image in which each label is its track's id, and the tracks.

        Raises
        ------
        StageError
            The frame is not later than the one before, or the segmentation is impossible; the state is as before.
        """
        frame, memory = segmented.moment.frame, self._memory
        if memory.frame is not None and frame.frame <= memory.frame:
            raise StageError(f"frame {frame.frame} of {frame.field} after frame {memory.frame}; reset the chain first")
        given = compact(segmented.segmentation)
        segmented = replace(segmented, segmentation=self._whole(given, frame.pixel_um))
        view, scale_um2 = View.of(frame), frame.pixel_um**2
        rows, never_in = self._alive()
        passed = 1 if memory.frame is None else frame.frame - memory.frame
        segmented, linked = self._cut(segmented, rows, self._link(segmented, rows, view, passed))
        cells = segmented.segmentation.cells
        linked, divided = self._divided(rows, view, scale_um2, linked, self._within(cells, view.shape, "divide_px"))
        found = linked.found
        step = Step(
            frame.frame, scale_um2, cells, found, view, linked.cell_of, linked.host_of, divided, linked.drift,
            linked.is_piece, self._within(cells, view.shape, "enter_px"), memory.frame is None,
        )  # fmt: skip
        settled, id_of_cell = settle(rows, step, memory.next_id, self._options)
        settled = ended_before(never_in, settled)
        segmentation = published(given, cells, linked.pieces, id_of_cell)
        lasted_s = segmented.moment.elapsed_s - memory.elapsed_s
        pace = passed / lasted_s if memory.frame is not None and lasted_s > 0 else 1.0
        runs = _runs(linked, segmentation, frame.pixels, id_of_cell)
        self._memory = self._next(linked.expected, step, passed, settled, runs, segmented.moment.elapsed_s)
        table = tracks(settled, np.array(self._memory.drift_um), pace)
        likely = {int(rows["id"][split.row]): split.probability for split in divided}
        return Tracked(segmented.moment, segmentation, table, found.take(by_track(id_of_cell)), likely)

    def _alive(self) -> tuple[Rows, Rows]:
        """Return the tracks that may go on, and those of the first frame that were seen at the edge alone."""
        alive = self._memory.rows[self._memory.rows["state"] == TrackState.ALIVE]
        inside = alive["inside"]
        return alive[inside], alive[~inside]

    def _within(
        self, cells: Cells, shape: tuple[int, int], margin: Literal["enter_px", "divide_px"]
    ) -> NDArray[np.bool_]:
        """Say which cells reach beyond a margin of the image; of a small one an eighth is margin at most."""
        most_px = float(getattr(self._options, margin)) if self._options.edge else 0.0
        return reach_px(cells, shape) >= min(most_px, min(shape) / 8)

    def _whole(self, found: Segmentation, pixel_um: float) -> Segmentation:
        """Leave out cells that the edge cuts, but for the first frame: a single picture is shown as it is."""
        typical_um2 = self._memory.typical_um2
        if typical_um2 is None or self._options.edge == 0:
            return found
        return without_cut(found, self._options.edge * 2 * float(np.sqrt(typical_um2 / np.pi)) / pixel_um)

    def _link(self, segmented: Segmented, rows: Rows, view: View, passed: int) -> Linked:
        frame, segmentation, memory = segmented.moment.frame, segmented.segmentation, self._memory
        scale_um2, typical_um2 = frame.pixel_um**2, memory.typical_um2
        of = sizes(segmentation.cells, None if typical_um2 is None else typical_um2 / scale_um2)
        expected, drift = _expect(rows, of, view, frame.frame, scale_um2)
        shift, before = self._seen_before(view, drift)
        pace, phase = (pace_of(of.typical_px), 0) if before is None else (before.pace, phase_after(before, shift[0]))
        votes = self._votes(segmentation, view, drift, of.typical_px)
        found, runs = measured(segmentation, frame.pixels, of, pace, phase, votes)
        sigma = float(np.clip(1.5 * memory.scatter, 0.08, 0.5))
        sigma_voted = float(np.clip(1.5 * memory.voted_scatter, SHARPEST_VOTE, 0.5))
        made = linking.links(expected, found, sigma, sigma_voted)
        if before is not None:
            made = linking.with_overlap(made, expected, found, runs, before, shift)
        made = linking.with_centres(made, expected, rows["seen"] >= KNOWN, segmentation)
        cell_of = match(made.start, made.column, made.cost, len(found), linking.MISS)
        host_of = _hosts(rows, expected, made, cell_of)
        return Linked(found, expected, drift, made, cell_of, host_of, np.zeros(len(found), np.bool_), runs)

    def _seen_before(self, view: View, drift: Floats) -> tuple[tuple[int, int], Runs | None]:
        """Return the step in whole px from the image before to this one, and its runs if they can be compared."""
        before, runs = self._memory.view, self._memory.runs
        if before is None or runs is None or not np.allclose(before.affine_um, view.affine_um):
            return (0, 0), None
        moved = view.to_image_px(before.origin_um[None])[0] + drift
        return (round(float(moved[0])), round(float(moved[1]))), runs

    def _cut(self, segmented: Segmented, rows: Rows, linked: Linked) -> tuple[Segmented, Linked]:
        """Cut the cells in which tracks met; each track goes on in its piece."""
        made = cuts(rows, linked.expected, linked.found, linked.links, linked.host_of, self._options.max_cut)
        if not made:
            return segmented, linked
        moment = segmented.moment
        whole, pieces = cut(segmented.segmentation, moment, linked.expected, made)
        if not pieces.shape:
            return segmented, linked
        found = linked.found.with_pieces(pieces.keep, whole.cells, pieces.shape, moment.frame.pixels)
        links, cell_of = relinked(linked.links, linked.cell_of, pieces)
        host_of = np.where(cell_of >= 0, 0, linked.host_of)
        is_piece = np.arange(len(found)) >= pieces.keep.sum()
        changed = Linked(
            found, linked.expected, linked.drift, links, cell_of, host_of, is_piece, linked.runs, pieces.shape
        )
        return replace(segmented, segmentation=whole), replace(changed, pieces=pieces.shape, keep=pieces.keep)

    def _votes(self, now: Segmentation, view: View, drift: Floats, typical_px: float) -> Floats | None:
        """Return where the cells say that they were, in this frame's px and as if the field had not drifted."""
        before = self._memory.view
        if before is None or np.hypot(*drift) > typical_px / 2:
            return None  # a network that was not told of a jump looked in the wrong place
        return view.to_image_px(before.to_stage_um(now.cells.prev_centre_px.astype(np.float64))) + drift

    def _divided(
        self, rows: Rows, view: View, scale_um2: float, linked: Linked, within: NDArray[np.bool_]
    ) -> tuple[Linked, list[Split]]:
        """Find mothers; where one takes a cell from another track, the other cells are shared out again."""
        mothers = mothers_of(rows, view, scale_um2, linked.drift)
        found, made = linked.found, linked.links
        stray = strays(rows) & (linked.cell_of >= 0)
        weighed = self._weigh(rows, mothers, linked, stray, within)
        divided = choose(weighed, mothers, found)
        ends, taken = np.zeros(len(rows), np.bool_), np.full(len(found), -1, np.int64)
        for split in divided:
            ends[split.row] = True
            taken[list(split.daughters)] = split.row
        over = np.nonzero(stray)[0]
        over = over[taken[linked.cell_of[over]] >= 0]
        ends[over], rows["state"][over] = True, TrackState.LOST  # what it began with was a daughter's, or a piece
        seen = np.nonzero(linked.cell_of >= 0)[0]
        heir = taken[linked.cell_of[seen]]
        if ((heir < 0) & ~ends[seen] | (heir == seen)).all():
            return linked, divided
        cost = np.where(ends[made.row] | (taken[made.column] >= 0), np.inf, made.cost)
        cell_of = match(made.start, made.column, cost, len(found), linking.MISS)
        return replace(linked, cell_of=cell_of, host_of=_hosts(rows, linked.expected, made, cell_of)), divided

    def _weigh(
        self, rows: Rows, mothers: Mothers, linked: Linked, stray: NDArray[np.bool_], within: NDArray[np.bool_]
    ) -> Weighed:
        """Weigh every division that is possible here: well in the image, of a mother who is old enough."""
        options = self._options
        least = Least(options.split_threshold, options.take_threshold, options.stray_threshold)
        weighed = weigh(mothers, linked.found, linked.links, linked.cell_of, stray, least)
        unripe = strays(rows) | (rows["parent"] != 0) & (rows["seen"] < MATURE)
        return weighed.take(within[weighed.one] & within[weighed.two] & ~unripe[weighed.row])

    def _next(self, expected: Expected, step: Step, passed: int, settled: Rows, runs: Runs, elapsed_s: float) -> Memory:
        memory, size = self._memory, step.found.typical_px
        linked = step.cell_of >= 0
        cell, typical = step.cell_of[linked], memory.typical_um2
        scatter = _followed(memory.scatter, step.found.centre_px[cell] - expected.expected_px[linked], size)
        voted = _followed(memory.voted_scatter, step.found.vote_px[cell] - expected.last_px[linked], size)
        if len(step.found):
            typical = float(np.pi * size**2 / 4 * step.scale_um2)
        next_id = max(memory.next_id, int(settled["id"].max(initial=0)) + 1)
        drift_um = np.array(memory.drift_um)
        if np.hypot(*step.drift) < size:
            now_um = step.view.to_stage_um(step.drift[None])[0] - step.view.origin_um
            drift_um += SMOOTHING * (now_um / passed - drift_um)
        drifting = (float(drift_um[0]), float(drift_um[1]))
        return Memory(next_id, step.frame, elapsed_s, typical, scatter, voted, drifting, settled, step.view, runs)


def _runs(linked: Linked, shown: Segmentation, pixels: NDArray[Any], id_of_cell: Longs) -> Runs:
    """Return the runs of the label image that goes out, by track."""
    pace, runs = pace_of(linked.found.typical_px), linked.runs
    if runs.pace != pace:
        runs, _ = scan(shown.labels, shown.cells.label, pixels, pace)
        return runs.named(shown.cells.label, shown.labels)
    names = id_of_cell
    if len(linked.keep):
        names = np.zeros(len(linked.keep), np.int64)
        names[linked.keep] = id_of_cell[: linked.keep.sum()]
    return runs.named(names, shown.labels)


def _followed(scatter: float, steps_px: Floats, typical_px: float) -> float:
    """Return the running median length of steps, in diameters; it stays where fewer than five are known."""
    away = np.hypot(steps_px[:, 0], steps_px[:, 1])
    away = away[np.isfinite(away)]
    return scatter if len(away) < 5 else scatter + 0.2 * (middle(away) / typical_px - scatter)


def _expect(rows: Rows, found: Sizes, view: View, frame: int, scale_um2: float) -> tuple[Expected, Floats]:
    """Return where the tracks should be now, and the field's drift ``(y, x)`` px that is already part of it."""
    last = view.to_image_px(rows["position"])
    frames = np.where(rows["host"] > 0, 0, frame - rows["last"])  # a hidden one moves with its host
    expected = view.to_image_px(rows["position"] + TRUST * frames[:, None] * rows["velocity"])
    fresh = (rows["missed"] == 0) & inside(last, view.shape, 0.0)
    drift = drift_px(expected[fresh], found.centre_px, found.typical_px)
    return Expected(
        last + drift,
        expected + drift,
        rows["area"][:, 0] / scale_um2,
        np.ascontiguousarray(rows["brightness"][:, 0]),
        np.ascontiguousarray(rows["missed"]),
        np.ascontiguousarray(rows["label"]),
    ), drift


def mothers_of(rows: Rows, view: View, scale_um2: float, drift: Floats) -> Mothers:
    places = view.to_image_px(rows["places"].reshape(-1, 2)).reshape(rows["places"].shape) + drift
    told = (rows[name] for name in ("brightness", "roundness", "newborn", "dividing", "seen"))
    return Mothers(places, rows["area"] / scale_um2, *told)


def _hosts(rows: Rows, expected: Expected, made: Links, cell_of: Longs) -> Longs:
    """Say for each unseen track which track's cell covers it now (0: none); twins hand the cell to the first of them.

    ``cell_of`` is changed in place for twins: over-segmentation that heals must go back to the same track.
    """
    host_of = np.zeros(len(rows), np.int64)
    if (cell_of >= 0).all():
        return host_of
    owner = np.full(int(cell_of.max(initial=-1)) + 1, -1, np.int64)
    owner[cell_of[cell_of >= 0]] = np.nonzero(cell_of >= 0)[0]
    covered = (cell_of[made.row] < 0) & (2 * made.shared_px > expected.area_px[made.row])
    for e in np.nonzero(covered)[0]:
        i, cell = int(made.row[e]), int(made.column[e])
        if cell >= len(owner) or owner[cell] < 0:
            continue
        j = int(owner[cell])
        twins = rows["parent"][i] != 0 and rows["parent"][i] == rows["parent"][j] and max(rows["seen"][[i, j]]) <= 6
        if twins and rows["id"][i] < rows["id"][j]:
            cell_of[i], cell_of[j], owner[cell] = cell, -1, i
            i, j = j, i
        host_of[i] = rows["id"][j]
    return host_of
