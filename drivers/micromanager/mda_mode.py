"""MDA mode: each frame is an event of its own, at its own position, channel and time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from drivers.micromanager.event_runner import Arrival, EventRunner
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.producer import Producer, stamps
from drivers.micromanager.restarts import Restarts
from drivers.micromanager.rig import Rig
from drivers.micromanager.shot import Flight, event_of, plain, read_back
from drivers.micromanager.timetable import Position, Timetable
from stream.clock import now_ns
from stream.command import Target
from stream.config import PlanSettings
from stream.errors import DriverError, Refused
from stream.frame import Index

Result = TypeVar("Result")
_IDLE_S = 1.0
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


class MdaMode:
    """Issues one event at a time, on a schedule of its own; between events the core is free for commands.

    Parameters
    ----------
    rig, producer, outbox
        The devices, and where frames go.
    plan
        Positions, channels, interval, exposure and number of time points.
    wake
        Has :meth:`due` called soon, from any thread.
    """

    name = "mda"

    def __init__(
        self,
        rig: Rig,
        producer: Producer,
        outbox: Outbox,
        plan: PlanSettings,
        wake: Callable[[], None],
    ) -> None:
        options = rig.options
        self._rig = rig
        self._producer = producer
        self._outbox = outbox
        self._plan = plan
        self._runner = EventRunner(rig.core, wake)
        self._restarts = Restarts(options.restart_limit, options.restart_window_s, options.backoff_ms)
        self._table = Timetable(plan, now_ns())
        self._exposure_ms = plan.exposure_ms
        self._channel = ""
        self._flight: Flight | None = None
        self._deferred: deque[Callable[[], None]] = deque()
        self._shown: list[tuple[str, int | None]] = []
        self._paused = False
        self._restart_at_ns: int | None = None

    def start(self) -> None:
        """Set the plan's settings and let the first time point be due."""
        rig, plan = self._rig, self._plan
        for channel in plan.channels:
            rig.channels.require(channel)
        if plan.positions_um:
            rig.stage.require(*plan.positions_um[0][:2], None)
        rig.prepare(plan)
        self._channel = rig.channels.current
        self._table.resume(now_ns())
        self._begin()

    def due(self) -> float:
        """Issue the next event when its time has come; give up one whose frame never comes."""
        self._look()
        if self._outbox.ended:
            return _IDLE_S
        if self._flight is not None:
            return self._watch(self._flight)
        if self._paused:
            return _IDLE_S
        if self._restart_at_ns is not None:
            return self._restart_when_due(self._restart_at_ns)
        if self._table.complete:
            self.finish("plan complete")
            return _IDLE_S
        wait_ns = self._table.wait_ns(now_ns())
        return wait_ns / 1e9 if wait_ns else self._issue()

    def between_frames(self, job: Callable[[], None]) -> None:
        """Run when no event is being taken."""
        if self._flight is None:
            job()
        else:
            self._deferred.append(job)

    def applied(self, command_id: str, position: int | None = None, **changes: Any) -> None:
        """Hold from the next event on."""
        self._exposure_ms = float(changes.get("exposure_ms", self._exposure_ms))
        self._channel = str(changes.get("channel", self._channel))
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
        return self._table.position(target)

    def moving(self) -> None:
        """Nothing is exposed between events."""

    def moved(self, position: int | None, stage_um: Position) -> None:
        """Take the plan's position there from now on."""
        if position is not None:
            self._table.move(position, stage_um)

    def set_interval(self, interval_ms: float) -> float:
        """Let the next time point begin so long after the last one began."""
        return self._table.set_interval(interval_ms)

    def select_channel(self, name: str, command_id: str) -> str:
        """Take all frames in this channel from now on."""
        channels = self._rig.channels
        channels.require(name)
        if len(self._table.channels) > 1:
            raise Refused(f"the plan takes the channels {', '.join(self._table.channels)} in turn")
        self._channel = self.restart(lambda: channels.select(name), command_id)
        if self._table.channels:
            self._table.channels = (self._channel,)
        return self._channel

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
        self._table.resume(now_ns())

    def resync(self) -> None:
        """Nothing to do: every event sets and reads back its own state."""

    def finish(self, reason: str) -> None:
        """Let the current event end and take no more."""
        if self._outbox.ended:
            return
        try:
            self._close_runner()
        finally:
            self._land(self._runner.take_done())
            self._rig.darken()
            self._outbox.end(reason)
            self._release_deferred()

    def _begin(self) -> None:
        self._restart_at_ns = None
        self._producer.begin_epoch(self._rig.camera.geometry())
        self._runner.start()

    def _issue(self) -> float:
        limit_ms = self._exposure_ms + self._rig.options.snap_timeout_ms
        now = now_ns()
        self._flight = Flight(self._table.take(now), self._exposure_ms, now + round(limit_ms * 1e6))
        self._runner.submit(event_of(self._flight, self._rig))
        return limit_ms / 1e3

    def _watch(self, flight: Flight) -> float:
        wait_s = (flight.deadline_ns - now_ns()) / 1e9
        if wait_s > 0:
            return wait_s
        limit_ms = self._rig.options.snap_timeout_ms
        if flight.given_up:
            self.finish(f"the camera has hung for more than {2 * limit_ms / 1e3:g} s")
            return _IDLE_S
        self._missing(flight.shot.index, f"no image within {limit_ms:g} ms")
        flight.given_up = True
        flight.deadline_ns += round(limit_ms * 1e6)
        return limit_ms / 1e3

    def _look(self) -> None:
        """See what the runner has for us."""
        arrivals, death = self._runner.take_done(), self._runner.take_death()
        if arrivals is not None:
            self._land(arrivals)
        if death is not None:
            self._died(death)
        self._release_deferred()

    def _land(self, arrivals: tuple[Arrival, ...] | None) -> None:
        """Hand over what an event gave: its frame, or the gap at exactly its place."""
        flight, self._flight = self._flight, None
        if flight is None or flight.given_up:
            return
        if arrivals:
            self._deliver(flight, arrivals[0])
        else:
            self._missing(flight.shot.index, "the event ended without an image")

    def _deliver(self, flight: Flight, arrival: Arrival) -> None:
        index = flight.shot.index
        if not self._producer.has_room():
            self._producer.gap(index.p, 1, "queue", f"{index}: frames waited for a consumer that did not take them")
            return
        try:
            state, marks = read_back(flight, arrival, self._rig, self._channel)
        except DriverError as error:
            self._producer.gap(index.p, 1, "wrong_state", f"{index}: {error}")
            return
        if "stage_um" in marks or "channel" in marks:
            # Another place or another stain is not a worse frame of this field but none of it.
            self._producer.gap(index.p, 1, "wrong_state", f"{index}: {marks}")
            return
        shown = tuple(command for command, p in self._shown if p in (None, index.p))
        metadata = plain(arrival.metadata) | ({"mismatch": marks} if marks else {})
        times = stamps(arrival.camera_ns, "core", arrival.popped_ns)
        if self._producer.deliver(arrival.pixels, index, state, times, shown, metadata):
            self._shown = [(command, p) for command, p in self._shown if command not in shown]

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
            self._missing(flight.shot.index, reason)
        self._producer.gap(0, 0, "restart", reason)
        wait_s = self._restarts.wait_s(now_ns())
        if wait_s is None:
            limit, window_s = self._restarts.limit, self._restarts.window_s
            self.finish(f"the run died more than {limit} times within {window_s:g} s; the last time: {reason}")
        else:
            self._restart_at_ns = now_ns() + round(wait_s * 1e9)

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
