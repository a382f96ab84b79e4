"""MDA mode: the running plan, as commands change it. Knows no hardware: the mode asks it what to take, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from useq import AcquireImage, MDAEvent

from drivers.micromanager.course import Course, Position, Shot
from drivers.micromanager.schedule import Part, Schedule, Turn
from stream.command import Target
from stream.config import PlanSettings
from stream.errors import Refused

_Whose = tuple[int | None, str | None]
"""Position and channel; None: all."""
_LONGEST_MS = 2_000.0
_OVER_KEPT = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the engine for one shot; None and an empty channel leave the stage and the channel alone."""

    shot: Shot
    place_um: tuple[float | None, float | None, float | None]
    channel: str
    exposure_ms: float

    @property
    def takes_image(self) -> bool:
        """Whether an image is expected; an autofocus gives none."""
        return isinstance(self.shot.event.action, AcquireImage | type(None))

    def event(self, group: str) -> MDAEvent:
        """Return it as the engine takes it, whose own waiting is left out: the schedule has waited already."""
        x_um, y_um, z_um = self.place_um
        index = self.shot.index
        changes: dict[str, Any] = {
            "index": {"t": index.t, "p": index.p, "c": index.c, "z": index.z, "g": index.g},
            "x_pos": x_um,
            "y_pos": y_um,
            "z_pos": z_um,
            "exposure": self.exposure_ms,
            "min_start_time": None,
            "reset_event_timer": False,
            "sequence": None,
            "metadata": {},
        }
        if self.channel:
            changes["channel"] = {"config": self.channel, "group": group}
        kept = {name: getattr(self.shot.event, name) for name in ("pos_name", "properties", "action")}
        kept["keep_shutter_open"] = self.shot.event.keep_shutter_open
        return MDAEvent.model_validate(kept | changes)


@dataclass(frozen=True, slots=True)
class Turned:
    """Shots whose turn has come; ``together``: the hardware may take them in one go, where it can."""

    items: tuple[Shot, ...]
    due_ns: int
    together: bool


class Programme:
    """Course and schedule of a plan, with the settings that hold for its events now.

    Parameters
    ----------
    plan
        With a protocol or without one.
    stage_um, fov_um
        Where the stage is, and the size of the image there.
    """

    def __init__(self, plan: PlanSettings, stage_um: Position, fov_um: tuple[float, float], now_ns: int) -> None:
        self._plan = plan
        self.course = Course(plan, stage_um, fov_um)
        self.schedule: Schedule[Shot] = Schedule(
            self.course.pace,
            {p: self._pattern(p) for p in self.course.spots},
            now_ns,
            one_by_one=self.course.one_by_one,
        )
        self.channels = plan.channels
        self._exposures: dict[_Whose, float] = {}
        self._jobs_of: dict[str, str] = {}
        self._in_one_go: set[str] = set()
        self.longest_burst_ms = plan.max_burst_ms or _LONGEST_MS
        self.readout_ms = 0.0

    def ask(self, shot: Shot) -> Asked:
        """Return what is asked for a shot now: where its position is now, with the exposure that holds now."""
        event = shot.event
        channel = event.channel.config if event.channel is not None else ""
        if len(self.channels) == 1 and not shot.aside:
            (channel,) = self.channels
        return Asked(shot, self._place_um(shot), channel, self.exposure_of(shot, channel))

    def exposure_of(self, shot: Shot, channel: str) -> float:
        """Return the exposure of a shot; a sequence beside the plan may state its own."""
        stated = None if shot.event.exposure is None else float(shot.event.exposure)
        if shot.aside and stated is not None:
            return stated
        position = shot.index.p
        for key in ((position, channel), (position, None), (None, channel), (None, None)):
            if key in self._exposures:
                return self._exposures[key]
        return self._plan.exposure_ms if stated is None else stated

    def set_exposure(self, exposure_ms: float, target: Target) -> None:
        """Expose every frame, or those of a position or a channel, so long from now on."""
        asked = (target.position, target.channel)
        self._exposures = {key: ms for key, ms in self._exposures.items() if not _within(key, asked)}
        self._exposures[asked] = exposure_ms

    def number(self, target: Target) -> int:
        """Return which position of the plan a command means. Raises Refused."""
        visited = self.schedule.positions
        if target.position is None and len(visited) > 1:
            raise Refused(f"the plan has {len(visited)} positions; say which in the command's target")
        number = visited[0] if target.position is None else target.position
        if number not in visited:
            numbers = ", ".join(map(str, visited))
            raise Refused(f"the plan visits no position {number}; it visits {numbers}")
        return number

    def place(self, position: int) -> Position | None:
        """Return where a position is now; None: wherever the stage is."""
        return self.course.spots[position].now_um

    def nearest(self, at_um: tuple[float, float]) -> int:
        """Return the visited position that is nearest to a place."""

        def distance(position: int) -> float:
            x_um, y_um, _ = self.place(position) or (*at_um, 0.0)
            return (x_um - at_um[0]) ** 2 + (y_um - at_um[1]) ** 2

        return min(self.schedule.positions, key=distance)

    def set_interval(self, interval_ms: float | None, position: int | None, now_ns: int) -> float:
        """Change the plan's interval or one position's; returns the interval that holds. Raises Refused."""
        if position is not None:
            self.number(Target(position=position))
        interval_ns = None if interval_ms is None else round(interval_ms * 1e6)
        return self.schedule.set_interval(interval_ns, now_ns, position) / 1e6

    def add(self, place_um: Position, position: int | None, now_ns: int) -> int:
        """Visit one more position, or again one that was dropped; returns its number. Raises Refused."""
        if position is None:
            position = self.course.add(place_um)
        else:
            self.course.move(position, place_um)
        self.schedule.add(position, self._pattern(position), now_ns)
        return position

    def was_dropped(self, position: int | None) -> bool:
        """Whether a position is the plan's and not visited now."""
        return position is not None and position in self.course.spots and position not in self.schedule.positions

    def drop(self, position: int, *, at_once: bool) -> None:
        """Visit a position no more. Raises Refused."""
        if self.schedule.positions == (position,):
            raise Refused("it is the only position left; pause or stop the plan instead")
        self.schedule.drop(position, at_once=at_once)

    def insert(self, job_id: str, parts: Iterable[Part[Shot]], origin: str, *, in_one_go: bool) -> None:
        """Take these parts beside the plan, each in one go where the hardware can."""
        over = [job for job in self._jobs_of if job not in self.schedule.jobs]
        for job in over[:-_OVER_KEPT]:  # the newest may be in the camera still
            del self._jobs_of[job]
        self._in_one_go &= self._jobs_of.keys()
        self._jobs_of[job_id] = origin
        self._in_one_go |= {job_id} if in_one_go else set()
        self.schedule.insert(job_id, parts)

    def by_feedback(self, job_id: str) -> bool:
        """Whether a job was asked for by feedback, not by an operator."""
        return self._jobs_of.get(job_id) != "operator"

    def cancel(self, job_id: str | None) -> dict[str, int]:
        """Take no more of a job, or of all that feedback asked for; returns how many parts each had left."""
        chosen = [job_id] if job_id is not None else [j for j in self._jobs_of if self.by_feedback(j)]
        left = {job: self.schedule.cancel(job) for job in chosen}
        return {job: count for job, count in left.items() if count}

    def take(self, now_ns: int) -> Turned | None:
        """Return the shots whose turn it is; of a burst that the protocol plans, as many as may be taken in one go."""
        turn = self.schedule.take(now_ns)
        if turn is None:
            return None
        if turn.position is None:
            return Turned(turn.items, turn.due_ns, turn.job in self._in_one_go)
        shots = _numbered(turn)
        while self._plan.protocol is not None and len(turn.items) == 1:
            now_ns += 1
            if sum(self.frame_ms(shot) for shot in (*shots, shots[-1])) > self.longest_burst_ms:
                break
            following = self.schedule.more(turn, now_ns)
            if following is None:
                break
            shots += _numbered(following)
        return Turned(tuple(shots), turn.due_ns, together=len(turn.items) == 1)

    def frame_ms(self, shot: Shot) -> float:
        """Return how long a shot of a burst takes, as far as bursts were seen."""
        return self.ask(shot).exposure_ms + self.readout_ms

    def describe(self) -> Mapping[str, Any]:
        """Say what is planned: ``duration_s`` and ``frames`` are None for a plan without end."""
        pace, spots, protocol = self.course.pace, self.course.spots, self._plan.protocol
        times_ns = pace.times_ns or (() if pace.ticks is None else (0, (pace.ticks - 1) * pace.interval_ns))
        frames = None if pace.ticks is None else sum(self.course.images(p, pace.ticks) for p in spots)
        return {
            "protocol": "" if protocol is None else str(protocol.metadata.get("file", "given in the configuration")),
            "positions": {p: {"name": spots[p].name, "stage_um": spots[p].now_um} for p in self.schedule.positions},
            "channels": self.channels,
            "time_points": pace.ticks,
            "frames": frames,
            "interval_ms": self.schedule.interval_ns() / 1e6,
            "duration_s": times_ns[-1] / 1e9 if times_ns else None,
        }

    def _pattern(self, position: int) -> Any:
        return lambda t: self.course.parts(position, t)

    def _place_um(self, shot: Shot) -> tuple[float | None, float | None, float | None]:
        event, spot = shot.event, self.course.spots[shot.index.p]
        if shot.aside:
            return event.x_pos, event.y_pos, event.z_pos
        if spot.planned_um is None:
            return spot.now_um or (None, None, None)
        shift_um = spot.shift_um()
        x, y, z = (
            None if place is None else float(place) + by
            for place, by in zip((event.x_pos, event.y_pos, event.z_pos), shift_um, strict=True)
        )
        return x, y, z


def parts_of(shots: Sequence[Shot], longest_ms: float, frame_ms: Any) -> list[Part[Shot]]:
    """Cut a sequence beside the plan into parts that the core is not free in for more than ``longest_ms``.

    Parameters
    ----------
    longest_ms
        0: every shot is a part of its own.
    frame_ms
        Called with a shot: how long it takes.
    """
    parts: list[Part[Shot]] = []
    current: list[Shot] = []
    begun_ns, length_ms = 0, 0.0
    for shot in shots:
        after_ns = round((shot.event.min_start_time or 0.0) * 1e9)
        shot_ms = frame_ms(shot)
        if current and (after_ns != begun_ns or length_ms + shot_ms > longest_ms):
            parts.append(Part((), tuple(current), begun_ns))
            current, length_ms = [], 0.0
        begun_ns = after_ns
        current.append(shot)
        length_ms += shot_ms
    return [*parts, Part((), tuple(current), begun_ns)] if current else parts


def _within(one: _Whose, other: _Whose) -> bool:
    """Whether what holds for ``one`` position and channel is settled by a word on the ``other``."""
    return all(wide in (None, narrow) for narrow, wide in zip(one, other, strict=True))


def _numbered(turn: Turn[Shot]) -> list[Shot]:
    """Give the shots of a visit the number of its time point."""
    return [replace(shot, index=replace(shot.index, t=turn.t)) for shot in turn.items]
