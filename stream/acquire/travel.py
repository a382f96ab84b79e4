"""Where the stage may go: travel boxes and forbidden zones, for all that a move leads to and the straight ways."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from stream.acquire.visits import Visits
from stream.acquire.ways import crossing, inside
from stream.acquire.whereabouts import Goal, Whereabouts
from stream.command import AddPosition, Command
from stream.layout import Position
from stream.safety import LimitSettings

_BLIND = "no frame shows yet where the stage is, so nobody knows"


def outside(name: str, value: float | None, limits: tuple[float, float] | None, unit: str) -> str | None:
    """Say that a value is outside its limits; None when it is not."""
    if value is None or limits is None or limits[0] <= value <= limits[1]:
        return None
    return f"{name} {value:g} {unit} is outside the limits {limits[0]:g} to {limits[1]:g} {unit}"


class Travel:
    """Checks moves against ``[limits]``; every method returns what is wrong, or None.

    A position of the plan is more than a point: with it go its planes and its tiles.
    """

    def __init__(self, limits: LimitSettings, where: Whereabouts) -> None:
        self._limits = limits
        self._where = where

    def refuses(self, command: Command) -> str | None:
        """Say why the stage may not go where a command leads it. Raises Refused where nobody can tell."""
        goal = self._where.goal(command.action)
        if goal is None:
            return None
        return self._outside_box(goal) or self._too_long(goal) or self._leads_astray(command, goal)

    def stops(self, places: Sequence[Position]) -> str | None:
        """Say why the stage may not go from place to place, each before or after any place of the plan or beside it."""
        known, longest = self._where.leads_um(), self._limits.max_move_um
        for place in places:
            if wrong := self._outside_box(place):
                return wrong
            if longest is not None and all(math.dist(one, place) > longest for one in known):
                return f"{_said(place)} is farther than max_move_um = {longest:g} from every place of the plan"
        starts = self._where.everywhere_um()
        each_way = [self._astray(pair[:1], pair[1:]) for pair in pairwise(places)]
        return self._astray(starts, places) or self._astray(places, starts) or next(filter(None, each_way), None)

    def visits(self, visits: Visits) -> str | None:
        """Say what is wrong with where a plan leads: its positions with planes and tiles, and the ways between them.

        What nobody knows yet is not judged.
        """
        if visits.tiles_unknown and visits.at_um is not None and self._bound:
            return "it has tiles, and the driver does not say how large an image is (roi_px and affine_um)"
        leads = [visit.leads_um(visit.place_um) for visit in visits.planned]
        places = [place for visit in leads for place in visit]
        if visits.at_um is not None and not all(math.isfinite(value) for place in places for value in place):
            return "it leads to what is no place: a coordinate is no number"
        boxed = next(filter(None, map(self._outside_box, places)), None)
        start = [visits.at_um] if visits.at_um is not None else []
        return boxed or self._astray(places, places) or self._astray(start, [p for visit in leads[:1] for p in visit])

    def back(self, place_um: Position) -> str | None:
        """Say why the stage may not go to where a frame was taken, from anywhere in the plan, and back again."""
        at, there = self._where.everywhere_um(), [place_um]
        return self._outside_box((*place_um[:2], None)) or self._astray(at, there) or self._astray(there, at)

    @property
    def _bound(self) -> bool:
        """Whether x and y are limited."""
        return bool(self._limits.forbidden_um or self._limits.x_um or self._limits.y_um)

    def _outside_box(self, goal: Goal) -> str | None:
        limits = self._limits
        wrong = (
            outside(name, None if value is None or math.isnan(value) else value, box, "µm")
            for name, value, box in zip("xyz", goal, (limits.x_um, limits.y_um, limits.z_um), strict=True)
        )
        return next(filter(None, wrong), None)

    def _too_long(self, goal: Goal) -> str | None:
        longest, at = self._limits.max_move_um, self._where.at_um
        if longest is None:
            return None
        if at is None:
            return f"{_BLIND} how long the move would be"
        length_um = math.dist(at, _filled(goal, at))
        if length_um > longest:
            return f"a move of {length_um:.1f} µm is longer than max_move_um = {longest:g}"
        return None

    def _leads_astray(self, command: Command, goal: Goal) -> str | None:
        """Judge all places of a position's visit, when it lies where the command puts it."""
        where, led = self._where, _led(command, goal)
        if where.visits.tiles_unknown and self._bound:
            return "the plan has tiles, and nobody knows how large an image is"
        if where.origin_of(command) is None and self._needs_origin(led, goal):
            return f"{_BLIND} whether its way is free"
        leads = where.leads_to(command, goal)
        boxed = next(filter(None, (self._outside_box(_only(lead, led)) for lead in leads)), None)
        if boxed or not (led[0] or led[1]):
            return boxed
        return self._astray(where.everywhere_um(but=where.number(command)), leads)

    def _needs_origin(self, led: Sequence[bool], goal: Goal) -> bool:
        """Whether it matters where the axes stand that a command leaves open."""
        return bool(
            (self._limits.forbidden_um and (led[0] or led[1])) or (self._limits.z_um and led[2] and goal[2] is None)
        )

    def _astray(self, starts: Sequence[Position], goals: Sequence[Position]) -> str | None:
        """Say which goal is in a forbidden zone, or which way to one from any start crosses one."""
        begins, ends = _flat(starts), _flat(goals)
        for zone in self._limits.forbidden_um:
            for end in ends:
                if inside(end, zone):
                    return f"{_said(end)} is in the forbidden zone {zone}"
            if (way := crossing(begins, ends, zone)) is not None:
                return f"the way from {_said(way[0])} to {_said(way[1])} crosses the forbidden zone {zone}"
        return None


def _filled(goal: Goal, origin: Position) -> Position:
    x, y, z = (now if value is None else value for value, now in zip(goal, origin, strict=True))
    return (x, y, z)


def _led(command: Command, goal: Goal) -> tuple[bool, bool, bool]:
    """Say along which axes a command leads the stage: a new position has a focus, whether it is said or not."""
    x, y, z = (value is not None for value in goal)
    return x, y, z or isinstance(command.action, AddPosition)


def _only(place: Position, axes: Sequence[bool]) -> Goal:
    x, y, z = (value if led else None for value, led in zip(place, axes, strict=True))
    return (x, y, z)


def _flat(places: Iterable[Position]) -> list[tuple[float, float]]:
    """Return places in the plane, each once."""
    return list(dict.fromkeys(place[:2] for place in places))


def _said(place: Sequence[float]) -> str:
    return f"({place[0]:g}, {place[1]:g}) µm"
