"""MDA mode: each frame is an event of its own, at its own position, channel, plane and time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drivers.micromanager.course import Position, Shot
from drivers.micromanager.edits import Edits
from drivers.micromanager.event_runner import Arrival, EventRunner
from drivers.micromanager.landing import Landing, Shown
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.producer import Producer
from drivers.micromanager.restarts import Restarts
from drivers.micromanager.rig import Rig
from drivers.micromanager.sequencing import sequenced
from drivers.micromanager.shot import Flight
from stream.clock import now_ns
from stream.command import Command, Target
from stream.config import PlanSettings
from stream.errors import DriverError, Refused
from stream.metrics import EVENT_LATE_SECONDS

Result = TypeVar("Result")
_IDLE_S = 1.0
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


class MdaMode:
    """Issues one event at a time, as the programme says; between events the core is free for commands.

    Parameters
    ----------
    rig, producer, outbox
        The devices, and where frames go.
    plan
        A protocol, or positions, channels, interval, exposure and number of time points.
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
        self._landing = Landing(rig, producer)
        self._edits: Edits
        self._turn: deque[Shot] = deque()
        self._turn_due_ns = 0
        self._together = False
        self._flight: Flight | None = None
        self._deferred: deque[Callable[[], None]] = deque()
        self._paused = False
        self._restart_at_ns: int | None = None

    def start(self) -> None:
        """Set the plan's settings and let the first time point be due. Raises ConfigError or DriverError."""
        rig, plan = self._rig, self._plan
        self._edits = Edits(rig, self._producer, self._landing, plan)
        rig.prepare(plan)
        self._landing.channel = rig.channels.current
        self._edits.programme.schedule.resume(now_ns())
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
        if not self._turn:
            wait_s = self._next_turn()
            if wait_s is not None:
                return wait_s
        return self._issue()

    def between_frames(self, job: Callable[[], None]) -> None:
        """Run when no event is being taken."""
        if self._flight is None:
            job()
        else:
            self._deferred.append(job)

    def applied(self, command_id: str, position: int | None = None, **changes: Any) -> None:
        """Hold from the next event on."""
        self._landing.channel = str(changes.get("channel", self._landing.channel))
        self._landing.expect(Shown(command_id, position, anywhere=bool(changes.get("anywhere"))))

    def restart(self, change: Callable[[], Result], command_id: str) -> Result:
        """Change between events and begin a new epoch, unless the image lies as it did."""
        try:
            result = change()
            self.applied(command_id, anywhere=True)
            return result
        finally:
            geometry = self._rig.camera.geometry()
            if geometry != self._producer.geometry:
                self._producer.begin_epoch(geometry)

    def position(self, target: Target) -> tuple[int | None, Position | None]:
        """Return the position of the plan that is meant."""
        return self._edits.position(target)

    def require_move(self, position: int | None, to_um: Position) -> None:
        """Raise Refused where the protocol's places along an axis are absolute."""
        self._edits.require_move(position, to_um)

    def require_exposure(self, target: Target) -> None:
        """Raise Refused where the plan has no such position or channel."""
        self._edits.require_exposure(target)

    def moving(self) -> None:
        """Nothing is exposed between events."""

    def moved(self, position: int | None, stage_um: Position) -> None:
        """Take the plan's position there from now on."""
        if position is not None:
            self._edits.programme.course.move(position, stage_um)

    def expose(self, exposure_ms: float, target: Target, command_id: str) -> None:
        """Expose every frame, or those of the target's position or channel, so long from the next event on."""
        self._edits.programme.set_exposure(exposure_ms, target)
        self._landing.expect(Shown(command_id, target.position, target.channel))

    def set_interval(self, interval_ms: float | None, target: Target) -> float:
        """Let the next time point, of the plan or of a position, begin so long after the last one began."""
        return self._edits.programme.set_interval(interval_ms, target.position, now_ns())

    def add_position(self, place_um: tuple[float, float, float | None], command: Command) -> tuple[int, Position]:
        """Visit one more position, or one again that was dropped; its number and place."""
        return self._edits.add_position(place_um, command)

    def drop_position(self, at_once: bool, command: Command) -> int:
        """Visit the target's position no more."""
        return self._edits.drop_position(at_once, command, self._turn)

    def acquire(self, command: Command) -> dict[str, Any]:
        """Put a sequence beside the plan."""
        return self._edits.acquire(command)

    def is_pending(self, command_id: str) -> bool:
        """Whether frames of a sequence beside the plan are still to come; may be asked from any thread."""
        return self._edits.is_pending(command_id)

    def cancel(self, command_id: str | None) -> dict[str, int]:
        """Take no more of a sequence beside the plan, or of all that feedback asked for."""
        left = self._edits.cancel(command_id, self._turn)
        self._edits.note_open(self._turn, self._flight)
        return left

    def describe(self) -> Mapping[str, Any]:
        """Say what is planned, as it is now."""
        return self._edits.programme.describe()

    def select_channel(self, name: str, command_id: str) -> str:
        """Take all frames in this channel from now on."""
        channels, programme = self._rig.channels, self._edits.programme
        channels.require(name)
        if len(programme.channels) > 1:
            raise Refused(f"the plan takes the channels {', '.join(programme.channels)} in turn")
        self._landing.channel = self.restart(lambda: channels.select(name), command_id)
        if programme.channels:
            programme.channels = (self._landing.channel,)
        return self._landing.channel

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
        self.applied(command_id, anywhere=True)
        self._edits.programme.schedule.resume(now_ns())

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

    def _next_turn(self) -> float | None:
        """Take the part whose turn it is; return how long to wait where none is due."""
        now, programme = now_ns(), self._edits.programme
        turn = programme.take(now)
        if turn is not None:
            self._turn.extend(turn.items)
            self._turn_due_ns = turn.due_ns
            self._together = len(turn.items) > 1 and turn.together
            return None
        if programme.schedule.complete:
            self.finish("plan complete")
            return _IDLE_S
        wait_ns = programme.schedule.wait_ns(now)
        return _IDLE_S if wait_ns is None else min(wait_ns / 1e9, _IDLE_S)

    def _issue(self) -> float:
        programme = self._edits.programme
        asked = [programme.ask(shot) for shot in (self._turn if self._together else (self._turn[0],))]
        event, count, axes = sequenced(self._rig, asked)
        for _ in range(count):
            self._turn.popleft()
        taken = tuple(asked[:count])
        limit_ms = sum(one.exposure_ms for one in taken) + self._rig.options.snap_timeout_ms
        now = now_ns()
        self._flight = Flight(taken, self._turn_due_ns, now, now + round(limit_ms * 1e6), axes)
        whose = "command" if taken[0].shot.aside else "plan"
        EVENT_LATE_SECONDS.labels(whose).observe(max(self._flight.late_ms, 0.0) / 1e3)
        self._runner.submit(event)
        return limit_ms / 1e3

    def _watch(self, flight: Flight) -> float:
        wait_s = (flight.deadline_ns - now_ns()) / 1e9
        if wait_s > 0:
            return wait_s
        limit_ms = self._rig.options.snap_timeout_ms
        if flight.given_up:
            self.finish(f"the camera has hung for more than {2 * limit_ms / 1e3:g} s")
            return _IDLE_S
        self._landing.missing(flight.asked, f"no image within {limit_ms:g} ms")
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
        if arrivals is not None or death is not None:
            self._edits.note_open(self._turn, self._flight)
        self._release_deferred()

    def _land(self, arrivals: tuple[Arrival, ...] | None) -> None:
        """Hand over what an event gave: its frames, or the gaps at exactly their places."""
        flight, self._flight = self._flight, None
        if flight is None or flight.given_up:
            return
        if len(flight.asked) > 1 and arrivals:
            self._edits.asides.took(flight, [arrival.popped_ns for arrival in arrivals])
        self._landing.land(flight, arrivals or ())

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
            self._landing.missing(flight.asked, reason)
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
