"""Who came from whom, live: the ancestry of every field, fed from the wire and asked by the page's server."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.ancestry import Ancestry, grow, told
from stream.errors import StoreError
from stream.facts import lineage
from stream.wire.messages import CellsOf, EventsOf, Item, TracksOf

log = logging.getLogger(__name__)

FIELDS = 1024


@dataclass(slots=True, eq=False)
class _Field:
    ancestry: Ancestry
    clock: lineage.FieldClock
    cells: CellsOf | None = None
    used: int = 0
    """Grows with every use of any field."""


class Families:
    """The families of the :data:`FIELDS` fields that were used last. Every method may be called from any thread.

    Parameters
    ----------
    run_dir
        Where the run's facts may be: a page that was started again takes up from them what it missed.
    """

    def __init__(self, run_dir: Path | None = None) -> None:
        self._run_dir = run_dir
        self._lock = threading.Lock()
        self._fields: dict[str, _Field] = {}
        self._uses = 0

    def take(self, item: Item) -> None:
        """Take up the cells, tracks or events of a frame; anything else is passed over."""
        if not isinstance(item, CellsOf | TracksOf | EventsOf):
            return
        with self._lock:
            place = self._place(item.ref.field)
            match item:
                case CellsOf():
                    place.cells = item
                case TracksOf():
                    same = place.cells is not None and place.cells.ref == item.ref
                    cells = place.cells.cells if place.cells is not None and same else None
                    seconds = place.clock.seconds(item.ref.frame, item.stamps.t_pop_ns)
                    place.ancestry.step(item.ref.frame, item.tracks, cells, seconds)
                case EventsOf():
                    place.ancestry.said(item.events)

    def fields(self) -> list[str]:
        """Return the names of the fields, in order of appearance."""
        with self._lock:
            return list(self._fields)

    def told(self, field: str, track_id: int | None = None) -> dict[str, Any]:
        """Return :func:`stream.ancestry.told` of a field. Raises KeyError where field or track are unknown."""
        with self._lock:
            history = self._use(self._fields[field]).ancestry.history()
        return told(grow(history), track_id)

    def _place(self, field: str) -> _Field:
        if field not in self._fields:
            if len(self._fields) >= FIELDS:
                del self._fields[min(self._fields, key=lambda name: self._fields[name].used)]
            self._fields[field] = self._begin(field)
        return self._use(self._fields[field])

    def _use(self, place: _Field) -> _Field:
        self._uses += 1
        place.used = self._uses
        return place

    def _begin(self, field: str) -> _Field:
        clock, before = lineage.FieldClock(), None
        if self._run_dir is not None:
            try:
                clock = lineage.read_clock(self._run_dir, field)
                before = lineage.read_history(self._run_dir, field)
            except StoreError as error:
                log.info("families of %s begin here: %s", field, error)
        return _Field(Ancestry(field, before), clock)
