"""Keeps what was decided of every frame beside the run, field by field, on a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from stream.cells import Segmentation
from stream.errors import StoreError
from stream.event import Event
from stream.lineage import Tracks
from stream.metrics import FRAMES_LOST

log = logging.getLogger(__name__)

_PATIENCE_S = 60.0


class Writer(Protocol):
    """Writes one field's masks, events and tracks (``stream.score.ctc_writer.ResultWriter``)."""

    @property
    def last_track_id(self) -> int: ...
    def take_up(self, events: Iterable[Event]) -> None: ...
    def decided(self, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]) -> None: ...
    def said(self, events: Iterable[Event]) -> None: ...
    def close(self) -> None: ...


_Item = tuple[str, Callable[[Writer], None]]


class ResultFiles:
    """Writes ``labels/FIELD/`` in the form of the Cell Tracking Challenge, going on with what is there.

    A disk that cannot keep up loses whole frames there, counted as ``results``/``overflow``; the analysis never waits.
    """

    def __init__(self, folder: Path, make_writer: Callable[[Path], Writer], queue_frames: int = 128) -> None:
        self._folder, self._make = folder, make_writer
        self._queue: queue.Queue[_Item | None] = queue.Queue(queue_frames)
        self._writers: dict[str, Writer] = {}
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
        self._put(field, lambda writer: writer.decided(frame, segmentation, tracks, events))

    def said(self, field: str, events: Iterable[Event]) -> None:
        """Hand over events that belong to no new frame."""
        self._put(field, lambda writer: writer.said(events))

    def close(self) -> None:
        """Write what waits and the tracks, then end."""
        try:
            self._queue.put(None, timeout=_PATIENCE_S)
        except queue.Full:
            log.error("%s: the disk takes nothing more; %d results are lost", self._folder, self._queue.qsize())
            return
        self._thread.join(_PATIENCE_S)

    def _put(self, field: str, write: Callable[[Writer], None]) -> None:
        try:
            self._queue.put_nowait((field, write))
        except queue.Full:
            FRAMES_LOST.labels("results", "overflow").inc()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            field, write = item
            try:
                write(self._writer(field, ()))
            except StoreError as error:
                FRAMES_LOST.labels("results", "refused").inc()
                log.error("%s", error)
        for writer in self._writers.values():
            try:
                writer.close()
            except StoreError as error:
                log.error("%s", error)

    def _writer(self, field: str, events: Iterable[Event]) -> Writer:
        if field not in self._writers:
            writer = self._make(self._folder / field.replace(":", "_"))
            writer.take_up(events)
            self._writers[field] = writer
        return self._writers[field]
