"""Follows the tracks of one field frame by frame and keeps what a family tree needs of those that ended."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stream.ancestry.history import KEPT, ROW, UNKNOWN_S, History, Rows, Word
from stream.cells import Cells
from stream.event import Event
from stream.lineage import Tracks, TrackState

_BEGIN = 256
Longs = NDArray[np.int64]


class Ancestry:
    """The history of one field, live.

    A step costs what the tracks of its frame cost, whatever happened before; the history grows by a row for each track
    and a word for each division, death and exit. Not thread-safe.

    Parameters
    ----------
    field
        The field's name.
    before
        The history to go on from, e.g. after a restart.
    """

    def __init__(self, field: str, before: History | None = None) -> None:
        self.field = field
        rows = before.rows if before is not None else np.zeros(0, ROW)
        self._n = len(rows)
        self._rows: Rows = np.zeros(max(_BEGIN, 2 * self._n), ROW)
        self._rows[: self._n] = rows
        self._ids: Longs = np.ascontiguousarray(self._rows["track"])  # beside the rows: searched in every frame
        self._open: Longs = self._ids[: self._n][self._rows["state"][: self._n] == TrackState.ALIVE]
        words = before.words if before is not None else ()
        self._words: dict[str, Word] = {word.event_id: word for word in words if word.kind in KEPT}
        self._first = before.first if before is not None else None
        self._frame = before.frame if before is not None else None

    def __len__(self) -> int:
        return self._n

    @property
    def frame(self) -> int | None:
        """The newest frame; None before the first."""
        return self._frame

    def step(
        self,
        frame: int,
        tracks: Tracks,
        cells: Cells | None = None,
        elapsed_s: float = UNKNOWN_S,
        events: Iterable[Event] = (),
    ) -> None:
        """Take up the tracks after a frame.

        Parameters
        ----------
        cells
            Of the same frame, labelled by track: what is known of a cell when it is born. Left out, it stays unknown.
        elapsed_s
            Since the field's first frame.
        """
        self._first = frame if self._first is None else self._first
        self._frame = frame
        at = np.searchsorted(self._ids[: self._n], tracks.track_id)
        known = np.zeros(len(tracks), bool)
        inside = at < self._n
        known[inside] = self._ids[at[inside]] == tracks.track_id[inside]
        if not known.all():
            self._add(frame, tracks, np.nonzero(~known)[0], cells, elapsed_s)
            at = np.searchsorted(self._ids[: self._n], tracks.track_id)
        self._close_vanished(tracks)
        self._rows["parent"][at] = tracks.parent_id
        self._rows["last"][at] = tracks.last
        self._rows["state"][at] = tracks.state
        self._rows["last_s"][at[tracks.last == frame]] = elapsed_s
        self._open = tracks.track_id[tracks.state == TrackState.ALIVE]
        self.said(events)

    def said(self, events: Iterable[Event]) -> None:
        """Take up event revisions; an older one than is known changes nothing, nor does a kind that is not kept."""
        for event in events:
            if event.kind not in KEPT:
                continue
            known = self._words.get(event.event_id)
            if known is None or known.revision <= event.revision:
                self._words[event.event_id] = Word.of(event)

    def history(self) -> History:
        """Return a copy of what is known now."""
        rows = self._rows[: self._n].copy()
        return History(self.field, self._first or 0, self._frame or 0, rows, tuple(self._words.values()))

    def _add(self, frame: int, tracks: Tracks, which: Longs, cells: Cells | None, elapsed_s: float) -> None:
        rows = np.zeros(len(which), ROW)
        rows["track"], rows["born"] = tracks.track_id[which], tracks.born[which]
        here = rows["born"] == frame
        rows["born_s"] = np.where(here, elapsed_s, UNKNOWN_S)
        rows["last_s"] = UNKNOWN_S
        rows["area_px"] = rows["mean_counts"] = np.nan
        if cells is not None and len(cells):
            labels = tracks.label[which]
            at = np.minimum(np.searchsorted(cells.label, labels), len(cells) - 1)
            seen = here & (labels > 0) & (cells.label[at] == labels)
            rows["area_px"][seen] = cells.area_px[at[seen]]
            if cells.mean_counts.shape[1]:
                rows["mean_counts"][seen] = cells.mean_counts[at[seen], 0]
        self._make_room(len(rows))
        begin, end = self._n, self._n + len(rows)
        self._rows[begin:end] = rows
        self._ids[begin:end] = rows["track"]
        self._n = end
        if begin and rows["track"][0] < self._ids[begin - 1]:  # a tracker that does not count upwards
            order = np.argsort(self._ids[:end], kind="stable")
            self._rows[:end], self._ids[:end] = self._rows[:end][order], self._ids[:end][order]

    def _make_room(self, more: int) -> None:
        if self._n + more <= len(self._rows):
            return
        rows, ids = self._rows, self._ids
        room = max(2 * len(rows), self._n + more)
        self._rows, self._ids = np.zeros(room, ROW), np.zeros(room, np.int64)
        self._rows[: self._n], self._ids[: self._n] = rows[: self._n], ids[: self._n]

    def _close_vanished(self, tracks: Tracks) -> None:
        """Whoever is in the table no more has ended in a frame that never arrived here."""
        gone = np.setdiff1d(self._open, tracks.track_id, assume_unique=True)
        if len(gone):
            self._rows["state"][np.searchsorted(self._ids[: self._n], gone)] = TrackState.LOST
