"""Fits what the frames after a split say of it: ``python -m benchmarks.fit_after --kept FOLDER MODEL=SEQUENCE ...``.

Runs tracker and divider over sequences with truth (``NN`` beside ``NN_GT``), looks at every division for three frames,
and prints the constants of :mod:`models.divide.after` by kind. Every sequence weighs the same. Beside them stands how
well they do on blocks of time that they were not fitted on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.detections import detections
from benchmarks.fit_divisions import regression
from models.divide.after import AFTER, After
from models.divide.rule import Pending, RuleDivider
from models.track.assignment import AssignmentTracker
from models.track.measure import Bodies
from stream.cells import Kind
from stream.score.asof import told
from stream.score.ctc_writer import ResultWriter
from stream.score.divisions import Judge, divisions_of, pair
from stream.score.overlap import overlap
from stream.score.truth import numbered_masks, read_mask, read_truth
from stream.stages import Tracked

Floats = NDArray[np.float64]
BLOCKS = 5
"""The movie is cut into so many parts, each of which is left out once."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Divisions of one sequence as they looked in the frames after: first logit and :data:`models.divide.after.AFTER`
    ``(n, 5)``, whether each was true ``(n,)``, and in which block of time it lay ``(n,)``."""

    kind: Kind
    told: Floats
    true: NDArray[np.bool_]
    block: NDArray[np.int64]


@dataclass(eq=False)
class _Notes:
    seen: list[tuple[tuple[int, int], After]] = field(default_factory=list)


class Watching(RuleDivider):
    """The divider, which notes what it sees of each division and decides none before its time is over."""

    def __init__(self, notes: _Notes) -> None:
        super().__init__({"confirm_at": 1 - 1e-9, "retract_at": 1e-9})
        self._notes = notes

    def _weigh(self, one: Pending, tracked: Tracked, found: Bodies) -> Pending:
        now = super()._weigh(one, tracked, found)
        self._notes.seen.append(((one.event.frame, one.event.parent_id), now.after))
        return now


def watch(sequence: Path, model: str, kept: Path) -> Watched:
    """Track a sequence, and say of every division how it looked afterwards and whether it was true."""
    notes, truth = _Notes(), read_truth(sequence.with_name(sequence.name + "_GT"), None)
    tracker, divider, kind = AssignmentTracker({}), Watching(notes), None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        writer = ResultWriter(out)
        for shot in detections(sequence, model, kept):
            kind = shot.segmentation.kind or kind
            tracked = tracker.step(shot)
            events = divider.step(tracked)
            writer.decided(shot.moment.frame.frame, tracked.segmentation, tracked.tracks, events)
        writer.said(divider.finish())
        writer.close()
        masks = numbered_masks(out)
        overlaps = {
            number: overlap(read_mask(truth.markers[number]), read_mask(masks[number]))
            for number in sorted(truth.markers.keys() & masks.keys())
        }
        lines = [json.loads(line) for line in (out / "events.jsonl").read_text("utf-8").splitlines()]
    judge, said = Judge(overlaps, divisions_of(truth.rows)), told(lines)
    real = pair([judge.hits(one.division) for one in said])
    came_true = {(one.division.frame, one.division.mother): i in real for i, one in enumerate(said)}
    first, last = min(overlaps), max(overlaps)
    rows = [([after.first, *after.columns], where) for where, after in notes.seen if where in came_true]
    return Watched(
        kind or "nuclei",
        np.array([columns for columns, _ in rows]).reshape(-1, 1 + len(AFTER)),
        np.array([came_true[where] for _, where in rows], np.bool_),
        np.array([(frame - first) * BLOCKS // (last + 1 - first) for _, (frame, _) in rows], np.int64),
    )


def fitted(sets: Sequence[Watched], columns: slice, stiffness: float) -> Floats:
    """Return bias and weights."""
    x = np.concatenate([one.told[:, columns] for one in sets])
    counts = np.concatenate([np.full(len(one.true), 300 / max(len(one.true), 1)) for one in sets])
    return regression(x, np.concatenate([one.true for one in sets]).astype(np.float64), counts, stiffness)


def left_out(sets: Sequence[Watched], columns: slice, stiffness: float) -> float:
    """Return the log loss on blocks of time that the fit did not see, every sequence alike."""
    losses = []
    for block in range(BLOCKS):
        rest = [Watched(s.kind, s.told[s.block != block], s.true[s.block != block], s.block) for s in sets]
        weights = fitted(rest, columns, stiffness)
        for one in sets:
            mine = one.block == block
            logit = one.told[mine][:, columns] @ weights[1:] + weights[0]
            losses.append(np.logaddexp(0, logit) - one.true[mine] * logit)
    return float(np.concatenate(losses).mean())


def main() -> None:
    """Print the constants, and how well they do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="MODEL=SEQUENCE")
    parser.add_argument("--kept", type=Path, required=True, help="folder for the cells that were found")
    parser.add_argument("--stiffness", type=float, default=5.0)
    asked = parser.parse_args()
    seen = []
    for named in asked.sets:
        model, _, place = named.partition("=")
        seen.append(watch(Path(place), model, asked.kept))
        print(f"{named}: {len(seen[-1].true)} looks at divisions, {int((~seen[-1].true).sum())} at false ones")
    for kind in dict.fromkeys(one.kind for one in seen):
        sets = [one for one in seen if one.kind == kind]
        weights = fitted(sets, slice(None), asked.stiffness)
        print(f"{kind}: bias {weights[0]:.2f}, slope {weights[1]:.2f}")
        print(*(f"  {name} {w:.2f}" for name, w in zip(AFTER, weights[2:], strict=True)), sep="\n")
        plain, whole = (left_out(sets, one, asked.stiffness) for one in (slice(0, 1), slice(None)))
        print(f"  log loss on time left out: {whole:.4f}, by the first word alone {plain:.4f}")


if __name__ == "__main__":
    main()
