"""Reads what an earlier writer left in a result folder, also one that was killed: tracks, newer masks, and events."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import numpy as np
import tifffile

from stream.event import event_id
from stream.facts.eventlog import read_events
from stream.score.track_labels import BEYOND, Run, TrackLabels, is_spare, nobody, track_of

log = logging.getLogger(__name__)

TRACKS, EVENTS = "res_track.txt", "events.jsonl"
SURE = 4096
"""A hole in the label numbers that is as wide lies between track ids and spares; of less the masks are asked."""

Begun = dict[int, tuple[int, int]]
"""label → (track, parent) of the runs that begin in a mask."""
T = TypeVar("T")


class LeftBehind:
    """What a result folder tells.

    Attributes
    ----------
    labels
        The runs of all tracks.
    parents
        track → its mother.
    mothers
        Event that is still provisional, by its name among track ids → the label by which it names the mother.
    revisions
        Event, by that name → its last revision.

    Raises
    ------
    OSError, KeyError, ValueError
        A file cannot be read, or is none of a result. Masks that cannot be read are passed over.
    """

    def __init__(self, folder: Path) -> None:
        self.labels = TrackLabels()
        self.parents: dict[int, int] = {}
        self.mothers: dict[str, int] = {}
        self.revisions: dict[str, int] = {}
        self._track_of: dict[int, int] = {}
        found = ((path.stem.removeprefix("mask"), path) for path in folder.glob("mask*.tif"))
        self._masks = sorted((int(number), path) for number, path in found if number.isdigit())
        self._read_tracks(folder / TRACKS)
        self._read_newer_masks()
        self._read_events(folder / EVENTS)

    def _read_tracks(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = [(first, label, last, parent) for label, first, last, parent in (map(int, one.split()) for one in lines)]
        lowest = self._lowest_spare([label for _, label, _, _ in rows])
        for first, label, last, parent in sorted(rows):  # a run begins after the one that it goes on from
            spare = label % 2 == 1 if label >= BEYOND else label >= lowest
            track_id = self._track_of.get(parent, nobody(label)) if spare else track_of(label)
            self._take_up(Run(label, first, last), track_id, self._track_of.get(parent, 0), spare)

    def _take_up(self, run: Run, track_id: int, parent_id: int, spare: bool) -> None:
        self._track_of[run.label] = track_id
        self.labels.take_up(track_id, run, spare)
        self.parents.setdefault(track_id, parent_id)

    def _lowest_spare(self, labels: Collection[int]) -> int:
        """Return the lowest spare within 16 bits: beyond the widest hole in the numbers, or as the masks say."""
        marks = [0, *sorted(label for label in labels if label < BEYOND), BEYOND]
        hole = max(range(len(marks) - 1), key=lambda k: marks[k + 1] - marks[k])
        if marks[hole + 1] - marks[hole] >= SURE:
            return marks[hole + 1]
        told = False
        for _, path in reversed(self._masks):  # spares go downwards: the newest one is the lowest
            begun = _look(path, _begun) or {}
            spares = [label for label, (track_id, _) in begun.items() if label < BEYOND and label != track_id]
            if spares:
                return min(spares)
            told |= bool(begun)
        return BEYOND if told else marks[hole + 1]

    def _read_newer_masks(self) -> None:
        told = max((run.last for runs in self.labels.runs.values() for run in runs), default=-1)
        for frame, path in self._masks:
            self.labels.frame = frame
            if frame > told:
                self._read_mask(frame, path)

    def _read_mask(self, frame: int, path: Path) -> None:
        seen = _look(path, lambda path: (np.unique(tifffile.imread(path)), _begun(path)))
        if seen is None:
            return
        labels, begun = seen
        for label in labels[labels > 0].tolist():
            if label not in self._track_of:
                self._begin(label, frame, begun)
            self.labels.runs[self._track_of[label]][-1].last = frame

    def _begin(self, label: int, frame: int, begun: Begun) -> None:
        if label in begun:
            track_id, parent_id = begun[label]
            spare = is_spare(label, track_id)
        else:  # the mask that told is lost
            spare, parent_id = self._looks_spare(label), 0
            track_id = nobody(label) if spare else track_of(label)
        self._take_up(Run(label, frame, frame), track_id, parent_id, spare)

    def _looks_spare(self, label: int) -> bool:
        """Return whether a label of which nothing is told is a spare: within 16 bits, whether it is nearer to those."""
        given = self.labels.given
        return label % 2 == 1 if label >= BEYOND else given.spare - 1 - label < label - given.own

    def _read_events(self, path: Path) -> None:
        for said in read_events(path) if path.is_file() else ():
            parent = said["parent_id"]
            track_id = self._track_of.get(parent, track_of(parent))
            name = event_id(said["field"], said["frame"], said["kind"], track_id)
            self.revisions[name] = said["revision"]
            self.mothers.pop(name, None)
            if said["status"] == "provisional":
                self.mothers[name] = parent


def _look(path: Path, read: Callable[[Path], T]) -> T | None:
    try:
        return read(path)
    except Exception as error:  # a power cut may leave half a mask, and each codec has errors of its own
        log.warning("%s: passed over: %s", path, error)
        return None


def _begun(path: Path) -> Begun:
    with tifffile.TiffFile(path) as file:
        description = file.pages[0].description
    told = json.loads(description) if description else {}
    return {int(label): (track_id, parent_id) for label, (track_id, parent_id) in told.items()}
