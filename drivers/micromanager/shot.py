"""MDA mode: from an image to what the hardware really did for it.

The default engine only logs a setting that failed, and its metadata repeat the event as it was asked: what a frame says
of itself is therefore read back here, and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from useq import MDAEvent

from drivers.micromanager.course import Position
from drivers.micromanager.event_runner import Arrival
from drivers.micromanager.programme import Asked
from drivers.micromanager.rig import Rig
from drivers.micromanager.timeline import State


@dataclass(slots=True)
class Flight:
    """What the engine is at: one shot, or several that the hardware takes in one go.

    ``given_up``: its frames were reported missing, and must not come any more. ``sequenced`` names the axes that the
    hardware steps through by itself.
    """

    asked: tuple[Asked, ...]
    due_ns: int
    issued_ns: int
    deadline_ns: int
    sequenced: frozenset[str] = frozenset()
    given_up: bool = False

    @property
    def late_ms(self) -> float:
        """How long after it was due it was begun."""
        return (self.issued_ns - self.due_ns) / 1e6


def read_back(asked: Asked, flight: Flight, arrival: Arrival, rig: Rig, channel: str) -> tuple[State, dict[str, Any]]:
    """Return what the hardware was set to for this image, and what of it was asked otherwise.

    The engine read position and exposure from the hardware right after the snap. ``channel`` is the one last read
    back; where the shot asks for one, it is read again (several devices answer for a channel, so never needlessly).
    In a sequence nothing can be read for one image: what stands still is read at its end, what steps is as asked.
    """
    stage_um = _stood_um(asked, flight, arrival, rig)
    exposure_ms = asked.exposure_ms if "exposure" in flight.sequenced else float(arrival.metadata["exposure_ms"])
    if asked.channel:
        channel = asked.channel if "channel" in flight.sequenced else rig.channels.current
    state = State(stage_um, exposure_ms, channel)
    return state, _mismatches(asked, state, rig)


def _stood_um(asked: Asked, flight: Flight, arrival: Arrival, rig: Rig) -> Position:
    place = arrival.metadata.get("position")
    if place is not None:
        return (float(place.get("x", 0.0)) + 0.0, float(place.get("y", 0.0)) + 0.0, float(place.get("z", 0.0)) + 0.0)
    x, y, z = (
        float(wanted) if axis in flight.sequenced and wanted is not None else actual
        for axis, wanted, actual in zip("xyz", asked.place_um, rig.stage.read_um(), strict=True)
    )
    return x, y, z


def _mismatches(asked: Asked, state: State, rig: Rig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    wanted_um = _wanted_um(asked, state, rig)
    if not rig.stage.reached(wanted_um, state.stage_um):
        found["stage_um"] = {"asked": wanted_um, "actual": state.stage_um}
    if asked.channel and state.channel != asked.channel:
        found["channel"] = {"asked": asked.channel, "actual": state.channel}
    if not rig.camera.exposed(asked.exposure_ms, state.exposure_ms):
        found["exposure_ms"] = {"asked": asked.exposure_ms, "actual": state.exposure_ms}
    return found


def _wanted_um(asked: Asked, state: State, rig: Rig) -> Position:
    """Return where the stage should stand: an axis that is not asked, or not there, stands right."""
    present = (bool(rig.stage.xy_label), bool(rig.stage.xy_label), bool(rig.stage.z_label))
    corrected_um = rig.autofocus.correction_um(asked.shot.index.p)
    x, y, z = (
        actual if wanted is None or not there else wanted + by
        for wanted, actual, there, by in zip(
            asked.place_um, state.stage_um, present, (0.0, 0.0, corrected_um), strict=True
        )
    )
    return x, y, z


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return FrameMetaV1 as data that a wire can carry: its event is a model."""
    data = dict(metadata)
    event = data.get("mda_event")
    if isinstance(event, MDAEvent):
        data["mda_event"] = event.model_dump(mode="json", exclude_defaults=True)
    if "property_values" in data:
        data["property_values"] = [dict(value) for value in data["property_values"]]
    return data
