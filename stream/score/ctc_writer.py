"""Writes a result folder as the Cell Tracking Challenge wants it, frame by frame, with the events beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from stream.cells import Segmentation
from stream.clock import Clock, now_ns
from stream.errors import StoreError
from stream.event import Event, event_id
from stream.facts.eventlog import EventLog, read_events
from stream.lineage import Tracks

log = logging.getLogger(__name__)

MOST_LABELS = 65535
TRACKS, EVENTS = "res_track.txt", "events.jsonl"
PARTS = ("mask*.tif.part", f"{TRACKS}.part")
FILES = ("mask*.tif", TRACKS, EVENTS, *PARTS)
TRACKS_EVERY_S = 5.0
"""How old ``res_track.txt`` may be; whoever goes on after a crash reads the masks that are newer."""
TRACKS_SHARE = 0.01
"""The share of the time that writing it may take, however many tracks a long run has."""


@dataclass(slots=True)
class _Run:
    """A track without a gap: one row of ``res_track.txt``."""

    label: int
    first: int
    last: int


class ResultWriter:
    """Masks and events as they are decided, tracks every few seconds; the same decisions give the same bytes.

    The challenge knows no gap within a track. A track that is seen again after missing a decided frame goes on under a
    new label (given from 65535 downwards, so that it never meets a tracker's own) whose parent is the old one: masks
    stay final, and the lineage stays whole. Events name tracks by the labels in the masks. Frames that were never
    decided (holes in a recording) are no gap.

    Results of an earlier run in the folder are removed by the first thing that is written, unless :meth:`take_up` was
    called. A writer that is killed leaves whole masks; a mask in which runs begin names their tracks in its description
    (``{"label": [track, parent]}``), so that nothing is missing where ``res_track.txt`` is older.

    Parameters
    ----------
    folder
        Made when missing.
    digits
        Least digits of the numbers in file names.

    Raises
    ------
    StoreError
        The folder cannot be made.
    """

    def __init__(self, folder: Path, digits: int = 3, clock: Clock = now_ns) -> None:
        self._folder, self._digits, self._clock = folder, max(3, digits), clock
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder}: cannot write results here: {error}") from error
        self._log: EventLog | None = None
        self._runs: dict[int, list[_Run]] = {}
        self._parents: dict[int, int] = {}
        self._event_parents: dict[str, dict[int, int]] = {}
        self._mothers: dict[str, int] = {}
        self._begun: dict[int, tuple[int, int]] = {}
        self._frame: int | None = None
        self._highest = 0
        self._next_spare = MOST_LABELS
        self._tracks_due_ns = 0.0

    @property
    def last_track_id(self) -> int:
        """The highest track id in the masks; 0 where there is none."""
        return self._highest

    def take_up(self, events: Iterable[Event]) -> None:
        """Go on with what an earlier writer left here, also one that was killed; call it before anything is written.

        Parameters
        ----------
        events
            Every revision that was said so far, by track ids and in order; those that the folder lacks are written.

        Raises
        ------
        StoreError
            The folder cannot be read or written. Nothing in it is removed.
        """
        try:
            self._remove(PARTS)
            labels = self._read_tracks()
            self._read_masks(labels)
            known = self._read_events(labels)
        except (OSError, KeyError, ValueError) as error:
            raise StoreError(f"{self._folder}: what is here cannot be gone on with: {error!r}") from error
        self._log = EventLog(self._folder / EVENTS)
        for event in events:
            if event.revision > known.get(event.event_id, -1):
                self.said([event])
            else:
                self._note(event)

    def decided(self, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]) -> None:
        """Write one frame's mask and the event revisions said after it.

        Raises
        ------
        StoreError
            More labels than 16 bits hold, or the disk refuses.
        """
        self._begin()
        ids = np.unique(segmentation.labels)
        ids = ids[ids > 0]
        self._parents.update(zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True))
        table = np.zeros(int(ids[-1]) + 1 if len(ids) else 1, np.uint16)
        table[ids] = [self._label_now(track_id, frame) for track_id in ids.tolist()]
        self._frame = frame
        self._write_mask(frame, table[segmentation.labels])
        self.said(events)
        if self._clock() >= self._tracks_due_ns:
            self._write_tracks()

    def said(self, events: Iterable[Event]) -> None:
        """Write event revisions. Raises StoreError."""
        events_log = self._begin()
        for event in events:
            self._note(event)
            events_log.append(self._relabelled(event).as_line())

    def close(self) -> None:
        """Write ``res_track.txt`` from what is known at the end. Raises StoreError."""
        self._begin().close()
        self._write_tracks()

    def rows(self) -> list[tuple[int, int, int, int]]:
        """Return the track rows ``(label, first, last, parent)`` as known now, by label.

        Daughters have their mother as parent. A retracted division leaves the first-listed daughter as the mother's
        continuation, and the others without a parent.
        """
        parents = dict(self._parents)
        for told in self._event_parents.values():
            parents.update(told)
        rows = []
        for track_id, runs in self._runs.items():
            before = self._run_before(parents.get(track_id, 0), runs[0].first)
            for run in runs:
                rows.append((run.label, run.first, run.last, before))
                before = run.label
        return sorted(rows)

    # ---- labels of tracks -----------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        """Keep what the last word on a division says of parents."""
        if event.kind == "division":
            whole = event.status != "retracted"
            told = {d: event.parent_id if whole or not i else 0 for i, d in enumerate(event.daughter_ids)}
            self._event_parents[event.event_id] = told

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
        self._begun[label] = track_id, self._parents.get(track_id, 0)
        return label

    def _relabelled(self, event: Event) -> Event:
        """Name tracks as the masks do; the mother by her last label before the split, and alike in every revision."""
        parent = self._mothers.pop(event.event_id, None)
        if parent is None:
            before = self._run_before(event.parent_id, event.frame) if event.daughter_ids else 0
            parent = before or self._label_at(event.parent_id, event.frame)
        if event.status == "provisional":  # another word will follow
            self._mothers[event.event_id] = parent
        daughters = tuple(self._label_at(daughter, event.frame) for daughter in event.daughter_ids)
        name = event_id(event.field, event.frame, event.kind, parent) if parent != event.parent_id else event.event_id
        return replace(event, event_id=name, parent_id=parent, daughter_ids=daughters)

    def _label_at(self, track_id: int, frame: int) -> int:
        runs: Sequence[_Run] = self._runs.get(track_id, ())
        return next((run.label for run in runs if run.last >= frame), runs[-1].label if runs else track_id)

    # ---- files ----------------------------------------------------------------------------------------------------

    def _begin(self) -> EventLog:
        """Return where events go; where nothing was taken up, remove an earlier result first."""
        if self._log is None:
            try:
                self._remove(FILES)
            except OSError as error:
                raise StoreError(f"{self._folder}: cannot write results here: {error}") from error
            self._log = EventLog(self._folder / EVENTS)
        return self._log

    def _remove(self, patterns: Iterable[str]) -> None:
        for path in [path for pattern in patterns for path in self._folder.glob(pattern)]:
            path.unlink()

    def _write_mask(self, frame: int, mask: NDArray[np.uint16]) -> None:
        description = json.dumps(self._begun, separators=(",", ":")) if self._begun else None
        form = {"compression": "zlib", "photometric": "minisblack", "metadata": None, "description": description}
        self._put(f"mask{frame:0{self._digits}d}.tif", lambda path: tifffile.imwrite(path, mask, **form))
        self._begun = {}

    def _write_tracks(self) -> None:
        begin = self._clock()
        text = "".join(" ".join(map(str, row)) + "\n" for row in self.rows())
        self._put(TRACKS, lambda path: path.write_text(text, encoding="utf-8", newline="\n"))
        end = self._clock()
        self._tracks_due_ns = end + max(TRACKS_EVERY_S * 1e9, (end - begin) / TRACKS_SHARE)

    def _put(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file beside its place and move it there: nobody ever finds half of it."""
        path, part = self._folder / name, self._folder / f"{name}.part"
        try:
            write(part)
            part.replace(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error}") from error

    # ---- what an earlier writer left ------------------------------------------------------------------------------

    def _read_tracks(self) -> dict[int, int]:
        """Take up ``res_track.txt``; return the track of each label."""
        path = self._folder / TRACKS
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = {row[0]: row[1:] for row in (tuple(map(int, line.split())) for line in lines)}
        spares = _spares(rows)
        tracks = {label: label for label in sorted(set(rows) - spares)}
        for label in sorted(spares, reverse=True):
            tracks[label] = tracks.get(rows[label][2], label)
        for label, track_id in tracks.items():
            first, last, parent = rows[label]
            self._take_up_run(_Run(label, first, last), track_id, tracks.get(parent, 0), label in spares)
        return tracks

    def _take_up_run(self, run: _Run, track_id: int, parent_id: int, is_spare: bool) -> None:
        self._runs.setdefault(track_id, []).append(run)
        self._parents.setdefault(track_id, parent_id)
        if is_spare:
            self._next_spare = min(self._next_spare, run.label - 1)
        if track_id != run.label or not is_spare:
            self._highest = max(self._highest, track_id)

    def _read_masks(self, tracks: dict[int, int]) -> None:
        """Take up the masks that are newer than the tracks, and add their labels to ``tracks``."""
        told = max((run.last for runs in self._runs.values() for run in runs), default=-1)
        found = ((path.stem.removeprefix("mask"), path) for path in self._folder.glob("mask*.tif"))
        for frame, path in sorted((int(number), path) for number, path in found if number.isdigit()):
            self._frame = frame
            if frame > told:
                self._read_mask(frame, path, tracks)

    def _read_mask(self, frame: int, path: Path, tracks: dict[int, int]) -> None:
        try:
            with tifffile.TiffFile(path) as file:
                labels, description = np.unique(file.asarray()), file.pages[0].description
            begun = json.loads(description) if description else {}
        except Exception as error:  # a power cut may leave one, and each codec has errors of its own
            log.warning("%s: passed over: %s", path, error)
            return
        for label in labels[labels > 0].tolist():
            if label not in tracks:
                nearer_top = self._next_spare - label < label - self._highest  # where the mask that told is lost
                tracks[label], parent_id = begun.get(str(label), (label, 0))
                is_spare = tracks[label] != label or (nearer_top and str(label) not in begun)
                self._take_up_run(_Run(label, frame, frame), tracks[label], parent_id, is_spare)
            self._runs[tracks[label]][-1].last = frame

    def _read_events(self, tracks: dict[int, int]) -> dict[str, int]:
        """Return the last revision of each event, by the event's name among track ids; take up what is open."""
        known: dict[str, int] = {}
        path = self._folder / EVENTS
        for said in read_events(path) if path.is_file() else ():
            parent = said["parent_id"]
            name = event_id(said["field"], said["frame"], said["kind"], tracks.get(parent, parent))
            known[name] = said["revision"]
            self._mothers.pop(name, None)
            if said["status"] == "provisional":
                self._mothers[name] = parent
        return known


def _spares(labels: Iterable[int]) -> set[int]:
    """Return the labels that were given from the top, for gaps: those beyond the widest hole in the numbers."""
    marks = [0, *sorted(labels), MOST_LABELS + 1]
    hole = max(range(len(marks) - 1), key=lambda k: marks[k + 1] - marks[k])
    return set(marks[hole + 1 : -1])
