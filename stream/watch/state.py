"""What the live page knows: fed by the watch node's thread through plain calls, read by the page's server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.clock import Clock, now_ns, wall_ns
from stream.event import Event
from stream.frame import Frame, is_aside
from stream.lineage import Tracks
from stream.watch.book import CommandBook, Crop, EventBook
from stream.watch.fields import Fields, Shown
from stream.watch.pulse import Recent
from stream.watch.recall import Before

MARK_FRAMES = 10
CROP_PX = 72


class LiveState:
    """Everything that the page shows. Every method may be called from any thread.

    Parameters
    ----------
    run
        The run's name, for the title.
    channel, plane
        The channel (``segment_channel``) and the plane whose frames are shown; empty and None: each field's first one.
    """

    def __init__(
        self,
        run: str = "",
        channel: str = "",
        plane: int | None = None,
        *,
        clock: Clock = now_ns,
        wall: Clock = wall_ns,
    ) -> None:
        self.run = run
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._fields = Fields(channel, plane)
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
        with self._lock:
            shown = self._fields.frame(frame, self._clock())
        if shown:
            self._changed()

    def labels(self, field: str, frame: int, labels: NDArray[np.int32]) -> None:
        """Take up the label image ``(y, x)`` int32 of a decided frame; each label is a track id."""
        with self._lock:
            self._fields.labels(field, frame, labels)
        self._changed()

    def denoised(self, field: str, frame: int, pixels: Crop) -> None:
        """Take up the denoised pixels ``(y, x)`` of a decided frame, before its labels; not every frame has them."""
        with self._lock:
            self._fields.denoised(field, frame, pixels)

    def tracks(self, field: str, frame: int, tracks: Tracks) -> None:
        """Take up the tracks after a decided frame."""
        with self._lock:
            self._fields.tracks(field, frame, tracks)
        self._changed()

    def take_up(self, before: Before) -> None:
        """Go on from what the run's facts say of the time before; called before anything else."""
        with self._lock:
            self._events.take_up(before.events, before.open_events, before.event_counts)
            self._commands.take_up(before.commands, before.command_counts)
            self._losses.update(before.losses)
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
        ``nodes`` {name: alive}, ``interval_ms``, ``longest_interval_ms`` (of the plan), ``exposure_ms``,
        ``light_power``, ``light_on``, ``stage_um`` (x, y, z in µm), ``projection`` (of the planes that are segmented;
        absent where one plane is).
        """
        with self._lock:
            self._status.update(facts)
            self._status_ns = self._clock()
        self._changed()

    # ---- what the page reads --------------------------------------------------------------------------------------

    def fields(self) -> list[str]:
        """Return the names of the fields that have brought a frame, in order of appearance."""
        with self._lock:
            return [place.name for place in self._fields]

    def shown(self, field: str, denoised: bool = False) -> Shown | None:
        """Return the picture to show of a field: the newest decided one, or the raw one when analysis is far behind.

        With ``denoised`` it is the newest decided one of which denoised pixels came, while there is a recent one.
        """
        with self._lock:
            shown = self._fields.shown(field, denoised, self._clock())
            if shown is None:
                return None
            return replace(shown, marks=self._events.lately(field, shown.frame.frame, MARK_FRAMES))

    def crops(self, n: int) -> tuple[Crop, ...]:
        """Return the small raw pictures of event number ``n``, before and after."""
        with self._lock:
            return self._events.crops(n)

    def facts(self, field: str = "", events_since: int = 0, commands_since: int = 0) -> dict[str, Any]:
        """Return everything but pictures as plain data, rows only where they changed after the given numbers."""
        with self._lock:
            now = self._clock()
            newest = max((place.at_ns for place in self._fields), default=None)
            place = self._fields.get(field)
            return {
                "run": self.run,
                "wall_ms": self._wall() / 1e6,
                "fields": [one.name for one in self._fields],
                "frame_age_ms": None if newest is None else round((now - newest) / 1e6, 1),
                "status": dict(self._status),
                "status_age_ms": round((now - self._status_ns) / 1e6, 1) if self._status_ns else None,
                "field": place.facts(now) if place else None,
                "cells": self._fields.cells,
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

    def _crop(self, event: Event) -> tuple[Crop, ...]:
        """Cut the mother's last frame and the event's frame, as far as they are still here."""
        points = np.array(event.daughters_yx_px or (event.parent_yx_px,), np.float64)
        wanted = ((event.frame - 1, np.array(event.parent_yx_px)), (event.frame, points.mean(axis=0)))
        found = ((self._fields.raw(event.field, number), centre) for number, centre in wanted)
        return tuple(_cut(frame.pixels, centre) for frame, centre in found if frame and np.isfinite(centre).all())

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
