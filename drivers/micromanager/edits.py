"""MDA mode: how commands edit the running plan."""

from __future__ import annotations

from collections import deque
from typing import Any

from drivers.micromanager.aside import Asides
from drivers.micromanager.course import Position, Shot
from drivers.micromanager.landing import Landing, Shown
from drivers.micromanager.producer import Producer
from drivers.micromanager.programme import Programme
from drivers.micromanager.rig import Rig
from drivers.micromanager.shot import Flight
from stream.clock import now_ns
from stream.command import Command, Target
from stream.config import PlanSettings
from stream.errors import ConfigError, Refused


class Edits:
    """The plan as commands see it. The owner's thread calls everything but :meth:`is_pending`.

    Parameters
    ----------
    rig, producer, landing
        The devices, the names of fields, and who waits for the first frame of a command.
    plan
        As configured.

    Raises
    ------
    ConfigError
        The plan needs what this rig lacks.
    """

    def __init__(self, rig: Rig, producer: Producer, landing: Landing, plan: PlanSettings) -> None:
        self._rig, self._producer, self._landing = rig, producer, landing
        self.programme = Programme(plan, rig.stage.read_um(), rig.camera.geometry().size_um, now_ns())
        self.asides = Asides(rig, self.programme)
        self._open: frozenset[str] = frozenset()
        try:
            self._require(plan)
        except Refused as refusal:
            raise ConfigError(f"the plan is not possible on this rig: {refusal}") from None

    def position(self, target: Target) -> tuple[int | None, Position | None]:
        """Return the position of the plan that is meant, and where it is."""
        number = self.programme.number(target)
        place_um = self.programme.place(number)
        return (number, place_um) if place_um is not None else (None, None)

    def require_move(self, position: int | None, to_um: Position) -> None:
        """Raise Refused where the protocol's places along an axis are absolute."""
        if position is not None:
            self.programme.course.spots[position].moved(to_um)

    def require_exposure(self, target: Target) -> None:
        """Raise Refused where the plan has no such position or channel."""
        if target.position is not None:
            self.programme.number(target)
        planned = self.programme.channels
        if target.channel is not None and planned and target.channel not in planned:
            raise Refused(f"the plan takes no channel '{target.channel}'; it takes {', '.join(planned)}")

    def add_position(self, place_um: tuple[float, float, float | None], command: Command) -> tuple[int, Position]:
        """Visit one more position, or one again that was dropped; its number and place."""
        programme, position = self.programme, command.target.position
        back = position if programme.was_dropped(position) else None
        x_um, y_um, z_um = place_um
        if z_um is None:
            z_um = self._focus_um((x_um, y_um), position)
        self.pin()
        number = programme.add((x_um, y_um, z_um), back, now_ns())
        self._landing.expect(Shown(command.command_id, number))
        return number, (x_um, y_um, z_um)

    def drop_position(self, at_once: bool, command: Command, turn: deque[Shot]) -> int:
        """Visit the target's position no more; ``at_once``: nor take what of its visit is in ``turn``."""
        number = self.programme.number(command.target)
        self.programme.drop(number, at_once=at_once)
        if at_once and turn and not turn[0].aside and turn[0].index.p == number:
            turn.clear()
        self._landing.expect(Shown(command.command_id))
        return number

    def acquire(self, command: Command) -> dict[str, Any]:
        """Put a sequence beside the plan and say what will come of it."""
        said = self.asides.insert(command)
        self.pin()
        self._landing.expect(Shown(command.command_id, aside=command.command_id))
        self._open |= {command.command_id}
        said["field"] = self._producer.field(said["position"], aside=command.command_id)
        return said

    def is_pending(self, command_id: str) -> bool:
        """Whether frames of a sequence beside the plan are still to come; may be asked from any thread."""
        return command_id in self._open

    def cancel(self, command_id: str | None, turn: deque[Shot]) -> dict[str, int]:
        """Take back a sequence, or all of feedback's, and what of it is in ``turn``; how many shots each had left."""
        left = self.programme.cancel(command_id)
        under_way = turn[0].aside if turn else ""
        if under_way and (command_id == under_way or (command_id is None and self.programme.by_feedback(under_way))):
            left[under_way] = left.get(under_way, 0) + len(turn)
            turn.clear()
        self._landing.forget(left)
        return left

    def note_open(self, turn: deque[Shot], flight: Flight | None) -> None:
        """Note which sequences beside the plan are still to come."""
        if self._open:
            flying = [one.shot.aside for one in flight.asked] if flight is not None else []
            self._open = frozenset((*self.programme.schedule.jobs, *flying, *(shot.aside for shot in turn)))

    def pin(self) -> None:
        """From now on the stage and the filters go elsewhere too: what the plan left open is as it is now."""
        for position, spot in self.programme.course.spots.items():
            if spot.now_um is None:
                self.programme.course.pin(position, self._rig.stage.read_um())
        if not self.programme.channels and self._landing.channel:
            self.programme.channels = (self._landing.channel,)

    def _focus_um(self, at_um: tuple[float, float], position: int | None) -> float:
        """Return the focus of the position that is meant, or of the nearest one."""
        known = position if position in self.programme.course.spots else None
        near = self.programme.nearest(at_um) if known is None else known
        return (self.programme.place(near) or self._rig.stage.read_um())[2]

    def _require(self, plan: PlanSettings) -> None:
        for channel in plan.channels:
            self._rig.channels.require(channel)
        for spot in self.programme.course.spots.values():
            if spot.planned_um is not None:
                self._rig.stage.require(*spot.planned_um[:2], None)
        self.asides.require_devices(self.programme.course.sequence)
