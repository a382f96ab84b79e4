"""Writes a result folder as the Cell Tracking Challenge wants it, frame by frame, with the events beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from stream.cells import Segmentation
from stream.errors import StoreError
from stream.event import Event, event_id
from stream.lineage import Tracks

MOST_LABELS = 65535
FILES = ("mask*.tif", "res_track.txt", "events.jsonl")


@dataclass(slots=True)
class _Run:
    """A track without a gap: one row of ``res_track.txt``."""

    label: int
    first: int
    last: int


class ResultWriter:
    """Masks and events as they are decided, tracks at the end; the same decisions give the same bytes.

    The challenge knows no gap within a track. A track that is seen again after missing a decided frame goes on under a
    new label (given from 65535 downwards, so that it never meets a tracker's own) whose parent is the old one: masks
    stay final, and the lineage stays whole. Events name tracks by the labels in the masks. Frames that were never
    decided (holes in a recording) are no gap.

    Parameters
    ----------
    folder
        Made when missing; results of an earlier run in it are removed.
    digits
        Least digits of the numbers in file names.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, digits: int = 3) -> None:
        self._folder, self._digits = folder, max(3, digits)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in [path for pattern in FILES for path in folder.glob(pattern)]:
                path.unlink()
            self._events = (folder / "events.jsonl").open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise StoreError(f"{folder}: cannot write results here: {error}") from error
        self._runs: dict[int, list[_Run]] = {}
        self._parents: dict[int, int] = {}
        self._last_word: dict[str, Event] = {}
        self._mothers: dict[str, int] = {}
        self._frame: int | None = None
        self._highest = 0
        self._next_spare = MOST_LABELS

    def decided(self, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]) -> None:
        """Write one frame's mask and the event revisions said after it.

        Raises
        ------
        StoreError
            More labels than 16 bits hold, or the disk refuses.
        """
        ids = np.unique(segmentation.labels)
        ids = ids[ids > 0]
        self._parents.update(zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True))
        table = np.zeros(int(ids[-1]) + 1 if len(ids) else 1, np.uint16)
        table[ids] = [self._label_now(track_id, frame) for track_id in ids.tolist()]
        self._frame = frame
        self._write_mask(frame, table[segmentation.labels])
        self.said(events)

    def said(self, events: Iterable[Event]) -> None:
        """Write event revisions."""
        for event in events:
            self._last_word[event.event_id] = event
            self._events.write(self._relabelled(event).as_line() + "\n")

    def close(self) -> None:
        """Write ``res_track.txt`` from what is known at the end."""
        self._events.close()
        lines = [" ".join(map(str, row)) + "\n" for row in self.rows()]
        (self._folder / "res_track.txt").write_text("".join(lines), encoding="utf-8", newline="\n")

    def rows(self) -> list[tuple[int, int, int, int]]:
        """Return the track rows ``(label, first, last, parent)`` as known now, by label.

        Daughters have their mother as parent. A retracted division leaves the first-listed daughter as the mother's
        continuation, and the others without a parent.
        """
        parents = {**self._parents, **self._event_parents()}
        rows = []
        for track_id, runs in self._runs.items():
            before = self._run_before(parents.get(track_id, 0), runs[0].first)
            for run in runs:
                rows.append((run.label, run.first, run.last, before))
                before = run.label
        return sorted(rows)

    def _event_parents(self) -> dict[int, int]:
        parents: dict[int, int] = {}
        for event in self._last_word.values():
            if event.kind == "division":
                whole = event.status != "retracted"
                parents.update({d: event.parent_id if whole or not i else 0 for i, d in enumerate(event.daughter_ids)})
        return parents

    def _run_before(self, track_id: int, frame: int) -> int:
        ended = [run.label for run in self._runs.get(track_id, ()) if run.last < frame]
        return ended[-1] if ended else 0

    def _label_now(self, track_id: int, frame: int) -> int:
        runs = self._runs.get(track_id, [])
        if runs and runs[-1].last == self._frame:
            runs[-1].last = frame
            return runs[-1].label
        label = track_id
        if runs:
            label, self._next_spare = self._next_spare, self._next_spare - 1
        self._highest = max(self._highest, track_id)
        if self._highest > self._next_spare:
            raise StoreError(
                f"frame {frame}: more than {MOST_LABELS} tracks; masks of the Cell Tracking Challenge have 16 bits. "
                "Evaluate fewer frames at once, or a smaller field"
            )
        self._runs[track_id] = [*runs, _Run(label, frame, frame)]
        return label

    def _relabelled(self, event: Event) -> Event:
        """Name tracks as the masks do; the mother by her last label before the split, and alike in every revision."""
        if event.event_id not in self._mothers:
            before = self._run_before(event.parent_id, event.frame) if event.daughter_ids else 0
            self._mothers[event.event_id] = before or self._label_at(event.parent_id, event.frame)
        parent = self._mothers[event.event_id]
        daughters = tuple(self._label_at(daughter, event.frame) for daughter in event.daughter_ids)
        name = event_id(event.field, event.frame, event.kind, parent) if parent != event.parent_id else event.event_id
        return replace(event, event_id=name, parent_id=parent, daughter_ids=daughters)

    def _label_at(self, track_id: int, frame: int) -> int:
        runs: Sequence[_Run] = self._runs.get(track_id, ())
        return next((run.label for run in runs if run.last >= frame), runs[-1].label if runs else track_id)

    def _write_mask(self, frame: int, mask: NDArray[np.uint16]) -> None:
        path = self._folder / f"mask{frame:0{self._digits}d}.tif"
        try:
            tifffile.imwrite(path, mask, compression="zlib", photometric="minisblack", metadata=None)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error}") from error
