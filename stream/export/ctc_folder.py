"""The Cell Tracking Challenge's form: ``maskNNN.tif`` where there are any, and ``res_track.txt``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stream.export.recorded import Recorded
from stream.export.results import TRACKS
from stream.score.truth import numbered_masks, read_mask, read_rows

Row = tuple[int, int, int, int]
NO_MASKS = "masks: the run recorded no label images, or was cut off; [record] labels = true records them"
NO_PLACES = "gaps: no cells were recorded, so each track is taken to be there from its first frame to its last"


def write(found: Recorded, out: Path) -> dict[str, Any]:
    """Write the folder ``out``; say what is in it and what is missing.

    Masks are copied as they are, with the tracks that were written beside them; those of a run that goes on, or was cut
    off, may be a few seconds behind, and masks that they do not know yet are left out. Without masks the tracks are
    made from the facts; a track that missed a decided frame goes on under a new number whose parent is the old one.
    """
    out.mkdir(parents=True, exist_ok=True)
    if found.results is None:
        rows = rows_of(found)
        text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
        (out / TRACKS).write_text(text, encoding="utf-8", newline="\n")
        return {"masks": 0, "tracks": len(rows), "missing": [NO_MASKS] + [NO_PLACES] * (not len(found.spots))}
    shutil.copyfile(found.results / TRACKS, out / TRACKS)
    told = max((row[2] for row in read_rows(out / TRACKS)), default=-1)
    every = numbered_masks(found.results)
    masks = {frame: path for frame, path in every.items() if frame <= told or not read_mask(path).any()}
    for path in masks.values():
        shutil.copyfile(path, out / path.name)
    holes = sorted(set(range(min(masks, default=0), max(masks, default=-1) + 1)) - set(masks))
    missing = [f"frames {', '.join(map(str, holes))}: never decided; the challenge's own tools want every frame"]
    return {"masks": len(masks), "tracks": len(read_rows(out / TRACKS)), "missing": missing if holes else []}


def rows_of(found: Recorded) -> list[Row]:
    """Return ``(label, first, last, parent)`` of a run's tracks, by label."""
    runs = _runs(found) if len(found.spots) else _whole(found)
    parents = found.history.parents()
    fresh = max(runs, default=0)
    rows: list[Row] = []
    labels: dict[int, list[Row]] = {}
    for track in sorted(runs, key=lambda one: (runs[one][0], one)):  # a mother is written before her daughters
        mother = [row for row in labels.get(parents.get(track, 0), ()) if row[2] < runs[track][0][0]]
        parent, label = (mother[-1][0] if mother else 0), track
        for k, (first, last) in enumerate(runs[track]):
            if k:
                parent, fresh = label, fresh + 1
                label = fresh
            labels.setdefault(track, []).append((label, first, last, parent))
        rows += labels[track]
    return sorted(rows)


def _whole(found: Recorded) -> Mapping[int, Sequence[tuple[int, int]]]:
    names = ["track", "born", "last"]
    return {track: [(born, last)] for track, born, last in found.history.rows[names].tolist()}


def _runs(found: Recorded) -> Mapping[int, Sequence[tuple[int, int]]]:
    """Return each track's runs without a gap; a frame that was never decided is none."""
    place = np.searchsorted(np.array(found.frames), found.spots["frame"])
    tracks, frames = found.spots["track"], found.spots["frame"]
    breaks = np.nonzero((np.diff(tracks) != 0) | (np.diff(place) != 1))[0] + 1
    runs: dict[int, list[tuple[int, int]]] = {}
    for a, b in pairwise([0, *breaks.tolist(), len(tracks)]):
        runs.setdefault(int(tracks[a]), []).append((int(frames[a]), int(frames[b - 1])))
    return runs
