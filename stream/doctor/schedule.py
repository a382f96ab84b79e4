"""What the plan takes: positions, channels, how long, how many frames, and the light that it costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from useq import MDAEvent, MDASequence

from stream.acquire.meter import stays_open
from stream.config import Configuration, PlanSettings

MOST_EVENTS = 200_000
"""Events of a protocol that are counted one by one; a longer one is said to be longer."""
_J_PER_CM2 = 0.1
"""A second of 1 mW/mm² in J/cm²."""
_HOUR_S = 3600.0


def describe(config: Configuration, camera: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``positions``, ``channels``, ``frames``, ``duration_s`` and ``light``, of the field that gets most.

    ``light`` says ``full_power_s`` (seconds of exposure times power) of the whole plan, or ``per_hour`` where it has no
    end, ``j_per_cm2`` where the light is calibrated, and what part of a budget that is or when the budget is reached.
    """
    plan = config.plan
    open_between = stays_open(config, None if camera is None else camera.get("light", {}))
    shape = _protocol(plan.protocol, plan, open_between) if plan.protocol is not None else _simple(plan, open_between)
    lit_ms, endless = shape.pop("cost")
    return {
        "mode": plan.mode,
        "protocol": plan.protocol is not None,
        **shape,
        "exposure_ms": plan.exposure_ms,
        "interval_ms": plan.interval_ms,
        "light_power": plan.light_power,
        "light": _light(config, lit_ms, endless, shape.get("duration_s"))
        | ({"shutter": "counted as open between frames too"} if open_between else {}),
    }


def dose(config: Configuration) -> dict[str, Any]:
    """Return the calibration and the budgets."""
    calibrated = config.dose.mw_per_mm2 is not None
    said = "calibrated" if calibrated else "unit not calibrated: set [dose] mw_per_mm2"
    return {"unit": said, **config.dose.model_dump(exclude_none=True)}


def _simple(plan: PlanSettings, open_between: bool) -> dict[str, Any]:
    channels = max(1, len(plan.channels))
    frames = plan.frames
    taken_ms = max(plan.interval_ms, plan.exposure_ms * channels * max(1, len(plan.positions_um)))
    points = frames if frames is not None else _HOUR_S * 1e3 / taken_ms
    lit_ms = points * (taken_ms if open_between else plan.exposure_ms * channels)
    return {
        "positions": len(plan.positions_um) or "where the stage is",
        "channels": list(plan.channels) or "as it is",
        "frames": frames if frames is not None else "until stopped",
        "duration_s": None if frames is None else round(frames * taken_ms / 1e3, 3),
        "cost": (lit_ms, frames is None),
    }


def _protocol(sequence: MDASequence, plan: PlanSettings, open_between: bool) -> dict[str, Any]:
    lit_ms: dict[tuple[int, int], float] = defaultdict(float)
    count, last_s = 0, 0.0
    for event in _events(sequence):
        exposure_ms = event.exposure if event.exposure is not None else plan.exposure_ms
        lit_ms[event.index.get("p", 0), event.index.get("g", 0)] += exposure_ms
        count, last_s = count + 1, max(last_s, event.min_start_time or 0.0)
    longer = count == MOST_EVENTS
    exposed_ms = max(lit_ms.values(), default=0.0)
    return {
        "positions": len({p for p, _ in lit_ms}) or 1,
        "tiles": len({g for _, g in lit_ms}) or 1,
        "channels": [channel.config for channel in sequence.channels] or "as it is",
        "frames": f"more than {count}" if longer else count,
        "duration_s": round(last_s, 3),
        "cost": (max(exposed_ms, last_s * 1e3) if open_between else exposed_ms, False),
    }


def _events(sequence: MDASequence) -> Iterator[MDAEvent]:
    return islice(iter(sequence), MOST_EVENTS)


def _light(config: Configuration, lit_ms: float, endless: bool, duration_s: float | None) -> dict[str, Any]:
    power = config.plan.light_power
    spent_s = lit_ms / 1e3 * (1.0 if power is None else power)
    light: dict[str, Any] = {"per": "hour" if endless else "plan", "full_power_s": round(spent_s, 4)}
    if power is None:
        light["power"] = "unknown: counted as full"
    if config.dose.mw_per_mm2 is not None:
        light["j_per_cm2"] = round(spent_s * config.dose.mw_per_mm2 * _J_PER_CM2, 4)
    if (budget_s := budget_full_power_s(config)) is not None and spent_s > 0:
        light["of_the_budget"] = round(spent_s / budget_s, 4)
        span_s = _HOUR_S if endless else duration_s
        if spent_s > budget_s and span_s:
            light["spent_after_s"] = round(span_s * budget_s / spent_s, 1)
        elif endless:
            light["spent_after_s"] = round(_HOUR_S * budget_s / spent_s, 1)
    return light


def budget_full_power_s(config: Configuration) -> float | None:
    """Return the budget of a field in seconds at full power, the smaller of both kinds; None: there is none."""
    dose = config.dose
    ways = [dose.budget_full_power_s]
    if dose.budget_j_per_cm2 is not None and dose.mw_per_mm2 is not None:
        ways.append(dose.budget_j_per_cm2 / (dose.mw_per_mm2 * _J_PER_CM2))
    known = [way for way in ways if way is not None]
    return min(known) if known else None
