"""Where the stage may go: travel boxes and forbidden zones, for the goal and the straight way to it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations

from stream.acquire.whereabouts import Goal, Whereabouts
from stream.command import AddPosition, Command
from stream.config import Box, LimitSettings, PlanSettings
from stream.layout import Position

XY = tuple[float, float]


def crosses(start: XY, goal: XY, zone: Box) -> bool:
    """Whether the straight way from ``start`` to ``goal`` touches the rectangle (Liang and Barsky, 1984).

    >>> crosses((0.0, 0.0), (10.0, 0.0), (4.0, 6.0, -1.0, 1.0))
    True
    >>> crosses((0.0, 0.0), (10.0, 0.0), (4.0, 6.0, 1.0, 2.0))
    False
    """
    enter, leave = 0.0, 1.0
    for begin, end, low, high in ((start[0], goal[0], *zone[:2]), (start[1], goal[1], *zone[2:])):
        step = end - begin
        if step == 0.0:
            if not low <= begin <= high:
                return False
            continue
        near, far = sorted(((low - begin) / step, (high - begin) / step))
        enter, leave = max(enter, near), min(leave, far)
    return enter <= leave


def inside(point: XY, zone: Box) -> bool:
    """Whether a point lies in the rectangle or on its edge."""
    return zone[0] <= point[0] <= zone[1] and zone[2] <= point[1] <= zone[3]


def outside(name: str, value: float | None, limits: tuple[float, float] | None, unit: str) -> str | None:
    """Say that a value is outside its limits; None when it is not."""
    if value is None or limits is None or limits[0] <= value <= limits[1]:
        return None
    return f"{name} {value:g} {unit} is outside the limits {limits[0]:g} to {limits[1]:g} {unit}"


class Travel:
    """Checks moves against ``[limits]``; every method returns what is wrong, or None."""

    def __init__(self, limits: LimitSettings, where: Whereabouts) -> None:
        self._limits = limits
        self._where = where

    def refuses(self, command: Command) -> str | None:
        """Say why the stage may not go where a command leads it. Raises Refused where nobody can tell."""
        goal = self._where.goal(command.action)
        if goal is None:
            return None
        origin = self._where.origin(command.target.position)
        return self._outside_box(goal) or self._too_long(goal) or self._forbidden(command, goal, origin)

    def stops(self, places: Iterable[Position]) -> str | None:
        """Say why the stage may not go from place to place, beginning where it stands."""
        at = self._where.at_um
        way: list[Position] = [at] if at is not None else []
        for place in places:
            wrong = self._outside_box(place) or (self._zone_on_way(way[-1], place) if way else self._in_zone(place))
            if wrong:
                return wrong
            way.append(place)
        return self._zone_on_way(way[-1], at) if at is not None and len(way) > 1 else None

    def plan(self, plan: PlanSettings) -> str | None:
        """Say what is wrong with the positions of a plan: where they are, and the ways between them."""
        places = plan.positions_um
        for place in places:
            if wrong := self._outside_box(place) or self._in_zone(place):
                return wrong
        return next((w for a, b in combinations(places, 2) if (w := self._zone_on_way(a, b))), None)

    def _outside_box(self, goal: Goal) -> str | None:
        limits = self._limits
        wrong = (
            outside(name, value, box, "µm")
            for name, value, box in zip("xyz", goal, (limits.x_um, limits.y_um, limits.z_um), strict=True)
        )
        return next(filter(None, wrong), None)

    def _too_long(self, goal: Goal) -> str | None:
        longest, at = self._limits.max_move_um, self._where.at_um
        if longest is None:
            return None
        if at is None:
            return "no frame shows yet where the stage is, so nobody knows how long the move would be"
        length_um = math.dist(at, _filled(goal, at))
        if length_um > longest:
            return f"a move of {length_um:.1f} µm is longer than max_move_um = {longest:g}"
        return None

    def _forbidden(self, command: Command, goal: Goal, origin: Position | None) -> str | None:
        if not self._limits.forbidden_um or (goal[0] is None and goal[1] is None):
            return None
        at = self._where.at_um
        if at is None or origin is None:
            return "no frame shows yet where the stage is, so nobody knows whether its way is free"
        end = _filled(goal, origin)
        # A place of the plan is visited from every other one, and the plan moves on while a command waits its turn.
        places = self._where.places()
        moved = None if isinstance(command.action, AddPosition) else command.target.position
        starts = [at, *(place for p, place in places.items() if p != moved)]
        return next(filter(None, (self._zone_on_way(start, end) for start in starts)), None)

    def _in_zone(self, place: Position) -> str | None:
        zone = next((zone for zone in self._limits.forbidden_um if inside(place[:2], zone)), None)
        return f"({place[0]:g}, {place[1]:g}) µm is in the forbidden zone {zone}" if zone else None

    def _zone_on_way(self, start: Position, end: Position) -> str | None:
        if wrong := self._in_zone(end):
            return wrong
        for zone in self._limits.forbidden_um:
            # Out of a zone, where somebody drove it by hand, the stage may always go.
            if not inside(start[:2], zone) and crosses(start[:2], end[:2], zone):
                return f"the way to ({end[0]:g}, {end[1]:g}) µm crosses the forbidden zone {zone}"
        return None


def _filled(goal: Goal, origin: Position) -> Position:
    x, y, z = (now if value is None else value for value, now in zip(goal, origin, strict=True))
    return (x, y, z)
