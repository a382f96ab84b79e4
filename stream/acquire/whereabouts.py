"""Where the rig stands and what it looks at, by its own newest frames: what a move really leads to."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

import numpy as np

from stream.command import Acquire, Action, AddPosition, Command, MoveStage, Recentre, SetBinning, SetPixelType, SetRoi
from stream.errors import Refused
from stream.frame import Frame, is_aside
from stream.layout import Position, Size, image_um
from stream.protocol import positions_of
from stream.stages import Readback

Goal = tuple[float | None, float | None, float | None]
"""Where an axis shall go in µm; None: it stays."""


class Whereabouts:
    """Stage position, places of the plan and geometry of the image. Safe from several threads.

    A command that was applied counts before the first frame that shows it: its readback stands until that frame comes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: Frame | None = None
        self._places: dict[int, Position] = {}
        self._moved: tuple[str, Position] | None = None
        self._reshaped = ""
        self._exposures_ms: dict[str, float] = {}

    def took(self, frame: Frame) -> None:
        """See a frame."""
        with self._lock:
            self._newest = frame
            if not is_aside(frame.field):
                self._places[frame.index.p] = frame.stage_um
            if not is_aside(frame.field):
                self._exposures_ms[frame.channel] = frame.exposure_ms
            if self._moved and self._moved[0] in frame.commands:
                self._moved = None
            if self._reshaped in frame.commands:
                self._reshaped = ""

    def applied(self, command: Command, readback: Readback) -> None:
        """Note a command that no frame has shown yet."""
        stage_um = readback.values.get("stage_um")
        with self._lock:
            if isinstance(command.action, SetRoi | SetBinning | SetPixelType):
                self._reshaped = command.command_id
            elif stage_um is not None and len(stage_um) == 3:
                x, y, z = (float(v) for v in stage_um)
                self._moved = (command.command_id, (x, y, z))
                if command.target.position is not None:
                    self._places[command.target.position] = (x, y, z)

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
        """Return the places of the plan by their number, as they were last seen."""
        with self._lock:
            return dict(self._places)

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

    def _nearest(self, at_um: tuple[float, float]) -> Position | None:
        """Return the place of the plan that is nearest to a point."""
        return min(self.places().values(), key=lambda place: math.dist(place[:2], at_um), default=None)

    def origin(self, position: int | None) -> Position | None:
        """Return where the axes that a command leaves alone stand: at the plan's position, or where the stage is."""
        with self._lock:
            place = self._places.get(position) if position is not None else None
        return place or self.at_um
