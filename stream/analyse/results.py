"""Keeps what was decided of every frame beside the run, field by field, on a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream.cells import Segmentation
from stream.errors import StoreError
from stream.event import Event
from stream.lineage import Tracks
from stream.metrics import FRAMES_LOST

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0
MOST_HELD = 10_000
"""Events of a field that wait for its next item; of more the oldest are left to the facts."""


class Writer(Protocol):
    """Writes one field's masks, events and tracks (``stream.score.ctc_writer.ResultWriter``).

    It keeps events that the disk refuses, and writes them with the next.
    """

    @property
    def last_track_id(self) -> int: ...
    def take_up(self, events: Iterable[Event]) -> None: ...
    def decided(self, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]) -> None: ...
    def said(self, events: Iterable[Event]) -> None: ...
    def close(self) -> None: ...


_Events = Sequence[Event]


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """What waits for the disk: events, and how they and what came with them are written."""

    field: str
    events: _Events
    write: Callable[[Writer, _Events], None]


class _Held:
    """Events that wait for the next item of their field, the newest of each so that memory stays bounded."""

    def __init__(self) -> None:
        self._events: dict[str, deque[Event]] = {}

    @property
    def fields(self) -> list[str]:
        return list(self._events)

    def hold(self, field: str, events: _Events) -> None:
        if events:
            self._events.setdefault(field, deque(maxlen=MOST_HELD)).extend(events)

    def before(self, field: str, events: Iterable[Event]) -> _Events:
        """Return what was held of a field, which is held no more, and these after it."""
        return [*self._events.pop(field, ()), *events]


class ResultFiles:
    """Writes ``labels/FIELD/`` in the form of the Cell Tracking Challenge, going on with what is there.

    A disk that cannot keep up loses whole frames there, counted as ``results``/``overflow``; the analysis never waits.
    Events are not lost with a frame: they come with the field's next item.
    """

    def __init__(self, folder: Path, make_writer: Callable[[Path], Writer], queue_frames: int = 128) -> None:
        self._folder, self._make = folder, make_writer
        self._queue: queue.Queue[_Item | None] = queue.Queue(queue_frames)
        self._writers: dict[str, Writer] = {}
        self._crowded_out, self._without_writer = _Held(), _Held()
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)
        self._thread.start()

    def take_up(self, field: str, events: Iterable[Event]) -> int:
        """Go on with a field's files, before its first frame is handed over. Idempotent.

        Parameters
        ----------
        events
            Every revision that was said so far; those that the files lack are written.

        Returns
        -------
        int
            The highest track id in the masks; 0 where there is none, or the folder cannot be used now.
        """
        try:
            return self._writer(field, events).last_track_id
        except StoreError as error:
            log.error("%s", error)
            return 0

    def decided(
        self, field: str, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]
    ) -> None:
        """Hand over one decided frame."""
        if not self._put(field, events, lambda writer, said: writer.decided(frame, segmentation, tracks, said)):
            FRAMES_LOST.labels("results", "overflow").inc()

    def said(self, field: str, events: Iterable[Event]) -> None:
        """Hand over events that belong to no new frame."""
        self._put(field, events, _say)

    def close(self) -> None:
        """Write what waits and the tracks, then end."""
        try:
            for field in self._crowded_out.fields:
                self._queue.put(_Item(field, self._crowded_out.before(field, ()), _say), timeout=_PATIENCE_S)
            self._queue.put(None, timeout=_PATIENCE_S)
        except queue.Full:
            log.error("%s: the disk takes nothing more; %d results are lost", self._folder, self._queue.qsize())
            return
        self._thread.join(_PATIENCE_S)

    def _put(self, field: str, events: Iterable[Event], write: Callable[[Writer, _Events], None]) -> bool:
        """Queue an item; where there is no room keep its events for the next one, and return False."""
        item = _Item(field, self._crowded_out.before(field, events), write)
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._crowded_out.hold(field, item.events)
            return False
        return True

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(item)
            except StoreError as error:
                FRAMES_LOST.labels("results", "refused").inc()
                log.error("%s", error)
        for writer in self._writers.values():
            try:
                writer.close()
            except StoreError as error:
                log.error("%s", error)

    def _write(self, item: _Item) -> None:
        try:
            writer = self._writer(item.field, ())
        except StoreError:
            self._without_writer.hold(item.field, item.events)
            raise
        item.write(writer, item.events)

    def _writer(self, field: str, events: Iterable[Event]) -> Writer:
        if field not in self._writers:
            events = self._without_writer.before(field, events)
            try:
                writer = self._make(self._folder / field.replace(":", "_"))
                writer.take_up(events)
            except StoreError:
                self._without_writer.hold(field, events)
                raise
            self._writers[field] = writer
        return self._writers[field]


def _say(writer: Writer, events: _Events) -> None:
    writer.said(events)
