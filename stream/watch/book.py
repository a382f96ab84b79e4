"""What the page lists: the last events and commands, each row in the state that was last heard of."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.event import PICTURE_MOVED, Event

Row = dict[str, Any]
Crop = NDArray[np.uint8] | NDArray[np.uint16]


class Rows:
    """The last ``limit`` rows by key; every change gets the next number, so that a page asks only for what is new.

    Rows that ``stays`` is true of are kept beyond the limit.
    """

    def __init__(self, limit: int, stays: Callable[[Row], bool] = lambda row: False) -> None:
        self._limit, self._stays = limit, stays
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self.change = 0
        self.begun = 0

    def get(self, key: str) -> Row | None:
        """Return the row, or None when it is unknown or forgotten."""
        return self._rows.get(key)

    def put(self, key: str, values: Mapping[str, Any]) -> Row:
        """Add the row or update the values that are given; the oldest rows beyond the limit are forgotten."""
        row = self._rows.get(key)
        if row is None:
            self.begun += 1
            row = self._rows[key] = {"n": self.begun}
        self.change += 1
        row.update(values, change=self.change)
        for old in self._too_many(key):
            del self._rows[old]
        return row

    def _too_many(self, newest: str) -> list[str]:
        surplus = len(self._rows) - self._limit
        if surplus <= 0:
            return []
        done = (key for key, row in self._rows.items() if key != newest and not self._stays(row))
        return list(islice(done, surplus))

    def since(self, change: int) -> list[Row]:
        """Return copies of the rows changed after ``change``, oldest row first."""
        return [dict(row) for row in self._rows.values() if row["change"] > change]

    def keys(self) -> set[str]:
        """Return the keys still known."""
        return set(self._rows)


EVENTS, COMMANDS = 200, 100
"""How many of each are listed."""
COUNTED = ("exit",)
"""Kinds of event that are counted and not listed: where the stage moves they would drive out all others."""
MOVED_OFF = "moved_off"
"""As what the exits are counted for which the picture moved: their cells did not leave."""


class Open(NamedTuple):
    """An event that is still provisional, also where it is listed no more."""

    revision: int
    counted: str
    """As what it is counted: its kind, or :data:`MOVED_OFF`."""


class EventBook:
    """Events by id: a new revision replaces the one before, and the counts follow."""

    def __init__(self, limit: int = EVENTS) -> None:
        self.rows, self._counted = Rows(limit), Rows(limit)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._open: dict[str, Open] = {}
        self._crops: dict[int, tuple[Crop, ...]] = {}
        self._limit = limit

    def take_up(
        self, rows: Iterable[Row], open_events: Mapping[str, Open], counts: Mapping[tuple[str, str], int]
    ) -> None:
        """Begin with events of the time before: the rows to list, the open ones by id, and all counts by status."""
        for row in rows:
            self._list(self.rows, row)
        self._open, self.counts = dict(open_events), Counter(counts)

    def put(self, event: Event, wall_ms: float, crops: tuple[Crop, ...]) -> None:
        """Take up a revision; an older one than is known changes nothing.

        Parameters
        ----------
        crops
            Small raw pictures ``(y, x)`` of the place, in order of time; kept from the first revision that has any.
        """
        rows = self._counted if event.kind in COUNTED else self.rows
        known = rows.get(event.event_id)
        before = self._open.get(event.event_id)
        revision = known["revision"] if known else before.revision if before else -1
        if revision >= event.revision:
            return
        counted = before.counted if before else _counted_as(event)
        if revision >= 0:
            self.counts[counted, known["status"] if known else "provisional"] -= 1
        self.counts[counted, event.status] += 1
        self._open.pop(event.event_id, None)
        if event.status == "provisional":
            self._open[event.event_id] = Open(event.revision, counted)
        row = event.as_json() | {"position_um": list(event.position_um), "cell_count": event.cell_count}
        begun_ms = known["begun_wall_ms"] if known else wall_ms
        self._list(rows, row | {"wall_ms": wall_ms, "begun_wall_ms": begun_ms}, crops)

    def _list(self, rows: Rows, values: Row, crops: tuple[Crop, ...] = ()) -> None:
        row = rows.put(values["event_id"], values)
        if rows is self.rows and crops and row["n"] not in self._crops:
            self._crops[row["n"]] = crops
        for n in [n for n in self._crops if n <= self.rows.begun - self._limit]:
            del self._crops[n]
        row["thumb"] = rows is self.rows and row["n"] in self._crops

    def crops(self, n: int) -> tuple[Crop, ...]:
        """Return the pictures of event number ``n``; empty when there are none."""
        return self._crops.get(n, ())

    def lately(self, field: str, frame: int, frames: int) -> list[Row]:
        """Return the events of a field that happened within the ``frames`` frames up to ``frame``."""
        return [row for row in self.rows.since(0) if row["field"] == field and 0 <= frame - row["frame"] < frames]


def _counted_as(event: Event) -> str:
    return MOVED_OFF if event.reason == PICTURE_MOVED else event.kind


class CommandBook:
    """Commands by id with the last acknowledgement of each; one that is not answered for good stays in the list."""

    def __init__(self, limit: int = COMMANDS) -> None:
        self.rows = Rows(limit, stays=lambda row: row["state"] in _PROGRESS)
        self.counts: Counter[str] = Counter()

    def take_up(
        self, said: Iterable[tuple[Mapping[str, Any], Mapping[str, Any], float]], counts: Mapping[str, int]
    ) -> None:
        """Begin with commands of the time before: each with its last answer and when that came, and all by state."""
        for command, ack, wall_ms in said:
            self.put(command, wall_ms)
            self.ack(ack, wall_ms)
        self.counts = Counter(counts)

    def put(self, command: Mapping[str, Any], wall_ms: float) -> None:
        """Take up a :class:`stream.command.Command` as plain data; a repeated one changes nothing."""
        key = str(command["command_id"])
        known = self.rows.get(key)
        if known is not None and known["kind"]:
            return
        action = dict(command.get("action") or {})
        cause = dict(command.get("cause") or {})
        frame = cause.get("frame") or {}
        values = {
            "command_id": key,
            "kind": str(action.pop("kind", "")),
            "asked": action,
            "origin": str(cause.get("origin") or "operator"),
            "event_id": cause.get("event_id"),
            "cause_frame": frame.get("frame"),
            "wall_ms": float(command.get("issued_wall_ns") or 0) / 1e6 or wall_ms,
        }
        self.rows.put(key, values if known else self._blank() | values)

    def ack(self, ack: Mapping[str, Any], wall_ms: float) -> None:
        """Take up a :class:`stream.command.Ack` as plain data, also of a command that was never seen."""
        key = str(ack["command_id"])
        known = self.rows.get(key)
        state = str(ack["state"])
        if known is not None and known["state"] in _PROGRESS:
            self.counts[known["state"]] -= known["state"] != "sent"
        elif known is not None:
            return
        self.counts[state] += 1
        first = ack.get("first_frame") or {}
        values = {
            "state": state,
            "reason": str(ack.get("reason") or ""),
            "readback": dict(ack.get("readback") or {}),
            "first_frame": first.get("frame"),
            "first_field": first.get("field"),
            "ack_wall_ms": wall_ms,
            "timings_ms": dict(ack.get("timings_ms") or {}),
        }
        blank = {} if known else self._blank() | {"command_id": key, "wall_ms": wall_ms}
        self.rows.put(key, blank | values)

    def _blank(self) -> Row:
        return {
            "kind": "", "asked": {}, "origin": "", "event_id": None, "cause_frame": None, "state": "sent", "reason": "",
            "readback": {}, "first_frame": None, "first_field": None, "ack_wall_ms": None, "timings_ms": {},
        }  # fmt: skip


_PROGRESS = ("sent", "received", "accepted")
