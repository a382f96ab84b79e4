"""MDA mode: each frame is an event of its own, at its own position, channel and time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

from useq import MDAEvent

from drivers.micromanager.event_runner import Arrival, EventRunner
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.producer import Producer, stamps
from drivers.micromanager.restarts import Restarts
from drivers.micromanager.rig import Rig
from drivers.micromanager.timeline import State
from stream.clock import now_ns
from stream.command import Target
from stream.config import PlanSettings
from stream.errors import DriverError, Refused
from stream.frame import Index

Result = TypeVar("Result")
Position = tuple[float, float, float]
_IDLE_S = 1.0
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Flight:
    """The event that is being taken."""

    index: Index
    wanted_um: Position | None
    channel: str
    exposure_ms: float
    deadline_ns: int
    given_up: bool = False


class MdaMode:
    """Issues one event at a time, on a schedule of its own; between events the core is free for commands.

    Parameters
    ----------
    rig, producer, outbox
        The devices, and where frames go.
    plan
        Positions, channels, interval, exposure and number of time points.
    post
        Runs a job soon in the thread of the core's owner; callable from any thread.
    """

    name = "mda"

    def __init__(
        self,
        rig: Rig,
        producer: Producer,
        outbox: Outbox,
        plan: PlanSettings,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        options = rig.options
        self._rig = rig
        self._producer = producer
        self._outbox = outbox
        self._plan = plan
        self._runner = EventRunner(
            rig.core,
            lambda event, arrivals: post(lambda: self._done(arrivals)),
            lambda reason: post(lambda: self._died(reason)),
        )
        self._restarts = Restarts(options.restart_limit, options.restart_window_s, options.backoff_ms)
        self._positions: list[Position] = list(plan.positions_um)
        self._channels: tuple[str, ...] = plan.channels
        self._interval_ms = plan.interval_ms
        self._exposure_ms = plan.exposure_ms
        self._t = -1
        self._todo: deque[tuple[int, str, int]] = deque()
        self._begun_ns = self._next_ns = 0
        self._flight: Flight | None = None
        self._deferred: deque[Callable[[], None]] = deque()
        self._shown: list[tuple[str, int | None]] = []
        self._paused = False
        self._restart_at_ns: int | None = None

    def start(self) -> None:
        """Set the plan's settings and let the first time point be due."""
        for channel in self._channels:
            self._rig.channels.require(channel)
        if self._positions:
            self._rig.stage.require(*self._positions[0][:2], None)
        self._rig.prepare(self._plan)
        self._next_ns = now_ns()
        self._begin()

    def due(self) -> float:
        """Issue the next event when its time has come; give up one whose frame never comes."""
        if self._outbox.ended:
            return _IDLE_S
        if self._flight is not None:
            return self._watch(self._flight)
        if self._paused:
            return _IDLE_S
        if self._restart_at_ns is not None:
            return self._restart_when_due(self._restart_at_ns)
        if not self._todo:
            wait_s = self._next_time_point()
            if wait_s > 0:
                return wait_s
        return self._issue(*self._todo.popleft())

    def between_frames(self, job: Callable[[], None]) -> None:
        """Run when no event is being taken."""
        if self._flight is None:
            job()
        else:
            self._deferred.append(job)

    def applied(self, command_id: str, position: int | None = None, **changes: Any) -> None:
        """Hold from the next event on."""
        self._exposure_ms = float(changes.get("exposure_ms", self._exposure_ms))
        self._shown.append((command_id, position))

    def restart(self, change: Callable[[], Result], command_id: str) -> Result:
        """Change between events and begin a new epoch, unless the image lies as it did."""
        try:
            result = change()
            self.applied(command_id)
            return result
        finally:
            geometry = self._rig.camera.geometry()
            if geometry != self._producer.geometry:
                self._producer.begin_epoch(geometry)

    def position(self, target: Target) -> tuple[int | None, Position | None]:
        """Return the position of the plan that is meant."""
        if not self._positions:
            if target.position not in (None, 0):
                raise Refused(f"the plan has no position {target.position}")
            return None, None
        if target.position is None and len(self._positions) > 1:
            raise Refused(f"the plan has {len(self._positions)} positions; say which in the command's target")
        position = target.position or 0
        if not 0 <= position < len(self._positions):
            raise Refused(f"the plan has no position {position}; it has {len(self._positions)}")
        return position, self._positions[position]

    def moving(self) -> None:
        """Nothing is exposed between events."""

    def moved(self, position: int | None, stage_um: Position) -> None:
        """Take the plan's position there from now on."""
        if position is not None:
            self._positions[position] = stage_um

    def set_interval(self, interval_ms: float) -> float:
        """Let the next time point begin so long after the last one began."""
        self._interval_ms = interval_ms
        self._next_ns = self._begun_ns + round(interval_ms * 1e6)
        return self._interval_ms

    def select_channel(self, name: str, command_id: str) -> str:
        """Take all frames in this channel from now on."""
        channels = self._rig.channels
        channels.require(name)
        if len(self._channels) > 1:
            raise Refused(f"the plan takes the channels {', '.join(self._channels)} in turn")
        actual = self.restart(lambda: channels.select(name), command_id)
        self._channels = (actual,)
        self._todo = deque((p, actual, c) for p, _, c in self._todo)
        return actual

    def switch_light(self, on: bool) -> bool:
        """Change between two runs: the engine keeps the shutter's mode that it found when its run began."""
        running = self._runner.alive
        self._close_runner()
        try:
            return self._rig.light.switch(on, streaming=False)
        finally:
            if running:
                self._runner.start()

    def pause(self) -> None:
        """Issue no events."""
        self._paused = True

    def resume(self, command_id: str) -> None:
        """Issue events again, the first one now or in its time."""
        self._paused = False
        self.applied(command_id)
        self._next_ns = max(self._next_ns, now_ns())

    def resync(self) -> None:
        """Nothing to do: every event sets and reads back its own state."""

    def finish(self, reason: str) -> None:
        """Let the current event end and take no more."""
        if self._outbox.ended:
            return
        try:
            self._close_runner()
        finally:
            self._rig.darken()
            self._outbox.end(reason)
            self._release_deferred()

    def _begin(self) -> None:
        self._restart_at_ns = None
        self._producer.begin_epoch(self._rig.camera.geometry())
        self._runner.start()

    def _next_time_point(self) -> float:
        """Line up the events of the next time point, or return the seconds until it is due."""
        if self._plan.frames is not None and self._t + 1 >= self._plan.frames:
            self.finish("plan complete")
            return _IDLE_S
        now = now_ns()
        if now < self._next_ns:
            return (self._next_ns - now) / 1e9
        self._t += 1
        self._begun_ns = self._next_ns
        # More than a whole interval late: go on from here rather than hurry to catch up.
        self._next_ns = max(self._next_ns + round(self._interval_ms * 1e6), now)
        channels = self._channels or ("",)
        places = range(len(self._positions) or 1)
        self._todo.extend((p, channel, c) for p, (c, channel) in product(places, enumerate(channels)))
        return 0.0

    def _issue(self, p: int, channel: str, c: int) -> float:
        options, wanted = self._rig.options, self._positions[p] if self._positions else None
        limit_ms = self._exposure_ms + options.snap_timeout_ms
        self._flight = Flight(
            Index(t=self._t, p=p, c=c), wanted, channel, self._exposure_ms, now_ns() + round(limit_ms * 1e6)
        )
        self._runner.submit(self._event(self._flight))
        return limit_ms / 1e3

    def _event(self, flight: Flight) -> MDAEvent:
        index, wanted, rig = flight.index, flight.wanted_um, self._rig
        asked: dict[str, Any] = {"index": {"t": index.t, "p": index.p, "c": index.c}, "exposure": flight.exposure_ms}
        if flight.channel:
            asked["channel"] = {"config": flight.channel, "group": rig.channels.group}
        if wanted is not None:
            asked |= {"x_pos": wanted[0], "y_pos": wanted[1]}
            if rig.stage.z_label:
                asked["z_pos"] = wanted[2]
        return MDAEvent.model_validate(asked)

    def _watch(self, flight: Flight) -> float:
        wait_s = (flight.deadline_ns - now_ns()) / 1e9
        if wait_s > 0:
            return wait_s
        limit_ms = self._rig.options.snap_timeout_ms
        if flight.given_up:
            self.finish(f"the camera has hung for more than {2 * limit_ms / 1e3:g} s")
            return _IDLE_S
        self._missing(flight.index, f"no image within {limit_ms:g} ms")
        flight.given_up = True
        flight.deadline_ns += round(limit_ms * 1e6)
        return limit_ms / 1e3

    def _done(self, arrivals: tuple[Arrival, ...]) -> None:
        """Hand over what an event gave: its frame, or the gap at exactly its place."""
        flight, self._flight = self._flight, None
        if flight is not None and not flight.given_up and not self._outbox.ended:
            if arrivals:
                self._deliver(flight, arrivals[0])
            else:
                self._missing(flight.index, "the event ended without an image")
        self._release_deferred()

    def _deliver(self, flight: Flight, arrival: Arrival) -> None:
        index = flight.index
        if not self._producer.has_room():
            self._producer.gap(index.p, 1, "queue", f"{index}: frames waited for a consumer that did not take them")
            return
        state, marks = self._read_back(flight, arrival)
        if "stage_um" in marks or "channel" in marks:
            # Another place or another stain is not a worse frame of this field but none of it.
            self._producer.gap(index.p, 1, "wrong_state", f"{index}: {marks}")
            return
        shown = tuple(command for command, p in self._shown if p in (None, index.p))
        metadata = _plain(arrival.metadata) | ({"mismatch": marks} if marks else {})
        times = stamps(arrival.camera_ns, "core", arrival.popped_ns)
        if self._producer.deliver(arrival.pixels, index, state, times, shown, metadata):
            self._shown = [(command, p) for command, p in self._shown if command not in shown]

    def _read_back(self, flight: Flight, arrival: Arrival) -> tuple[State, dict[str, Any]]:
        """Return what the hardware was set to for this frame, and what of it was asked otherwise."""
        place, stage = arrival.metadata.get("position", {}), self._rig.stage
        stage_um = (float(place.get("x", 0.0)), float(place.get("y", 0.0)), float(place.get("z", 0.0)))
        channel = self._rig.channels.current
        exposure_ms = float(arrival.metadata.get("exposure_ms", 0.0))
        marks: dict[str, Any] = {}
        if flight.wanted_um is not None:
            wanted_um = flight.wanted_um if stage.z_label else (*flight.wanted_um[:2], stage_um[2])
            if not stage.reached(wanted_um, stage_um):
                marks["stage_um"] = {"wanted": wanted_um, "actual": stage_um}
        if flight.channel and channel != flight.channel:
            marks["channel"] = {"wanted": flight.channel, "actual": channel}
        if abs(exposure_ms - flight.exposure_ms) > max(0.1, flight.exposure_ms * self._rig.options.exposure_tolerance):
            marks["exposure_ms"] = {"wanted": flight.exposure_ms, "actual": exposure_ms}
        return State(stage_um, exposure_ms, channel), marks

    def _missing(self, index: Index, detail: str) -> None:
        self._producer.gap(index.p, 1, "snap_failed", f"{index}: {detail}")

    def _release_deferred(self) -> None:
        while self._deferred and self._flight is None:
            self._deferred.popleft()()

    def _died(self, reason: str) -> None:
        """Report the frame that is lost with the run, and plan a restart, or give up."""
        if self._outbox.ended:
            return
        _log.warning("%s", reason)
        flight, self._flight = self._flight, None
        if flight is not None and not flight.given_up:
            self._missing(flight.index, reason)
        self._producer.gap(0, 0, "restart", reason)
        wait_s = self._restarts.wait_s(now_ns())
        if wait_s is None:
            limit, window_s = self._restarts.limit, self._restarts.window_s
            self.finish(f"the run died more than {limit} times within {window_s:g} s; the last time: {reason}")
        else:
            self._restart_at_ns = now_ns() + round(wait_s * 1e9)
        self._release_deferred()

    def _restart_when_due(self, at_ns: int) -> float:
        wait_s = (at_ns - now_ns()) / 1e9
        if wait_s > 0:
            return wait_s
        self._close_runner()
        try:
            self._begin()
        except DriverError as error:
            self._died(str(error))
        return 0.0

    def _close_runner(self) -> None:
        if not self._runner.close(_CLOSE_S):
            raise DriverError(f"the camera has hung in an exposure for more than {_CLOSE_S:.0f} s")


def _plain(metadata: Any) -> dict[str, Any]:
    """Return FrameMetaV1 as data that a wire can carry: its event is a model."""
    plain = dict(metadata)
    event = plain.get("mda_event")
    if isinstance(event, MDAEvent):
        plain["mda_event"] = event.model_dump(mode="json", exclude_defaults=True)
    if "property_values" in plain:
        plain["property_values"] = [dict(value) for value in plain["property_values"]]
    return plain
