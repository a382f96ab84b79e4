"""MDA mode: sequences that a command asks for beside the plan: a burst, a z-stack, other channels, at a place."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from useq import MDASequence

from drivers.micromanager.course import Position, Shot, asides
from drivers.micromanager.programme import Programme, parts_of
from drivers.micromanager.rig import Rig
from drivers.micromanager.schedule import Part
from drivers.micromanager.sequencing import sequenced
from drivers.micromanager.shot import Flight
from stream.command import Acquire, Command
from stream.errors import Refused
from stream.layout import laid_out
from stream.protocol import infeasible, positions_of

MOST_EVENTS = 10_000
_SAID_KEPT = 64


class Asides:
    """Checks such sequences, lays them out, and puts them in their places in the programme."""

    def __init__(self, rig: Rig, programme: Programme) -> None:
        self._rig = rig
        self._programme = programme
        self._startup_ms = 0.0
        self._said: dict[str, dict[str, Any]] = {}

    def insert(self, command: Command) -> dict[str, Any]:
        """Put an Acquire's sequence beside the plan and say what will come of it. Raises Refused."""
        action = command.action
        assert isinstance(action, Acquire)
        for problem in infeasible(action.sequence):
            raise Refused(f"sequence: {problem}")
        self.require_devices(action.sequence)
        position, place_um = self._base(command, action)
        sequence = laid_out(action.sequence, place_um, self._rig.camera.geometry().size_um)
        _require_few(sequence)
        shots = asides(sequence, command.command_id, position)
        frames = sum(self._programme.ask(shot).takes_image for shot in shots)
        if not frames:
            raise Refused("the sequence takes no image")
        longest_ms = max(self._programme.longest_burst_ms - self._startup_ms, 0.0) if action.sequenced else 0.0
        parts = parts_of(shots, longest_ms, self._programme.frame_ms)
        together = [self._in_one_go(part.items) if action.sequenced else 1 for part in parts]
        self._programme.insert(command.command_id, parts, command.cause.origin, in_one_go=action.sequenced)
        said = {
            "position": position,
            "frames": frames,
            "parts": len(parts),
            "sequenced": max(together) > 1,
            "burst_ms": round(max(map(self._burst_ms, parts, together)), 3),
            "burst_measured_ms": None,
        }
        if len(self._said) == _SAID_KEPT:
            del self._said[next(iter(self._said))]
        self._said[command.command_id] = said
        return said

    def took(self, flight: Flight, popped_ns: Sequence[int]) -> None:
        """Learn from a burst how long the camera takes to begin, and beyond the exposure for each frame.

        What was said of its sequence gets what was measured: the answer waits for the burst's first frame.
        """
        exposure_ms = sum(one.exposure_ms for one in flight.asked) / len(flight.asked)
        self._startup_ms = max((popped_ns[0] - flight.issued_ns) / 1e6 - exposure_ms, 0.0)
        if len(popped_ns) > 1:
            apart_ms = (popped_ns[-1] - popped_ns[0]) / 1e6 / (len(popped_ns) - 1)
            self._programme.readout_ms = max(apart_ms - exposure_ms, 0.0)
        said = self._said.get(flight.asked[0].shot.aside)
        if said is not None:
            said["burst_measured_ms"] = round((popped_ns[-1] - flight.issued_ns) / 1e6, 3)

    def require_devices(self, sequence: MDASequence) -> None:
        """Raise Refused where a sequence needs what this rig lacks."""
        rig = self._rig
        inner = [stop.sequence for stop in positions_of(sequence) if stop.sequence is not None]
        for part in (sequence, *inner):
            for channel in part.channels:
                rig.channels.require(channel.config)
                if channel.group not in (rig.channels.group, "Channel"):
                    raise Refused(f"channel '{channel.config}' is of group '{channel.group}', not {rig.channels.group}")
            if part.autofocus_plan is not None and not rig.autofocus.label:
                raise Refused("autofocus_plan: this rig has no autofocus device; leave it out")
            if part.z_plan is not None and not rig.stage.z_label:
                raise Refused("z_plan: this rig has no focus stage")
            if part.grid_plan is not None and not rig.stage.xy_label:
                raise Refused("grid_plan: this rig has no XY stage")

    def _base(self, command: Command, action: Acquire) -> tuple[int, Position]:
        """Return which position of the plan a sequence belongs to, and the place of what it leaves open.

        The guard has judged it there: :meth:`stream.acquire.whereabouts.Whereabouts.base` says the same.
        """
        programme, target, stops = self._programme, command.target, positions_of(action.sequence)
        if stops and (action.at_um is not None or target.position is not None):
            raise Refused("the sequence has stage_positions of its own; leave out at_um and the target's position")
        if stops:
            position = programme.nearest((stops[0].x or 0.0, stops[0].y or 0.0))
        elif action.at_um is None or target.position is not None:
            position = programme.number(target)
        else:
            position = programme.nearest(action.at_um)
        place_um = programme.place(position) or self._rig.stage.read_um()
        if action.at_um is None:
            return position, place_um
        return position, (*self._rig.camera.geometry().stage_for(action.at_um), place_um[2])

    def _burst_ms(self, part: Part[Shot], count: int) -> float:
        """Return for how long a part keeps the core: the shots that go together, with the camera's own start."""
        return sum(map(self._programme.frame_ms, part.items[:count])) + self._startup_ms * (count > 1)

    def _in_one_go(self, shots: tuple[Shot, ...]) -> int:
        return sequenced(self._rig, [self._programme.ask(shot) for shot in shots])[1]


def _require_few(sequence: MDASequence) -> None:
    events = prod(max(size, 1) for size in sequence.sizes.values())
    if events > MOST_EVENTS:
        raise Refused(f"the sequence has {events} events; at most {MOST_EVENTS} beside the plan")
