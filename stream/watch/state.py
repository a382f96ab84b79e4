"""What the live page knows: fed by the watch node's thread through plain calls, read by the page's server.

Memory is flat whatever the run does: raw frames that wait for their labels share one byte budget, each field keeps one
decided picture (and the last denoised one), lists keep their last rows.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.clock import Clock, now_ns, wall_ns
from stream.event import Event
from stream.frame import Frame, is_aside
from stream.lineage import Tracks, TrackState
from stream.watch.book import CommandBook, Crop, EventBook
from stream.watch.pulse import Rate, Recent

RAW_BYTES = 192 << 20
FIELDS = 64
LAG_LIMIT_MS = 1_000.0
"""When analysis has not decided a frame for so long, the page shows raw frames until it caught up."""
MARK_FRAMES = 10
CROP_PX = 72


@dataclass(slots=True, eq=False)
class _Seen:
    """A frame that arrived, and when; ``ordinal`` counts the field's shown frames."""

    frame: Frame
    ordinal: int
    at_ns: int


@dataclass(slots=True, eq=False)
class _Result:
    """What analysis said about one frame, as far as it has arrived."""

    labels: NDArray[np.int32] | None = None
    tracks: Tracks | None = None
    denoised: Crop | None = None


@dataclass(slots=True, eq=False)
class _Field:
    name: str
    view: tuple[str, int]
    count: int = 0
    newest: _Seen | None = None
    decided: _Seen | None = None
    decided_result: _Result = field(default_factory=_Result)
    denoised: tuple[_Seen, _Result] | None = None
    """The newest decided frame of which denoised pixels came, with these in place of its own."""
    results: OrderedDict[int, _Result] = field(default_factory=OrderedDict)
    tracked: bool = False
    raw: bool = False
    cells: int | None = None
    cells_line: Recent = field(default_factory=lambda: Recent(120))
    rate: Rate = field(default_factory=Rate)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The picture to show of a field.

    ``key`` tells pictures apart; ``behind`` counts frames that arrived and are not decided. ``labels`` and ``tracks``
    are None for a raw frame. ``marks`` are rows of recent events of this field. ``denoised`` says whether the frame's
    pixels are the denoised ones.
    """

    key: tuple[int, bool]
    frame: Frame
    labels: NDArray[np.int32] | None
    tracks: Tracks | None
    behind: int
    marks: Sequence[Mapping[str, Any]]
    denoised: bool = False


class LiveState:
    """Everything that the page shows. Every method may be called from any thread.

    Parameters
    ----------
    run
        The run's name, for the title.
    channel
        The channel whose frames are shown (``segment_channel``); empty: each field's first one.
    """

    def __init__(self, run: str = "", channel: str = "", clock: Clock = now_ns, wall: Clock = wall_ns) -> None:
        self.run = run
        self._channel = channel
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._fields: OrderedDict[str, _Field] = OrderedDict()
        self._raw: OrderedDict[tuple[str, int], _Seen] = OrderedDict()
        self._raw_bytes = 0
        self._events = EventBook()
        self._commands = CommandBook()
        self._latency_ms = Recent(600)
        self._stages_ms: dict[str, Recent] = {}
        self._losses: Counter[tuple[str, str]] = Counter()
        self._status: dict[str, Any] = {}
        self._status_ns = 0
        self._listeners: list[Callable[[], None]] = []

    def listen(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after every change, in the thread that brought it; it must return at once."""
        self._listeners.append(changed)

    def unlisten(self, changed: Callable[[], None]) -> None:
        """Stop calling ``changed``."""
        self._listeners.remove(changed)

    # ---- what the watch node brings -------------------------------------------------------------------------------

    def frame(self, frame: Frame) -> None:
        """Take up a raw frame; others than the field's shown channel and plane, or beside the plan, are passed over."""
        if is_aside(frame.field):
            return
        at_ns = self._clock()
        with self._lock:
            place = self._place(frame.field, (frame.channel, frame.index.z))
            wanted = (self._channel or place.view[0], place.view[1])
            if (frame.channel, frame.index.z) != wanted:
                return
            place.count += 1
            place.rate.add(at_ns)
            place.newest = _Seen(frame, place.count, at_ns)
            self._keep_raw(place.newest)
            self._pair(place, frame.frame)
        self._changed()

    def labels(self, field: str, frame: int, labels: NDArray[np.int32]) -> None:
        """Take up the label image ``(y, x)`` int32 of a decided frame; each label is a track id."""
        with self._lock:
            place = self._place(field)
            self._result(place, frame).labels = labels
            self._pair(place, frame)
        self._changed()

    def denoised(self, field: str, frame: int, pixels: Crop) -> None:
        """Take up the denoised pixels ``(y, x)`` of a decided frame, before its labels; not every frame has them."""
        with self._lock:
            self._result(self._place(field), frame).denoised = pixels

    def tracks(self, field: str, frame: int, tracks: Tracks) -> None:
        """Take up the tracks after a decided frame."""
        with self._lock:
            place = self._place(field)
            place.tracked = True
            place.cells = int(np.count_nonzero((tracks.state == TrackState.ALIVE) & (tracks.label > 0)))
            place.cells_line.add(place.cells)
            self._result(place, frame).tracks = tracks
            self._pair(place, frame)
        self._changed()

    def events(self, events: Sequence[Event]) -> None:
        """Take up event revisions, in the order in which they were emitted."""
        with self._lock:
            for event in events:
                self._events.put(event, self._wall() / 1e6, self._crop(event))
        if events:
            self._changed()

    def command(self, command: Mapping[str, Any]) -> None:
        """Take up ``Command.model_dump(mode="json")``."""
        with self._lock:
            self._commands.put(command, self._wall() / 1e6)
        self._changed()

    def ack(self, ack: Mapping[str, Any]) -> None:
        """Take up ``Ack.model_dump(mode="json")``; nothing follows a final state."""
        with self._lock:
            self._commands.ack(ack, self._wall() / 1e6)
        self._changed()

    def latency(self, stages_ms: Mapping[str, float], end_to_end_ms: float) -> None:
        """Take up one frame's time in each stage, and from popped at the rig to decided."""
        with self._lock:
            self._latency_ms.add(end_to_end_ms)
            for stage, ms in stages_ms.items():
                self._stages_ms.setdefault(stage, Recent(300)).add(ms)
        self._changed()

    def loss(self, stage: str, reason: str, count: int = 1) -> None:
        """Add ``count`` frames lost in ``stage`` because of ``reason``."""
        with self._lock:
            self._losses[stage, reason] += count
        self._changed()

    def status(self, facts: Mapping[str, Any]) -> None:
        """Merge what is known of the rig and the nodes; a key that is absent keeps its value.

        Keys: ``rig`` (``starting``, ``running``, ``paused``, ``base_plan``, ``ended``), ``reason`` (why, for people),
        ``nodes`` {name: alive}, ``interval_ms``, ``exposure_ms``, ``light_power``, ``light_on``, ``stage_um`` (x, y, z
        in µm).
        """
        with self._lock:
            self._status.update(facts)
            self._status_ns = self._clock()
        self._changed()

    # ---- what the page reads --------------------------------------------------------------------------------------

    def fields(self) -> list[str]:
        """Return the names of the fields that have brought a frame, in order of appearance."""
        with self._lock:
            return [name for name, place in self._fields.items() if place.newest]

    def shown(self, field: str, denoised: bool = False) -> Shown | None:
        """Return the picture to show of a field: the newest decided one, or the raw one when analysis is far behind.

        With ``denoised`` it is the newest decided one of which denoised pixels came, while there is a recent one.
        """
        with self._lock:
            place = self._fields.get(field)
            if place is None or place.newest is None:
                return None
            raw = self._shows_raw(place)
            seen = place.newest if raw or place.decided is None else place.decided
            result = _Result() if raw else place.decided_result
            smooth = self._smooth(place) if denoised and not raw else None
            if smooth is not None:
                seen, result = smooth
            marks = self._events.lately(field, seen.frame.frame, MARK_FRAMES)
            key = (seen.ordinal, result.labels is not None)
            behind = self._behind(place)
            return Shown(key, seen.frame, result.labels, result.tracks, behind, marks, smooth is not None)

    def crops(self, n: int) -> tuple[Crop, ...]:
        """Return the small raw pictures of event number ``n``, before and after."""
        with self._lock:
            return self._events.crops(n)

    def facts(self, field: str = "", events_since: int = 0, commands_since: int = 0) -> dict[str, Any]:
        """Return everything but pictures as plain data, rows only where they changed after the given numbers."""
        with self._lock:
            now = self._clock()
            newest = max((p.newest.at_ns for p in self._fields.values() if p.newest), default=None)
            place = self._fields.get(field)
            return {
                "run": self.run,
                "wall_ms": self._wall() / 1e6,
                "fields": [name for name, p in self._fields.items() if p.newest],
                "frame_age_ms": None if newest is None else round((now - newest) / 1e6, 1),
                "status": dict(self._status),
                "status_age_ms": round((now - self._status_ns) / 1e6, 1) if self._status_ns else None,
                "field": self._field_facts(place, now) if place else None,
                "cells": sum(p.cells or 0 for p in self._fields.values()),
                "latency_ms": self._latency_facts(),
                "losses": [[stage, reason, n] for (stage, reason), n in sorted(self._losses.items())],
                "counts": {f"{kind}.{status}": n for (kind, status), n in self._events.counts.items() if n},
                "command_counts": {state: n for state, n in self._commands.counts.items() if n},
                "events_change": self._events.rows.change,
                "commands_change": self._commands.rows.change,
                "events": self._events.rows.since(events_since),
                "commands": self._commands.rows.since(commands_since),
            }

    # ---- inside, under the lock -----------------------------------------------------------------------------------

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def _place(self, name: str, view: tuple[str, int] | None = None) -> _Field:
        place = self._fields.get(name)
        if place is None:
            place = self._fields[name] = _Field(name, view or ("", 0))
            if len(self._fields) > FIELDS:
                self._fields.popitem(last=False)
        elif view and place.newest is None:
            place.view = view
        return place

    def _keep_raw(self, seen: _Seen) -> None:
        replaced = self._raw.pop((seen.frame.field, seen.frame.frame), None)
        self._raw_bytes += seen.frame.pixels.nbytes - (replaced.frame.pixels.nbytes if replaced else 0)
        self._raw[seen.frame.field, seen.frame.frame] = seen
        while self._raw_bytes > RAW_BYTES and len(self._raw) > 2:
            _, oldest = self._raw.popitem(last=False)
            self._raw_bytes -= oldest.frame.pixels.nbytes

    def _result(self, place: _Field, frame: int) -> _Result:
        result = place.results.setdefault(frame, _Result())
        if len(place.results) > 4:
            place.results.popitem(last=False)
        return result

    def _pair(self, place: _Field, frame: int) -> None:
        """Make a frame the decided one when its pixels, labels and (where the field has any) tracks are all here."""
        seen, result = self._raw.get((place.name, frame)), place.results.get(frame)
        if seen is None or result is None or result.labels is None or (place.tracked and result.tracks is None):
            return
        del place.results[frame]
        newer = place.decided is None or seen.ordinal > place.decided.ordinal
        if newer and result.labels.shape == seen.frame.pixels.shape:
            place.decided, place.decided_result = seen, result
            if result.denoised is not None and result.denoised.shape == seen.frame.pixels.shape:
                smooth = replace(seen.frame, pixels=result.denoised)
                place.denoised = _Seen(smooth, seen.ordinal, seen.at_ns), result

    def _smooth(self, place: _Field) -> tuple[_Seen, _Result] | None:
        """Return the denoised picture unless raw ones have gone on without it for so long that it would mislead."""
        if place.denoised is None or place.decided is None:
            return None
        older_ms = (place.decided.at_ns - place.denoised[0].at_ns) / 1e6
        return place.denoised if older_ms <= LAG_LIMIT_MS else None

    def _behind(self, place: _Field) -> int:
        return place.count - (place.decided.ordinal if place.decided else 0)

    def _shows_raw(self, place: _Field) -> bool:
        """Whether analysis is too late; once it was, it must have caught up by half before outlines come back."""
        if place.decided is None:
            place.raw = True
        else:
            waits = [
                s.at_ns for s in self._raw.values() if s.frame.field == place.name and s.ordinal > place.decided.ordinal
            ]
            lag_ms = (self._clock() - min(waits)) / 1e6 if waits else 0.0
            place.raw = lag_ms > (LAG_LIMIT_MS / 2 if place.raw else LAG_LIMIT_MS)
        return place.raw

    def _crop(self, event: Event) -> tuple[Crop, ...]:
        """Cut the mother's last frame and the event's frame, as far as they are still here."""
        points = np.array(event.daughters_yx_px or (event.parent_yx_px,), np.float64)
        wanted = ((event.frame - 1, np.array(event.parent_yx_px)), (event.frame, points.mean(axis=0)))
        found = ((self._raw.get((event.field, number)), centre) for number, centre in wanted)
        return tuple(_cut(seen.frame.pixels, centre) for seen, centre in found if seen and np.isfinite(centre).all())

    def _field_facts(self, place: _Field, now: int) -> dict[str, Any]:
        frame = place.newest.frame if place.newest else None
        return {
            "name": place.name,
            "fps": round(place.rate.per_s(now), 2),
            "frame": frame.frame if frame else None,
            "decided": place.decided.frame.frame if place.decided else None,
            "behind": self._behind(place),
            "cells": place.cells,
            "cells_line": place.cells_line.line(),
            "exposure_ms": frame.exposure_ms if frame else None,
            "channel": frame.channel if frame else "",
            "stage_um": list(frame.stage_um) if frame else None,
            "epoch": frame.epoch if frame else None,
        }

    def _latency_facts(self) -> dict[str, Any]:
        recent = self._latency_ms
        return {
            "p50": recent.percentile(50),
            "p99": recent.percentile(99),
            "line": recent.line(),
            "stages": {
                stage: {"p50": r.percentile(50), "p99": r.percentile(99)} for stage, r in self._stages_ms.items()
            },
        }


def _cut(pixels: Crop, centre_yx: NDArray[np.float64]) -> Crop:
    """Copy a square around a point, moved inwards at the border; smaller only where the image is."""
    corner = [
        int(np.clip(round(float(middle)) - CROP_PX // 2, 0, max(0, size - CROP_PX)))
        for middle, size in zip(centre_yx, pixels.shape, strict=True)
    ]
    return pixels[corner[0] : corner[0] + CROP_PX, corner[1] : corner[1] + CROP_PX].copy()
