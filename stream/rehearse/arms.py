"""The arms of a rehearsal: one configuration with its policies, without them, and as a steady plan of the same dose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.config import Configuration, PlanSettings
from stream.errors import ConfigError
from stream.settings import parse

ARMS = ("policy", "without", "fixed")
"""With the policies; the plan alone; the plan alone at the interval that spends the light of the first."""
_VIRTUAL_ONLY = "virtual"


def on_the_virtual_microscope(config: Configuration) -> tuple[Configuration, list[str]]:
    """Return the configuration for the virtual microscope, and in words what was changed for that.

    Plan, limits, dose, chain and policies stay. What ``[rehearse] options`` says of the specimen and the optics goes
    over the camera's own options, which hold only where they were the virtual microscope's already.

    Raises
    ------
    ConfigError
        ``[rehearse] options`` says something that the virtual microscope does not know.
    """
    from drivers.virtual.options import VirtualOptions

    options, changes = dict(config.camera.options), []
    if config.camera.driver != _VIRTUAL_ONLY:
        changes.append(f"[camera] driver '{config.camera.driver}' is rehearsed on the virtual microscope")
        if options:
            changes.append(f"[camera.options] left out: {', '.join(sorted(options))}")
        options = {}
    options |= config.rehearse.options
    camera = config.camera.model_copy(update={"driver": _VIRTUAL_ONLY, "options": options})
    moved = config.model_copy(update={"camera": camera})
    if config.camera.driver != _VIRTUAL_ONLY and config.plan.channels:
        moved, said = _channels_renamed(moved, options)
        changes.append(said)
    half_um = [side / 2 for side in parse(VirtualOptions, options, "[rehearse] options").specimen_um]
    lost = [(x, y) for x, y, _ in config.plan.positions_um if abs(x) > half_um[0] or abs(y) > half_um[1]]
    if lost:
        changes.append(
            f"[plan] positions where the virtual specimen (± {half_um[0]:.0f} x {half_um[1]:.0f} µm) ends: {lost}"
        )
    return moved, changes


def arm(config: Configuration, name: str, seed: int, out: Path, interval_ms: float | None = None) -> Configuration:
    """Return the configuration of one arm.

    Parameters
    ----------
    name
        One of :data:`ARMS`.
    seed
        Of the specimen and the camera's noise: the same cells live in every arm.
    out
        Where its run folder goes.
    interval_ms
        In place of the plan's (the ``fixed`` arm).
    """
    update: dict[str, Any] = {
        "camera": config.camera.model_copy(update={"options": {**config.camera.options, "seed": seed}}),
        "run": config.run.model_copy(update={"name": f"{name}-{seed}", "out": out, "seed": seed}),
    }
    if name != "policy":
        update["feedback"] = config.feedback.model_copy(update={"policies": ()})
    if interval_ms is not None:
        update["plan"] = _paced(config.plan, interval_ms)
    return config.model_copy(update=update)


def _paced(plan: PlanSettings, interval_ms: float) -> PlanSettings:
    """Return the plan at a steady interval; a protocol lasts as long as before, at least."""
    if plan.protocol is None:
        return plan.model_copy(update={"interval_ms": interval_ms})
    loops = math.ceil((plan.frames or 1) * plan.interval_ms / interval_ms) + 1
    protocol = plan.protocol.replace(time_plan={"interval": interval_ms / 1e3, "loops": loops})
    return plan.model_copy(update={"interval_ms": interval_ms, "frames": loops, "protocol": protocol})


def interval_of_same_dose(policy: Mapping[str, Any], without: Mapping[str, Any], seconds: float) -> float:
    """Return the steady interval (ms) at which the plan spends in ``seconds`` the light that the policies spent.

    What a time point of the plan costs is taken from the run without policies.

    Raises
    ------
    ConfigError
        No light was spent: there is no such interval.
    """
    if not (policy["light_ms"] and without["light_ms"] and without["points"]):
        raise ConfigError("a run spent no light: there is no steady plan of the same dose")
    points = policy["light_ms"] / (without["light_ms"] / without["points"])
    return float(seconds * 1e3 / points)


def _channels_renamed(config: Configuration, options: Mapping[str, Any]) -> tuple[Configuration, str]:
    """Let the plan's channels be those of the virtual microscope, in order, in the plan and in the chain."""
    from drivers.virtual.options import VirtualOptions

    known = parse(VirtualOptions, options, "[rehearse] options").channel_names
    new = dict(zip(config.plan.channels, known, strict=False))
    chain = config.chain.model_copy(
        update={
            "segment_channel": new.get(config.chain.segment_channel, ""),
            "measure_channels": tuple(new[name] for name in config.chain.measure_channels if name in new),
        }
    )
    plan = config.plan.model_copy(update={"channels": tuple(new.values())})
    said = ", ".join(f"{name} as {new.get(name, 'nothing')}" for name in config.plan.channels)
    return config.model_copy(update={"chain": chain, "plan": plan}), f"[plan] channels: {said}"
