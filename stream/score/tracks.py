"""What a result's label images show of its tracks, made fit for the challenge's formulas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from stream.score.overlap import Labels, Overlap
from stream.score.truth import Rows


def presence(frames: Mapping[int, Labels]) -> dict[int, list[int]]:
    """Return label → frames in which it is present, ascending."""
    seen: dict[int, list[int]] = defaultdict(list)
    for frame in sorted(frames):
        for label in frames[frame].tolist():
            seen[label].append(frame)
    return dict(seen)


def whole_runs(overlaps: Mapping[int, Overlap], rows: Rows) -> tuple[dict[int, Overlap], Rows]:
    """Make every found track present in each frame from its first to its last, as the challenge demands.

    Where a track misses frames (a recording with a corrupt frame has no mask there) its later runs become tracks of
    their own, each the child of the run before. First and last frames are what the label images say; a parent that
    does not end before its child, or is in no image, is none.

    Returns
    -------
    overlaps, rows
        With found labels renumbered 1…n.
    """
    frames = sorted(overlaps)
    place = {frame: i for i, frame in enumerate(frames)}
    parents = dict(zip(rows[:, 0].tolist(), rows[:, 3].tolist(), strict=True))
    runs: dict[int, list[tuple[int, int, int]]] = {}
    made: list[list[int]] = []
    for label, seen in sorted(presence({frame: one.found for frame, one in overlaps.items()}).items()):
        runs[label] = [(len(made) + k, *run) for k, run in enumerate(_split(seen, place), start=1)]
        made.extend([new, first, last, new - 1 if k else 0] for k, (new, first, last) in enumerate(runs[label]))
    for label, own in runs.items():
        born = own[0][1]
        ended = [new for new, _, last in runs.get(parents.get(label, 0), ()) if last < born]
        made[own[0][0] - 1][3] = ended[-1] if ended else 0
    return {frame: _renamed(overlaps[frame], frame, runs) for frame in frames}, np.array(made, np.int64).reshape(-1, 4)


def _split(seen: Sequence[int], place: Mapping[int, int]) -> list[tuple[int, int]]:
    breaks = [i for i, (a, b) in enumerate(pairwise(seen), start=1) if place[b] != place[a] + 1]
    edges = [0, *breaks, len(seen)]
    return [(seen[a], seen[b - 1]) for a, b in pairwise(edges)]


def _renamed(one: Overlap, frame: int, runs: Mapping[int, Sequence[tuple[int, int, int]]]) -> Overlap:
    def now(label: int) -> int:
        return next(new for new, first, last in runs[label] if first <= frame <= last)

    new = {label: now(label) for label in one.found.tolist()}
    pairs = np.array([new[label] for label in one.pair_found.tolist()], np.int64)
    return replace(one, found=np.array(sorted(new.values()), np.int64), pair_found=pairs)
