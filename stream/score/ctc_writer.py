"""Writes a result folder as the Cell Tracking Challenge wants it, frame by frame, with the events beside it."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from stream.cells import Ints, Segmentation
from stream.clock import Clock, now_ns
from stream.errors import StoreError
from stream.event import Event, event_id
from stream.facts.eventlog import EventLog
from stream.lineage import Tracks
from stream.score.left_behind import EVENTS, TRACKS, LeftBehind
from stream.score.track_labels import Plan, TrackLabels

log = logging.getLogger(__name__)

PARTS = ("mask*.tif.part", f"{TRACKS}.part")
FILES = ("mask*.tif", TRACKS, EVENTS, *PARTS)
TRACKS_EVERY_S = 5.0
"""How old ``res_track.txt`` may be; whoever goes on after a crash reads the masks that are newer."""
TRACKS_SHARE = 0.01
"""The share of the time that writing it may take, however many tracks a long run has."""
MOST_UNSAID = 10_000
"""Events that wait while the disk refuses them; of more the oldest are left to the facts."""


class ResultWriter:
    """Masks and events as they are decided, tracks every few seconds; the same decisions give the same bytes.

    The challenge knows no gap within a track. A track that is seen again after missing a decided frame goes on under a
    new label (:mod:`stream.score.track_labels`) whose parent is the old one: masks stay final, and the lineage stays
    whole. Events name tracks by the labels in the masks. Frames that have no mask (holes in a recording, or the disk
    refused) are no gap. Masks have 16 bits until a label needs more, and 32 from then on.

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
        self._labels = TrackLabels()
        self._parents: dict[int, int] = {}
        self._event_parents: dict[str, dict[int, int]] = {}
        self._mothers: dict[str, int] = {}
        self._unsaid: deque[Event] = deque(maxlen=MOST_UNSAID)
        self._tracks_due_ns = 0.0

    @property
    def last_track_id(self) -> int:
        """The highest track id in the masks; 0 where there is none."""
        return max(0, max(self._labels.runs, default=0))

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
            left = LeftBehind(self._folder)
        except (OSError, KeyError, ValueError) as error:
            raise StoreError(f"{self._folder}: what is here cannot be gone on with: {error!r}") from error
        self._labels, self._parents, self._mothers = left.labels, left.parents, left.mothers
        self._log = EventLog(self._folder / EVENTS)
        known = left.revisions
        for event in events:
            if event.revision > known.get(event.event_id, -1):
                known[event.event_id] = event.revision
                self.said([event])
            else:
                self._note(event)

    def decided(self, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]) -> None:
        """Write one frame's mask and the event revisions said after it.

        Raises
        ------
        StoreError
            The mask or the events are refused, by the disk or because masks cannot name so many tracks. The frame is
            then as one that was never decided; the events are written all the same, or with the next ones.
        """
        try:
            self._show(frame, segmentation, tracks)
        finally:
            self.said(events)
        if self._clock() >= self._tracks_due_ns:
            self._write_tracks()

    def said(self, events: Iterable[Event]) -> None:
        """Write event revisions, first those that were refused before. Raises StoreError."""
        events = tuple(events)
        lost = len(self._unsaid) + len(events) - MOST_UNSAID
        if lost > 0:
            log.error("%s: the oldest %d events that wait for the disk are not in %s", self._folder, lost, EVENTS)
        self._unsaid.extend(events)
        events_log = self._begin()
        while self._unsaid:
            self._say(self._unsaid[0], events_log)
            self._unsaid.popleft()

    def close(self) -> None:
        """Write what waits, and ``res_track.txt`` from what is known at the end. Raises StoreError."""
        with closing(self._begin()):
            try:
                self.said(())
            finally:
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
        for track_id, runs in self._labels.runs.items():
            before = self._labels.before(parents.get(track_id, 0), runs[0].first)
            for run in runs:
                rows.append((run.label, run.first, run.last, before))
                before = run.label
        return sorted(rows)

    # ---- what is said ---------------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:
        """Keep what the last word on a division says of parents."""
        if event.kind == "division":
            whole = event.status != "retracted"
            told = {d: event.parent_id if whole or not i else 0 for i, d in enumerate(event.daughter_ids)}
            self._event_parents[event.event_id] = told

    def _say(self, event: Event, events_log: EventLog) -> None:
        """Write a revision with tracks named as in the masks; the mother alike in every revision."""
        self._note(event)
        mother = self._mothers.get(event.event_id) or self._mother_of(event)
        events_log.append(self._relabelled(event, mother).as_line())
        if event.status == "provisional":  # another word will follow
            self._mothers[event.event_id] = mother
        else:
            self._mothers.pop(event.event_id, None)

    def _mother_of(self, event: Event) -> int:
        """Return the label that the cell had; a mother's last one before the split."""
        before = self._labels.before(event.parent_id, event.frame) if event.daughter_ids else 0
        return before or self._labels.at(event.parent_id, event.frame)

    def _relabelled(self, event: Event, mother: int) -> Event:
        daughters = tuple(self._labels.at(daughter, event.frame) for daughter in event.daughter_ids)
        name = event_id(event.field, event.frame, event.kind, mother) if mother != event.parent_id else event.event_id
        return replace(event, event_id=name, parent_id=mother, daughter_ids=daughters)

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

    def _show(self, frame: int, segmentation: Segmentation, tracks: Tracks) -> None:
        """Write a frame's mask, and only then take up what it shows."""
        self._begin()
        self._parents.update(zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True))
        plan = self._labels.plan(frame, segmentation.cells.label.tolist())
        self._write_mask(plan, segmentation.labels)
        if plan.given.wide and not self._labels.given.wide:
            log.warning(
                "%s: more tracks than 16 bits can name: masks have 32 from frame %d on, which the programs of the Cell "
                "Tracking Challenge do not read",
                self._folder,
                frame,
            )
        self._labels.commit(plan)

    def _write_mask(self, plan: Plan, labels: Ints) -> None:
        last = max(plan.labels, default=0)
        if labels.max(initial=0) > last:
            raise StoreError(f"frame {plan.frame}: label {labels.max()} is in the image but not in the Cells table")
        table = np.zeros(last + 1, np.uint32 if plan.given.wide else np.uint16)
        table[list(plan.labels)] = list(plan.labels.values())
        mask = table.take(labels, mode="clip")
        begun = {label: (track_id, self._parents.get(track_id, 0)) for track_id, label in plan.begun.items()}
        description = json.dumps(begun, separators=(",", ":")) if begun else None
        form = {"compression": "zlib", "photometric": "minisblack", "metadata": None, "description": description}
        self._put(f"mask{plan.frame:0{self._digits}d}.tif", lambda path: tifffile.imwrite(path, mask, **form))

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
