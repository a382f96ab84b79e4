"""MDA mode: what a time point of each position consists of, as useq's own iterator lays it out.

The schedule decides when and where; which planes, channels and tiles a visit has, in which order and at which places,
is asked of useq, so that a protocol means here what it means everywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from useq import AcquireImage, Channel, MDAEvent, MDASequence
from useq import Position as Stop

from drivers.micromanager.plan_clock import Pace
from drivers.micromanager.schedule import Order, Part
from stream.config import PlanSettings
from stream.errors import Refused
from stream.frame import Index
from stream.layout import Size, is_placed, laid_out, visits, walk
from stream.protocol import cycle_of, positions_of, times_ms

Position = tuple[float, float, float]
Visits = Sequence[Sequence[Part["Shot"]]]


@dataclass(frozen=True, slots=True)
class Shot:
    """One event, as useq gave it. ``aside``: id of the command that asked for it beside the plan."""

    index: Index
    event: MDAEvent
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Spot:
    """A position of the plan: where it was planned, and where it is now (None: wherever the stage is).

    ``fixed`` names the axes in which its events lie at absolute places, so that it cannot be moved along them.
    """

    planned_um: Position | None
    now_um: Position | None
    name: str = ""
    fixed: str = ""

    def shift_um(self) -> Position:
        """How far it was moved."""
        if self.planned_um is None or self.now_um is None:
            return (0.0, 0.0, 0.0)
        x, y, z = (now - planned for now, planned in zip(self.now_um, self.planned_um, strict=True))
        return (x, y, z)

    def moved(self, now_um: Position) -> Spot:
        """Return it at another place. Raises Refused."""
        if self.planned_um is not None:
            along = "xyz"
            for axis, now, planned in zip(along, now_um, self.planned_um, strict=True):
                if axis in self.fixed and abs(now - planned) > 1e-6:
                    raise Refused(f"the protocol takes absolute places in {axis}; this position cannot be moved there")
        return replace(self, now_um=now_um)


class Course:
    """The visits of every position of a plan.

    Parameters
    ----------
    plan
        With a protocol or without one.
    stage_um
        Where the stage is: the place of whatever the plan leaves open.
    fov_um
        Width and height of the image, from which grids are laid out.
    """

    def __init__(self, plan: PlanSettings, stage_um: Position, fov_um: Size) -> None:
        self.sequence = _placed(plan.protocol or _sequence_of(plan), stage_um, fov_um)
        self.pace = _pace(plan)
        self._cycle = cycle_of(self.sequence)
        self._visits = _visits(self.sequence, self._cycle)
        self.spots = _spots(self.sequence)

    @property
    def one_by_one(self) -> bool:
        """Whether the whole course of a position is taken before the next one's."""
        order = self.sequence.axis_order
        return len(self.spots) > 1 and "p" in order and "t" in order and order.index("p") < order.index("t")

    def parts(self, position: int, t: int) -> Sequence[Part[Shot]]:
        """Return the parts of a position's visit number ``t``."""
        visits = self._visits[position]
        # The first round may hold what is done once (an autofocus); from then on the rounds repeat.
        return visits[t] if t < len(visits) else visits[1 + (t - 1) % self._cycle]

    def images(self, position: int, visits: int) -> int:
        """Return how many images so many visits of a position give."""

        def taken(t: int) -> int:
            return sum(
                isinstance(s.event.action, AcquireImage | type(None))
                for part in self.parts(position, t)
                for s in part.items
            )

        rounds, rest = divmod(max(visits - 1, 0), self._cycle)
        each = [taken(1 + t) for t in range(self._cycle)] if visits > 1 else []
        return taken(0) * (visits > 0) + rounds * sum(each) + sum(each[:rest])

    def add(self, place_um: Position) -> int:
        """Take one more position, with the protocol's own channels, planes and tiles; returns its number."""
        number = max(self.spots) + 1
        stops = positions_of(self.sequence)
        first = stops[0] if stops else Stop(x=0.0, y=0.0, z=0.0)
        stop = Stop(x=place_um[0], y=place_um[1], z=place_um[2], name=f"added {number}")
        if self.sequence.grid_plan is not None and not self.sequence.grid_plan.is_relative:
            raise Refused("the protocol's grid lies at absolute places; a position more would take the same tiles")
        sequence = self.sequence.replace(stage_positions=(first.replace(sequence=None), stop))
        self._visits[number] = _renumbered(_visits(sequence, self._cycle)[1], number)
        fixed = "z" if sequence.z_plan is not None and not sequence.z_plan.is_relative else ""
        self.spots[number] = Spot(place_um, place_um, stop.name or "", fixed)
        return number

    def move(self, position: int, place_um: Position) -> None:
        """Take a position elsewhere from now on. Raises Refused."""
        self.spots[position] = self.spots[position].moved(place_um)

    def pin(self, position: int, place_um: Position) -> None:
        """Let a position that was wherever the stage stood be here from now on."""
        self.spots[position] = replace(self.spots[position], now_um=place_um)


def asides(sequence: MDASequence, aside: str, position: int) -> list[Shot]:
    """Return the shots of a laid-out sequence that a command asks for beside the plan; their frames count from 0."""
    return [Shot(_index(event, position, event.index.get("t", 0)), event, aside) for event in walk(sequence)]


def _sequence_of(plan: PlanSettings) -> MDASequence:
    """Write a plan without a protocol as a sequence."""
    stops = tuple(Stop(x=x, y=y, z=z) for x, y, z in plan.positions_um)
    return MDASequence(
        stage_positions=stops, channels=tuple(Channel(config=name, exposure=None) for name in plan.channels)
    )


def _pace(plan: PlanSettings) -> Pace:
    if plan.protocol is not None:
        times_ns = tuple(round(ms * 1e6) for ms in times_ms(plan.protocol))
        return Pace(round(plan.interval_ms * 1e6), len(times_ns), times_ns)
    return Pace(round(plan.interval_ms * 1e6), plan.frames)


def _spots(sequence: MDASequence) -> dict[int, Spot]:
    stops = positions_of(sequence)
    if not stops:
        return {0: Spot(None, None)}
    return {
        p: Spot(visit.place_um, visit.place_um, stop.name or "", visit.fixed)
        for p, (stop, visit) in enumerate(zip(stops, visits(sequence), strict=True))
    }


def _placed(sequence: MDASequence, stage_um: Position, fov_um: Size) -> MDASequence:
    """Give every position its place, unless nothing is placed: then the stage stays where it is."""
    if not is_placed(sequence):
        return sequence.replace(stage_positions=())
    return laid_out(sequence, stage_um, fov_um)


def _visits(sequence: MDASequence, cycle: int) -> dict[int, Visits]:
    """Let useq lay out one round of visits after the first, and sort its events by position and visit."""
    rounds = sequence.replace(time_plan={"interval": 0, "loops": cycle + 1})
    early = [axis for axis in _before_position(sequence) if axis != "t"]
    found: dict[int, list[list[tuple[Order, Shot]]]] = defaultdict(lambda: [[] for _ in range(cycle + 1)])
    for event in walk(rounds):
        p, t = event.index.get("p", 0), event.index.get("t", 0)
        order = (*(event.index.get(axis, 0) for axis in early), p)
        found[p][t].append((order, Shot(_index(event, p, t), event)))
    count = len(positions_of(sequence)) or 1
    return {p: [_parts(visit) for visit in found[p]] for p in range(count)}


def _before_position(sequence: MDASequence) -> tuple[str, ...]:
    order = tuple(str(axis) for axis in sequence.axis_order)
    return order[: order.index("p")] if "p" in order else ()


def _parts(events: Sequence[tuple[Order, Shot]]) -> list[Part[Shot]]:
    return [Part(order, tuple(shot for _, shot in group)) for order, group in groupby(events, key=lambda item: item[0])]


def _index(event: MDAEvent, position: int, t: int) -> Index:
    index: Mapping[str, int] = event.index
    return Index(t, position, index.get("c", 0), index.get("z", 0), index.get("g", 0))


def _renumbered(visits: Visits, number: int) -> Visits:
    return [
        [
            Part((*part.order[:-1], number), tuple(replace(s, index=replace(s.index, p=number)) for s in part.items))
            for part in parts
        ]
        for parts in visits
    ]
