"""Where the rig stands and what it looks at, by its own newest frames: what a move really leads to."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stream.acquire.visits import Visits
from stream.command import (
    Acquire,
    Action,
    AddPosition,
    Command,
    DropPosition,
    MoveStage,
    Recentre,
    SetBinning,
    SetPixelType,
    SetRoi,
)
from stream.config import PlanSettings
from stream.errors import Refused
from stream.frame import Frame, is_aside
from stream.layout import Position, Size, image_um
from stream.protocol import positions_of
from stream.stages import Readback

Goal = tuple[float | None, float | None, float | None]
"""Where an axis shall go in µm; None: it stays."""
UNKNOWN_UM = (math.nan, math.nan, math.nan)


class Whereabouts:
    """Stage position, places of the plan and geometry of the image. Safe from several threads.

    A command that was applied counts before the first frame that shows it: its readback stands until that frame comes.
    The driver goes back to the places that a plan states and that commands set; frames tell the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.visits = Visits(PlanSettings())
        """Where the plan's visits lead."""
        self._stated: set[int] = set()
        self._dropped: set[int] = set()
        self._beside: list[tuple[Callable[[], bool], tuple[Position, ...]]] = []
        self._newest: Frame | None = None
        self._places: dict[int, Position] = {}
        self._moved: tuple[str, Position] | None = None
        self._reshaped = ""
        self._exposures_ms: dict[str, float] = {}

    def plan(self, visits: Visits) -> None:
        """Take the places of a plan as known from now on."""
        with self._lock:
            self.visits = visits
            self._places |= visits.places_um()
            self._stated = set(visits.places_um())

    def took(self, frame: Frame) -> None:
        """See a frame."""
        with self._lock:
            self._newest = frame
            if self._moved and self._moved[0] in frame.commands:
                self._moved = None
            if self._reshaped in frame.commands:
                self._reshaped = ""
            if is_aside(frame.field):
                return
            self._exposures_ms[frame.channel] = frame.exposure_ms
            if frame.index.p not in self._stated and self._moved is None:
                self._places[frame.index.p] = self.visits.seen_um(frame)

    def applied(self, command: Command, readback: Readback) -> None:
        """Note a command that no frame has shown yet."""
        stage_um = _place(readback.values.get("stage_um"))
        with self._lock:
            if isinstance(command.action, SetRoi | SetBinning | SetPixelType):
                self._reshaped = command.command_id
            elif stage_um is not None:
                self._moved = (command.command_id, stage_um)

    def placed(self, command: Command, readback: Readback) -> None:
        """Note where the plan has a position since a command was applied, whether a frame has shown it or not."""
        action, values = command.action, readback.values
        place_um = _place(values.get("position_um", values.get("stage_um")))
        if isinstance(action, AddPosition) and place_um is None:
            place_um = self._asked(command, action)
        with self._lock:
            number = self._number(values.get("position", command.target.position))
            if number is None:
                return
            if isinstance(action, DropPosition):
                self._dropped.add(number)
            elif isinstance(action, MoveStage | Recentre | AddPosition) and place_um is not None:
                self._places[number] = place_um
                self._dropped.discard(number)
                self._stated |= {number} if isinstance(action, AddPosition) else set()

    @property
    def newest(self) -> Frame | None:
        """The newest frame."""
        return self._newest

    @property
    def exposure_ms(self) -> float:
        """The longest exposure of the plan's channels: what a frame gets that names none, at most."""
        with self._lock:
            return max(self._exposures_ms.values(), default=0.0)

    @property
    def at_um(self) -> Position | None:
        """Where the stage stands; None before the first frame."""
        with self._lock:
            if self._moved:
                return self._moved[1]
            return self._newest.stage_um if self._newest else None

    def places(self) -> Mapping[int, Position]:
        """Return the places of the plan by their number: where the driver goes back to, or was last seen."""
        with self._lock:
            return dict(self._places)

    def beside(self, pending: Callable[[], bool], stops_um: Sequence[Position]) -> None:
        """Note where a sequence beside the plan leads for as long as it is pending."""
        with self._lock:
            self._beside = [(waits, stops) for waits, stops in self._beside if waits()]
            self._beside.append((pending, tuple(stops_um)))

    def everywhere_um(self, but: int | None = None) -> list[Position]:
        """Return where the stage may be when its next move begins: in the plan ``but`` one position, or beside it."""
        with self._lock:
            beside = [stop for waits, stops in self._beside if waits() for stop in stops]
        return [*self.leads_um(but), *beside]

    def leads_um(self, but: int | None = None) -> list[Position]:
        """Return everywhere that the plan leads now: planes and tiles of all positions ``but`` one, and the stage."""
        at, visits = self.at_um, self.visits
        leads = [at] if at is not None else []
        for position, place in self.places().items():
            leads += visits.of(position).leads_um(place) if position != but else ()
        return leads

    def leads_to(self, command: Command, goal: Goal) -> tuple[Position, ...]:
        """Return where a goal leads: for a position of the plan to all its planes and tiles; NaN where nobody knows."""
        origin = self.origin_of(command) or UNKNOWN_UM
        x, y, z = (now if value is None else value for value, now in zip(goal, origin, strict=True))
        if isinstance(command.action, Acquire):
            return ((x, y, z),)
        return self.visits.of(self.number(command)).leads_um((x, y, z))

    def number(self, command: Command) -> int | None:
        """Return which position of the plan a command moves or brings back; None: a new one, or nobody knows."""
        position = command.target.position
        with self._lock:
            if isinstance(command.action, AddPosition):
                return position if position in self._dropped else None
            return self._number(position)

    def stage_for(self, target_um: tuple[float, float]) -> tuple[float, float]:
        """Return the stage position (x, y) in µm that brings ``target_um`` to the middle of the image.

        Raises
        ------
        Refused
            No frame has shown yet how the image lies.
        """
        with self._lock:
            frame, reshaped = self._newest, self._reshaped
        if frame is None or reshaped:
            raise Refused("no frame shows yet how the image lies under the stage; ask again after the next one")
        height, width = frame.pixels.shape
        middle = frame.to_stage_um(np.array([[(height - 1) / 2, (width - 1) / 2]]))[0]
        return (
            float(target_um[0] - middle[0] + frame.stage_um[0]),
            float(target_um[1] - middle[1] + frame.stage_um[1]),
        )

    def fov_um(self) -> Size:
        """Return width and height of the image under the stage. Raises Refused where no frame has shown them yet."""
        with self._lock:
            frame, reshaped = self._newest, self._reshaped
        if frame is None or reshaped:
            raise Refused("no frame shows yet how large the image is under the stage; ask again after the next one")
        return image_um(*frame.roi_px[2:], frame.affine_um)

    def goal(self, action: Action) -> Goal | None:
        """Return where the stage goes for an action; None: it does not move. Raises Refused."""
        match action:
            case MoveStage():
                return action.x_um, action.y_um, action.z_um
            case AddPosition():
                return action.x_um, action.y_um, action.z_um
            case Recentre():
                return (*self.stage_for(action.target_um), None)
            case Acquire(at_um=(x, y)):
                return (*self.stage_for((x, y)), None)
        return None

    def base(self, command: Command) -> Position | None:
        """Return the place of what an ``acquire`` leaves open, as the driver sees it; None before the first frame.

        That is the target's position, or the nearest one; with ``at_um``, its focus. Raises Refused.
        """
        action, position = command.action, command.target.position
        assert isinstance(action, Acquire)
        stops, origin = positions_of(action.sequence), self.origin(position)
        if stops:
            return self._nearest((stops[0].x or 0.0, stops[0].y or 0.0)) or origin
        if action.at_um is None or origin is None:
            return origin
        nearest = None if position is not None else self._nearest(action.at_um)
        return (*self.stage_for(action.at_um), (nearest or origin)[2])

    def origin_of(self, command: Command) -> Position | None:
        """Return where the axes come from that a command leaves open; a new position has the focus of the nearest."""
        action, position = command.action, command.target.position
        known = self.places().get(position) if position is not None else None
        if known is None and isinstance(action, AddPosition):
            known = self._nearest((action.x_um, action.y_um))
        return known or self.origin(position)

    def _nearest(self, at_um: tuple[float, float]) -> Position | None:
        """Return the place that is nearest to a point, of those that the plan visits."""
        with self._lock:
            visited = [place for number, place in self._places.items() if number not in self._dropped]
        return min(visited, key=lambda place: math.dist(place[:2], at_um), default=None)

    def origin(self, position: int | None) -> Position | None:
        """Return where the axes that a command leaves alone stand: at the plan's position, or where the stage is."""
        with self._lock:
            number = self._number(position)
            place = self._places.get(number) if number is not None else None
        return place or self.at_um

    def _asked(self, command: Command, action: AddPosition) -> Position | None:
        origin = self.origin_of(command)
        z_um = action.z_um if action.z_um is not None or origin is None else origin[2]
        return None if z_um is None else (action.x_um, action.y_um, z_um)

    def _number(self, position: int | None) -> int | None:
        """Return a position's number; without one that of the only position that is visited."""
        visited = [number for number in self._places if number not in self._dropped]
        return visited[0] if position is None and len(visited) == 1 else position


def _place(values: Any) -> Position | None:
    return (float(values[0]), float(values[1]), float(values[2])) if values is not None and len(values) == 3 else None
