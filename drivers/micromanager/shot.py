"""MDA mode: from a shot to the event that is asked of the engine, and from its image to what the hardware really did.

The default engine only logs a setting that failed, and its metadata repeat the event as it was asked: what a frame says
of itself is therefore read back here, and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from useq import MDAEvent

from drivers.micromanager.event_runner import Arrival
from drivers.micromanager.rig import Rig
from drivers.micromanager.timeline import State
from drivers.micromanager.timetable import Position, Shot


@dataclass(slots=True)
class Flight:
    """A shot that is being taken; ``given_up``: its frame was reported missing, and must not come any more."""

    shot: Shot
    exposure_ms: float
    deadline_ns: int
    given_up: bool = False


def event_of(flight: Flight, rig: Rig) -> MDAEvent:
    """Return what the engine is asked to do."""
    shot = flight.shot
    index = {"t": shot.index.t, "p": shot.index.p, "c": shot.index.c}
    asked: dict[str, Any] = {"index": index, "exposure": flight.exposure_ms}
    if shot.channel:
        asked["channel"] = {"config": shot.channel, "group": rig.channels.group}
    if shot.place_um is not None:
        asked |= {"x_pos": shot.place_um[0], "y_pos": shot.place_um[1]}
        if rig.stage.z_label:
            asked["z_pos"] = shot.place_um[2]
    return MDAEvent.model_validate(asked)


def read_back(flight: Flight, arrival: Arrival, rig: Rig, channel: str) -> tuple[State, dict[str, Any]]:
    """Return what the hardware was set to for this image, and what of it was asked otherwise.

    The engine read position and exposure from the hardware right after the snap. ``channel`` is the one last read
    back; where the shot asks for one, it is read again (several devices answer for a channel, so never needlessly).
    """
    place = arrival.metadata.get("position", {})
    stage_um = (float(place.get("x", 0.0)) + 0.0, float(place.get("y", 0.0)) + 0.0, float(place.get("z", 0.0)) + 0.0)
    exposure_ms = float(arrival.metadata.get("exposure_ms", 0.0))
    if flight.shot.channel:
        channel = rig.channels.current
    state = State(stage_um, exposure_ms, channel)
    return state, _mismatches(flight, state, rig)


def _mismatches(flight: Flight, state: State, rig: Rig) -> dict[str, Any]:
    shot = flight.shot
    found: dict[str, Any] = {}
    if shot.place_um is not None and not rig.stage.reached(_asked_um(shot.place_um, state, rig), state.stage_um):
        found["stage_um"] = {"asked": shot.place_um, "actual": state.stage_um}
    if shot.channel and state.channel != shot.channel:
        found["channel"] = {"asked": shot.channel, "actual": state.channel}
    if not rig.camera.exposed(flight.exposure_ms, state.exposure_ms):
        found["exposure_ms"] = {"asked": flight.exposure_ms, "actual": state.exposure_ms}
    return found


def _asked_um(place_um: Position, state: State, rig: Rig) -> Position:
    return place_um if rig.stage.z_label else (*place_um[:2], state.stage_um[2])


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return FrameMetaV1 as data that a wire can carry: its event is a model."""
    data = dict(metadata)
    event = data.get("mda_event")
    if isinstance(event, MDAEvent):
        data["mda_event"] = event.model_dump(mode="json", exclude_defaults=True)
    if "property_values" in data:
        data["property_values"] = [dict(value) for value in data["property_values"]]
    return data
