"""Light budgets: their levels, their units, and what feedback may not do while the rig itself spares the light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from stream.command import Action, Command, SetExposure, SetInterval, SetLight
from stream.safety import DoseSettings

_J_PER_CM2 = 1e-4
"""One µJ/mm² in J/cm²."""


class Level(IntEnum):
    """How far a field is through its budget."""

    FREE = 0
    WARN = 1
    THROTTLE = 2
    SPENT = 3


class Budget:
    """The levels of ``[dose]`` in ms at full power, and light in the units that people use."""

    def __init__(self, settings: DoseSettings) -> None:
        self._settings = settings
        self._levels_ms = {
            Level.WARN: _in_ms(settings, settings.warn_full_power_s, settings.warn_j_per_cm2),
            Level.THROTTLE: _in_ms(settings, settings.throttle_full_power_s, settings.throttle_j_per_cm2),
            Level.SPENT: _in_ms(settings, settings.budget_full_power_s, settings.budget_j_per_cm2),
        }
        self.whole_ms = self._levels_ms[Level.SPENT]
        """What a field may have; infinite without a budget."""

    @property
    def limited(self) -> bool:
        """Whether there is a budget."""
        return math.isfinite(self.whole_ms)

    def level(self, spent_ms: float, reserve_ms: float) -> Level:
        """Return the level of a field; ``reserve_ms`` is what closing its light may still cost."""
        if spent_ms + reserve_ms >= self.whole_ms:
            return Level.SPENT
        below = (level for level in (Level.THROTTLE, Level.WARN) if spent_ms >= self._levels_ms[level])
        return next(below, Level.FREE)

    def told(self, spent_ms: float) -> dict[str, Any]:
        """Return an amount of light in every unit that is calibrated."""
        settings, told = self._settings, {"full_power_s": round(spent_ms / 1e3, 6)}
        if settings.mw_per_mm2 is not None:
            told["j_per_cm2"] = spent_ms * settings.mw_per_mm2 * _J_PER_CM2
        if settings.photons_per_s_um2 is not None:
            told["photons_per_um2"] = spent_ms / 1e3 * settings.photons_per_s_um2
        return told

    @property
    def unit(self) -> str:
        """Name the unit, or say that there is none."""
        return "J/cm2" if self._settings.mw_per_mm2 else "unit not calibrated: s at full power"


@dataclass(frozen=True, slots=True)
class Caps:
    """What feedback may not go beyond while the rig itself spares the light."""

    interval_ms: float
    exposure_ms: float
    power: float | None

    def refuses(self, command: Command) -> str | None:
        """Say why feedback must wait, or None; operators need not."""
        action = command.action
        if command.cause.origin in ("operator", "rig"):
            return None
        wrong = {
            "interval": isinstance(action, SetInterval) and (action.interval_ms or 0.0) < self.interval_ms,
            "exposure": isinstance(action, SetExposure) and action.exposure_ms > self.exposure_ms,
            "light power": isinstance(action, SetLight) and (action.power or 0.0) > (self.power or 1.0),
        }
        name = next((name for name, found in wrong.items() if found), None)
        return f"the rig spares the light: a field nears its budget, so this {name} must wait" if name else None

    def tempered(self, action: Action) -> Action:
        """Return an action as sparing allows it."""
        if isinstance(action, SetInterval) and (action.interval_ms or 0.0) < self.interval_ms:
            return SetInterval(interval_ms=self.interval_ms)
        if isinstance(action, SetLight) and self.power is not None and (action.power or 1.0) > self.power:
            return action.model_copy(update={"power": self.power})
        return action


def said(ms: float) -> str:
    """Say an amount of light in words."""
    return f"{ms / 1e3:.3g} s at full power"


def _in_ms(settings: DoseSettings, full_power_s: float | None, j_per_cm2: float | None) -> float:
    """Return a limit in ms at full power: mW/mm² x ms = µJ/mm² = 1e-4 J/cm²."""
    by_time = math.inf if full_power_s is None else 1e3 * full_power_s
    if j_per_cm2 is None or settings.mw_per_mm2 is None:
        return by_time
    return min(by_time, j_per_cm2 / (_J_PER_CM2 * settings.mw_per_mm2))
