"""What feedback may touch: every kind of command against the limits and against what the rig can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.command import ACTION_KINDS, ALWAYS_ALLOWED, NEVER_ASKED
from stream.config import Configuration
from stream.safety import LimitSettings

MOVES = ("move_stage", "recentre", "add_position", "acquire")
"""Kinds that may take the stage elsewhere."""
NO_POWER = "the light has no power setting; name one in [camera.options] light_property"


def table(config: Configuration, camera: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return for each kind of command ``may`` (``yes``, ``with an operator's word``, ``no``), ``why`` not, ``within``.

    Parameters
    ----------
    camera
        What the driver says of itself; None where it could not be asked.
    """
    return {kind: _row(kind, config, camera) for kind in ACTION_KINDS}


def _row(kind: str, config: Configuration, camera: Mapping[str, Any] | None) -> dict[str, Any]:
    limits = config.limits
    why = _forbidden(kind, limits) or _refused(kind, config, camera)
    may = "no" if why else "yes"
    asked = kind in limits.approve or ("all" in limits.approve and kind not in NEVER_ASKED)
    if not why and asked:
        may = "with an operator's word"
    bounds = _bounds(kind, limits) if kind != "set_light" or dims(camera) else ["the shutter alone: " + NO_POWER]
    return {"may": may, "why": why, "within": [] if why else [*bounds, *_pace(kind, limits)]}


def dims(camera: Mapping[str, Any] | None) -> bool:
    """Whether the light's power can be set, as far as is known."""
    light = (camera or {}).get("light")
    return not light or bool(light.get("power"))


def _forbidden(kind: str, limits: LimitSettings) -> str:
    allowed = limits.allow is None or kind in limits.allow or kind in ALWAYS_ALLOWED
    return "" if allowed else "[limits] allow does not name it"


def _refused(kind: str, config: Configuration, camera: Mapping[str, Any] | None) -> str:
    if camera is None:
        return ""
    if why := camera.get("refused", {}).get(kind):
        return f"the rig: {why}"
    if kind not in camera.get("commands", ACTION_KINDS):
        return "the rig does not take it"
    pace = str(camera.get("interval", {}).get(config.plan.mode, ""))
    if kind == "set_interval" and pace.startswith("the camera's own"):
        return f"the rig: {pace}"
    return ""


def _bounds(kind: str, limits: LimitSettings) -> list[str]:
    """Return what the limits say of the values of a kind."""
    spans: dict[str, list[tuple[str, tuple[float, float] | None, str]]] = {
        "set_exposure": [("", limits.exposure_ms, "ms")],
        "set_interval": [("", limits.interval_ms, "ms")],
        "set_light": [("", limits.light_power, "of full power")],
        "stimulate": [("", limits.stimulate_ms, "ms")],
    }
    if kind in MOVES:
        spans[kind] = [("x ", limits.x_um, "µm"), ("y ", limits.y_um, "µm"), ("z ", limits.z_um, "µm")]
    said = [f"{name}{span[0]:g} to {span[1]:g} {unit}" for name, span, unit in spans.get(kind, ()) if span is not None]
    if kind in MOVES:
        said += [f"not x {a:g} to {b:g}, y {c:g} to {d:g} µm" for a, b, c, d in limits.forbidden_um]
    if kind in ("move_stage", "recentre") and limits.max_move_um is not None:
        said.append(f"steps up to {limits.max_move_um:g} µm")
    if kind == "add_position":
        said.append(f"up to {limits.max_positions} positions")
    if kind == "acquire":
        said.append(f"up to {limits.max_frames} frames and {limits.max_acquire_ms / 1e3:g} s")
        if limits.max_acquire_light_ms is not None:
            said.append(f"{limits.max_acquire_light_ms:g} ms at full power")
    return said


def _pace(kind: str, limits: LimitSettings) -> list[str]:
    said = []
    if kind in limits.rates_per_s:
        rate = limits.rates_per_s[kind]
        said.append(f"{rate:g} a second" if rate >= 1 else f"one in {1 / rate:g} s")
    if kind in limits.cooldown_s:
        said.append(f"{limits.cooldown_s[kind]:g} s between two")
    return said
