"""MDA mode: each frame is an event of its own, at its own position, channel, plane and time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from drivers.micromanager.aside import Asides
from drivers.micromanager.course import Position, Shot
from drivers.micromanager.event_runner import Arrival, EventRunner
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.producer import Producer, stamps
from drivers.micromanager.programme import Asked, Programme
from drivers.micromanager.restarts import Restarts
from drivers.micromanager.rig import Rig
from drivers.micromanager.sequencing import sequenced
from drivers.micromanager.shot import Flight, plain, read_back
from stream.clock import now_ns
from stream.command import Command, Target
from stream.config import PlanSettings
from stream.errors import ConfigError, DriverError, Refused
from stream.metrics import EVENT_LATE_SECONDS

Result = TypeVar("Result")
_IDLE_S = 1.0
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A command that waits for the first frame that shows it: of a position, a channel, or beside the plan."""

    command_id: str
    position: int | None = None
    channel: str | None = None
    aside: str | None = None
    anywhere: bool = False

    def by(self, asked: Asked) -> bool:
        if self.anywhere:
            return True
        shot = asked.shot
        wanted = (self.aside or "", self.position, self.channel)
        found = (shot.aside, shot.index.p, asked.channel)
        return all(want in (None, has) for want, has in zip(wanted, found, strict=True))


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
        self._programme: Programme
        self._asides: Asides
        self._open: frozenset[str] = frozenset()
        self._channel = ""
        self._turn: deque[Shot] = deque()
        self._turn_due_ns = 0
        self._together = False
        self._flight: Flight | None = None
        self._deferred: deque[Callable[[], None]] = deque()
        self._shown: list[_Shown] = []
        self._paused = False
        self._restart_at_ns: int | None = None

    def start(self) -> None:
        """Set the plan's settings and let the first time point be due."""
        rig, plan = self._rig, self._plan
        self._programme = Programme(plan, rig.stage.read_um(), rig.camera.geometry().size_um, now_ns())
        self._asides = Asides(rig, self._programme, plan)
        for channel in plan.channels:
            rig.channels.require(channel)
        for spot in self._programme.course.spots.values():
            if spot.planned_um is not None:
                rig.stage.require(*spot.planned_um[:2], None)
        try:
            self._asides.require_devices(self._programme.course.sequence)
        except Refused as refusal:
            raise ConfigError(f"the plan is not possible on this rig: {refusal}") from None
        rig.prepare(plan)
        self._channel = rig.channels.current
        self._programme.schedule.resume(now_ns())
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
        self._channel = str(changes.get("channel", self._channel))
        self._shown.append(_Shown(command_id, position, anywhere=bool(changes.get("anywhere"))))

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
        number = self._programme.number(target)
        place_um = self._programme.place(number)
        return (number, place_um) if place_um is not None else (None, None)

    def require_move(self, position: int | None, to_um: Position) -> None:
        """Raise Refused where the protocol's places along an axis are absolute."""
        if position is not None:
            self._programme.course.spots[position].moved(to_um)

    def require_channel(self, target: Target) -> None:
        """Raise Refused where the plan takes no such channel."""
        planned = self._programme.channels
        if target.channel is not None and planned and target.channel not in planned:
            raise Refused(f"the plan takes no channel '{target.channel}'; it takes {', '.join(planned)}")

    def moving(self) -> None:
        """Nothing is exposed between events."""

    def moved(self, position: int | None, stage_um: Position) -> None:
        """Take the plan's position there from now on."""
        if position is not None:
            self._programme.course.move(position, stage_um)

    def expose(self, exposure_ms: float, target: Target, command_id: str) -> None:
        """Expose every frame, or the frames of the target's channel, so long from the next event on."""
        self._programme.set_exposure(exposure_ms, target.channel)
        self._shown.append(_Shown(command_id, channel=target.channel))

    def set_interval(self, interval_ms: float | None, target: Target) -> float:
        """Let the next time point, of the plan or of a position, begin so long after the last one began."""
        return self._programme.set_interval(interval_ms, target.position, now_ns())

    def add_position(self, place_um: tuple[float, float, float | None], command: Command) -> tuple[int, Position]:
        """Visit one more position; its number, and where it is."""
        programme, position = self._programme, command.target.position
        back = programme.was_dropped(position)
        x_um, y_um, z_um = place_um
        if z_um is None:
            near = position if back and position is not None else programme.nearest((x_um, y_um))
            z_um = (programme.place(near) or self._rig.stage.read_um())[2]
        self._pin()
        number = programme.add((x_um, y_um, z_um), position if back else None, now_ns())
        self._shown.append(_Shown(command.command_id, number))
        return number, (x_um, y_um, z_um)

    def drop_position(self, command: Command) -> int:
        """Visit the target's position no more."""
        position = self._programme.number(command.target)
        self._programme.drop(position)
        self._shown.append(_Shown(command.command_id))
        return position

    def acquire(self, command: Command) -> dict[str, Any]:
        """Put a sequence in its place beside the plan."""
        said = self._asides.insert(command)
        self._pin()
        self._shown.append(_Shown(command.command_id, aside=command.command_id))
        self._note_open()
        return {**said, "field": self._producer.field(said["position"], aside=command.command_id)}

    def is_pending(self, command_id: str) -> bool:
        """Whether frames of a sequence beside the plan are still to come."""
        return command_id in self._open

    def cancel(self, command_id: str | None) -> dict[str, int]:
        """Take no more of a sequence beside the plan; how many frames each one cancelled had left."""
        left = self._programme.cancel(command_id)
        if self._turn and self._turn[0].aside and command_id in (None, self._turn[0].aside):
            job = self._turn[0].aside
            if command_id is not None or self._asides.by_feedback(job):
                left[job] = left.get(job, 0) + len(self._turn)
                self._turn.clear()
        self._shown = [shown for shown in self._shown if shown.aside not in left]
        self._note_open()
        return left

    def select_channel(self, name: str, command_id: str) -> str:
        """Take all frames in this channel from now on."""
        channels, programme = self._rig.channels, self._programme
        channels.require(name)
        if len(programme.channels) > 1:
            raise Refused(f"the plan takes the channels {', '.join(programme.channels)} in turn")
        self._channel = self.restart(lambda: channels.select(name), command_id)
        if programme.channels:
            programme.channels = (self._channel,)
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
        self.applied(command_id, anywhere=True)
        self._programme.schedule.resume(now_ns())

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

    def _pin(self) -> None:
        """From now on the stage goes elsewhere too: what the plan left open is where it is now."""
        for position, spot in self._programme.course.spots.items():
            if spot.now_um is None:
                self._programme.course.pin(position, self._rig.stage.read_um())
        if not self._programme.channels and self._channel:
            self._programme.channels = (self._channel,)

    def _next_turn(self) -> float | None:
        """Take the part whose turn it is; return how long to wait where none is due."""
        now = now_ns()
        turn = self._programme.take(now)
        if turn is not None:
            self._turn.extend(turn.items)
            self._turn_due_ns = turn.due_ns
            self._together = turn.job != "" and self._asides.together(turn.job)
            return None
        if self._programme.schedule.complete:
            self.finish("plan complete")
            return _IDLE_S
        wait_ns = self._programme.schedule.wait_ns(now)
        return _IDLE_S if wait_ns is None else min(wait_ns / 1e9, _IDLE_S)

    def _issue(self) -> float:
        asked = [self._programme.ask(shot) for shot in (self._turn if self._together else (self._turn[0],))]
        event, count, axes = sequenced(self._rig, asked)
        for _ in range(count):
            self._turn.popleft()
        taken = tuple(asked[:count])
        limit_ms = sum(one.exposure_ms for one in taken) + self._rig.options.snap_timeout_ms
        now = now_ns()
        self._flight = Flight(taken, self._turn_due_ns, now, now + round(limit_ms * 1e6), axes)
        EVENT_LATE_SECONDS.labels("command" if taken[0].shot.aside else "plan").observe(
            max(self._flight.late_ms, 0.0) / 1e3
        )
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
        self._missing(flight.asked, f"no image within {limit_ms:g} ms")
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
        if self._open and (arrivals is not None or death is not None):
            self._note_open()
        self._release_deferred()

    def _note_open(self) -> None:
        """Note which sequences beside the plan are still to come, for whoever asks from another thread."""
        flying = [one.shot.aside for one in self._flight.asked] if self._flight is not None else []
        self._open = frozenset((*self._programme.schedule.jobs, *flying, *(shot.aside for shot in self._turn)))

    def _land(self, arrivals: tuple[Arrival, ...] | None) -> None:
        """Hand over what an event gave: its frames, or the gaps at exactly their places."""
        flight, self._flight = self._flight, None
        if flight is None or flight.given_up:
            return
        if flight.asked[0].takes_image:
            given = arrivals or ()
            if len(flight.asked) > 1 and given:
                self._asides.took(flight, [arrival.popped_ns for arrival in given])
            for asked, arrival in zip(flight.asked, given, strict=False):
                self._deliver(flight, asked, arrival)
            self._missing(flight.asked[len(given) :], "the event ended without an image")
        elif not self._rig.autofocus.succeeded:
            index = flight.asked[0].shot.index
            self._producer.gap(index.p, 0, "autofocus_failed", f"{index}: the focus is as it was")

    def _deliver(self, flight: Flight, asked: Asked, arrival: Arrival) -> None:
        if not self._producer.has_room():
            self._gap(asked, "queue", "frames waited for a consumer that did not take them")
            return
        try:
            state, marks = read_back(asked, flight, arrival, self._rig, self._channel)
        except DriverError as error:
            self._gap(asked, "wrong_state", str(error))
            return
        if "stage_um" in marks or "channel" in marks:
            # Another place or another stain is not a worse frame of this field but none of it.
            self._gap(asked, "wrong_state", str(marks))
            return
        shot = asked.shot
        shown = tuple(command.command_id for command in self._shown if command.by(asked))
        more: dict[str, Any] = {"due_ns": flight.due_ns, "late_ms": flight.late_ms}
        more |= {"mismatch": marks} if marks else {}
        more |= {"command": shot.aside} if shot.aside else {}
        more |= {"burst": len(flight.asked)} if len(flight.asked) > 1 else {}
        times = stamps(arrival.camera_ns, "core", arrival.popped_ns)
        metadata = plain(arrival.metadata) | more
        if self._producer.deliver(arrival.pixels, shot.index, state, times, shown, metadata, aside=shot.aside):
            self._shown = [command for command in self._shown if command.command_id not in shown]

    def _missing(self, asked: tuple[Asked, ...], detail: str) -> None:
        for one in asked:
            self._gap(one, "snap_failed", detail)

    def _gap(self, asked: Asked, reason: str, detail: str) -> None:
        shot = asked.shot
        said = f"{shot.index}: {detail}"
        self._producer.gap(shot.index.p, 1, reason, said, tile=shot.index.g, aside=shot.aside)

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
            self._missing(flight.asked, reason)
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
