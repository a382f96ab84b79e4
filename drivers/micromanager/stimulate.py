"""From a stimulation to light: its polygons are pixels of one frame, and hold only where that frame lay."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from drivers.micromanager.geometry import Roi
from drivers.micromanager.mode import Mode
from drivers.micromanager.modulator import Outline
from drivers.micromanager.rig import Rig
from stream.command import Command, Stimulate
from stream.errors import Refused
from stream.frame import Frame, FrameRef

_KEPT = 2048


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lay."""

    roi_px: Roi
    binning: int
    sensor_px: tuple[int, int]
    stage_um: tuple[float, float, float]


class Places:
    """Where the newest frames lay. Frames are noted by the thread that makes them, asked for by the core's owner."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, int, int], Place] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, frame: Frame) -> None:
        """Remember a frame."""
        place = Place(frame.roi_px, frame.binning, frame.sensor_px, frame.stage_um)
        with self._lock:
            self._places[frame.session, frame.epoch, frame.seq] = place
            if len(self._places) > _KEPT:
                self._places.popitem(last=False)

    def of(self, ref: FrameRef) -> Place:
        """Return where a frame lay. Raises Refused for one that was not taken here, or long ago."""
        with self._lock:
            place = self._places.get((ref.session, ref.epoch, ref.seq))
        if place is None:
            raise Refused(
                f"the mask is in pixels of frame {ref.frame} of {ref.field}, which is not known here any more"
            )
        return place


def stimulate(rig: Rig, mode: Mode, places: Places, action: Stimulate, command: Command) -> dict[str, object]:
    """Light the polygons; see :meth:`Modulator.shine` for what comes back.

    In MDA mode, where nothing is exposed meanwhile, the stage first goes where the frame lay, and back afterwards.

    Raises
    ------
    Refused
        No modulator, no polygon, or the image lies elsewhere than in the frame that the mask was drawn on.
    DriverError
        A device failed; the modulator was cleared.
    """
    if rig.modulator.lacking:
        raise Refused(rig.modulator.lacking)
    ref = command.cause.frame
    place = places.of(ref) if ref is not None else _present(rig)
    now = rig.camera.geometry()
    if (place.roi_px, place.binning, place.sensor_px) != (now.roi_px, now.binning, now.sensor_px):
        raise Refused(
            f"the mask was drawn on ROI {place.roi_px} at binning {place.binning}; the camera has {now.roi_px} at "
            f"{now.binning} by now"
        )
    outlines = [_on_sensor(polygon, place) for polygon in action.mask_yx_px]
    if not outlines:
        raise Refused("the mask has no polygon")
    home_um = rig.stage.read_um()
    there = rig.stage.reached((*place.stage_um[:2], home_um[2]), home_um)
    if not there and mode.name != "mda":
        raise Refused(f"the mask was drawn at {place.stage_um[:2]} µm; the stage is at {home_um[:2]} µm by now")
    try:
        if not there:
            rig.stage.move(*place.stage_um[:2], None)
        return rig.modulator.shine(outlines, action.duration_ms)
    finally:
        if not there:
            rig.stage.move(*home_um[:2], None)


def _present(rig: Rig) -> Place:
    now = rig.camera.geometry()
    return Place(now.roi_px, now.binning, now.sensor_px, rig.stage.read_um())


def _on_sensor(polygon: tuple[tuple[int, int], ...], place: Place) -> Outline:
    """Turn (y, x) of the image into (x, y) of the full sensor, not binned. Raises Refused outside the image."""
    points = np.array(polygon, np.float64).reshape(-1, 2)
    _, _, width, height = place.roi_px
    if len(points) < 3:
        raise Refused(f"a polygon has at least 3 vertices, not {len(points)}")
    if points.min() < 0 or points[:, 0].max() >= height or points[:, 1].max() >= width:
        raise Refused(f"the mask lies outside the image of {width} x {height} pixels")
    corner = np.array(place.roi_px[:2], np.float64)
    outline: Outline = (points[:, ::-1] + corner + 0.5) * place.binning - 0.5
    return outline
