"""The light-dose ledger beside the hardware: what each field has had, what it may still have, and what that refuses.

Light is counted in milliseconds at full power: exposure x power. It is an upper bound wherever the rig cannot know:
light of unknown power counts as full, and light between frames counts for as long as the shutter stays open.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from stream.acquire.outline import Outline
from stream.command import Action, Command, SetExposure, SetInterval, SetLight, Stimulate
from stream.config import DoseSettings
from stream.facts.rig import Dose
from stream.frame import Frame, parse_field, plan_field

RESERVE_FRAMES = 2
"""Frames that may still come while the light is being closed: their light is kept back."""
RESERVE_OPEN_MS = 1_000.0
"""The same for a shutter that stays open between frames."""
_PATIENCE_NS = 10_000_000_000
_J_PER_CM2 = 1e-4
"""One µJ/mm² in J/cm²."""


class Level(IntEnum):
    """How far a field is through its budget."""

    FREE = 0
    WARN = 1
    THROTTLE = 2
    SPENT = 3


@dataclass(frozen=True, slots=True)
class Lit:
    """The light of one frame.

    ``power`` is None where nobody knows it; ``between_ms`` is what it adds beyond its exposure, at full power.
    """

    power: float | None
    between_ms: float
    reached: Level | None
    """The level that the field has reached with it."""


@dataclass(frozen=True, slots=True)
class Burnt:
    """Light that no frame took, in ms at full power, and the level that its field reached with it."""

    field: str
    cost_ms: float
    reached: Level | None
    exposure_ms: float


@dataclass(frozen=True, slots=True)
class Caps:
    """What feedback may not go beyond while the rig itself spares the light."""

    interval_ms: float
    exposure_ms: float
    power: float | None


@dataclass(slots=True)
class _Held:
    """Light that is promised to a sequence; ``until_ns`` is when it must be over, once it has begun."""

    field: str
    left_ms: float
    duration_ms: float
    until_ns: int | None = None


@dataclass(slots=True)
class _Field:
    spent_ms: float
    level: Level = Level.FREE
    frame_ms: float = 0.0
    """What its newest frame cost."""
    exposure_ms: float = 0.0
    seen: bool = False


class DoseLedger:
    """Adds up light by field and judges what would add to it. Safe from several threads.

    Parameters
    ----------
    spent
        What the fields had before this start of the rig.
    power
        The light's power at the start; None: unknown.
    stays_open
        Whether the shutter stays open between frames.
    """

    def __init__(
        self, settings: DoseSettings, spent: Mapping[str, Dose], power: float | None, *, stays_open: bool = False
    ) -> None:
        self._settings = settings
        self._levels_ms = {
            Level.WARN: _in_ms(settings, settings.warn_full_power_s, settings.warn_j_per_cm2),
            Level.THROTTLE: _in_ms(settings, settings.throttle_full_power_s, settings.throttle_j_per_cm2),
            Level.SPENT: _in_ms(settings, settings.budget_full_power_s, settings.budget_j_per_cm2),
        }
        self._lock = threading.Lock()
        self._fields = {name: _Field(dose.full_power_ms + dose.unknown_power_ms) for name, dose in spent.items()}
        self._power, self._on, self._known = power, True, True
        self._asked: dict[str, SetLight | None] = {}
        self._fading: tuple[str, float | None] | None = None
        self._stays_open = stays_open
        self._field = ""
        self._since_ns: int | None = None
        self._burnt_ms = 0.0
        self._held: dict[str, _Held] = {}
        self.caps: Caps | None = None

    @property
    def on(self) -> bool:
        """Whether frames are lit."""
        return self._on

    @property
    def power(self) -> float | None:
        """The light's power as it counts now: 0 where it is off, None where nobody knows."""
        return (self._power if self._known else None) if self._on else 0.0

    def shutter(self, stays_open: bool) -> None:
        """Say whether the light is on between frames."""
        self._stays_open = stays_open

    def dark(self) -> None:
        """Say that the light begins at no power."""
        self._power, self._known = 0.0, True

    # ---- what happens to the light ---------------------------------------------------------------------------------

    def asked(self, command: Command) -> None:
        """A command is about to change the light: the first frame that names it has the new light."""
        if isinstance(command.action, SetLight):
            with self._lock:
                self._asked[command.command_id] = command.action

    def answered(self, command: Command, values: Mapping[str, Any] | None) -> None:
        """The hardware said what it did; None: it failed half-way, and nobody knows how bright it is now."""
        with self._lock:
            if command.command_id not in self._asked:
                return
            shown, before = self._asked.pop(command.command_id) is None, self._brighter()
            if values is None:
                self._on, self._known = True, False
                return
            self._set(values.get("power"), values.get("on"))
            if not shown:  # frames that were exposed before are still on their way
                self._fading = (command.command_id, before)

    def refused(self, command: Command) -> None:
        """The hardware refused: nothing has changed."""
        with self._lock:
            self._asked.pop(command.command_id, None)

    def took(self, frame: Frame) -> Lit:
        """Count a frame."""
        with self._lock:
            before = self._brighter()
            for command_id in frame.commands:
                if action := self._asked.get(command_id):
                    self._set(action.power, action.on)
                    self._asked[command_id] = None
                if self._fading and self._fading[0] == command_id:
                    self._fading = None
            power = self._brighter()
            between_ms = self._between_ms(frame)
            lit = _most(before, power) if between_ms else power
            place = self._fields.setdefault(plan_field(frame.field), _Field(0.0))
            exposed_ms = frame.exposure_ms * _counted(power)
            place.frame_ms = exposed_ms + between_ms * _counted(lit)
            place.exposure_ms, place.seen = frame.exposure_ms, True
            added_ms = max(place.frame_ms - self._burnt_ms, 0.0)
            place.spent_ms += added_ms
            self._pay(frame, added_ms)
            self._field, self._burnt_ms = plan_field(frame.field), 0.0
            if self._since_ns is not None:
                self._since_ns = frame.stamps.t_pop_ns
            return Lit(power, added_ms - exposed_ms, self._reached(place))

    def stimulated(self, field: str, duration_ms: float) -> float:
        """Count a stimulation and return what it cost, in ms at full power."""
        cost_ms = duration_ms * self._settings.stimulate_power
        with self._lock:
            self._fields.setdefault(field, _Field(0.0)).spent_ms += cost_ms
        return cost_ms

    def opened(self, now_ns: int) -> None:
        """The shutter may have been opened: where it stays open, light counts from now on."""
        with self._lock:
            if self._since_ns is None:
                self._since_ns = now_ns

    def burns(self, now_ns: int, *, closing: bool = False) -> Burnt | None:
        """Count an open shutter while no frame comes; None where it is closed between frames.

        ``closing``: it has been closed now, or no frame will follow.
        """
        with self._lock:
            since_ns, place = self._since_ns, self._fields.get(self._field)
            if closing:
                self._since_ns = None
            if since_ns is None or place is None or not self._stays_open:
                return None
            lit_ms = max((now_ns - since_ns) / 1e6, 0.0) * _counted(self._brighter())
            cost_ms = max(lit_ms - self._burnt_ms, 0.0)
            self._burnt_ms = 0.0 if closing else self._burnt_ms + cost_ms
            place.spent_ms += cost_ms
            return Burnt(self._field, cost_ms, self._reached(place), place.exposure_ms)

    # ---- what that refuses -----------------------------------------------------------------------------------------

    def refuses(self, command: Command, field: str | None, now_ns: int, sequence: Outline | None = None) -> str | None:
        """Say why the light that a command costs may not be spent, or None.

        Parameters
        ----------
        field
            Which field the command lights; changes of the light or the exposure concern all.
        sequence
            What an ``acquire`` would do.
        """
        with self._lock:
            if capped := self._capped(command):
                return capped
            if not math.isfinite(self._levels_ms[Level.SPENT]):
                return None
            action = command.action
            if isinstance(action, SetLight | SetExposure):
                return self._next_frames(action)
            cost_ms = 0.0
            if sequence is not None:
                cost_ms = sequence.light_ms * _counted(self.power)
            elif isinstance(action, Stimulate):
                cost_ms = action.duration_ms * self._settings.stimulate_power
            left_ms = max(self._left_ms(field or "", now_ns), 0.0)
            if cost_ms > left_ms:
                return f"it would light {field} for {_said(cost_ms)}; of the budget {_said(left_ms)} are left"
            return None

    def hold(self, command: Command, field: str, sequence: Outline) -> None:
        """Keep back what a sequence will cost until its frames have cost it, so that no second one can spend it too."""
        with self._lock:
            cost_ms = sequence.light_ms * _counted(self.power)
            self._held[command.command_id] = _Held(field, cost_ms, sequence.duration_ms)

    def ended(self, command_id: str, applied: bool, now_ns: int) -> None:
        """A sequence was not taken after all, or its frames have begun to come."""
        with self._lock:
            held = self._held.get(command_id)
            if held is not None and applied:
                held.until_ns = now_ns + round(2e6 * held.duration_ms) + _PATIENCE_NS
            elif held is not None:
                del self._held[command_id]

    def tempered(self, action: Action) -> Action:
        """Return an action of the way back to the plan as the rig's own sparing allows it."""
        caps = self.caps
        if caps is None:
            return action
        if isinstance(action, SetInterval) and (action.interval_ms or 0.0) < caps.interval_ms:
            return SetInterval(interval_ms=caps.interval_ms)
        if isinstance(action, SetLight) and caps.power is not None and (action.power or 1.0) > caps.power:
            return action.model_copy(update={"power": caps.power})
        return action

    def spent_fields(self) -> list[str]:
        """Return the fields that have had their budget."""
        with self._lock:
            limit_ms = self._levels_ms[Level.SPENT]
            return [name for name, place in self._fields.items() if place.spent_ms >= limit_ms]

    def told(self) -> dict[str, Any]:
        """Return the ledger as plain data: the unit, and by field what it has had and how far it is."""
        with self._lock:
            fields = {name: self._told(place) for name, place in self._fields.items()}
            limit_ms = self._levels_ms[Level.SPENT]
        return {
            "unit": "J/cm2" if self._settings.mw_per_mm2 else "unit not calibrated: s at full power",
            "budget_full_power_s": round(limit_ms / 1e3, 3) if math.isfinite(limit_ms) else None,
            "throttled": self.caps is not None,
            "fields": fields,
        }

    # ---- inside, under the lock ------------------------------------------------------------------------------------

    def _set(self, power: float | None, on: bool | None) -> None:
        if power is not None:
            self._power, self._known = float(power), True
        if on is not None:
            self._on = bool(on)

    def _brighter(self) -> float | None:
        """Return the power that a frame may have had: until one shows the new light, the brighter of both."""
        return _most(self._fading[1], self.power) if self._fading else self.power

    def _between_ms(self, frame: Frame) -> float:
        if not self._stays_open or self._since_ns is None:
            return 0.0
        return max((frame.stamps.t_pop_ns - self._since_ns) / 1e6 - frame.exposure_ms, 0.0)

    def _reached(self, place: _Field) -> Level | None:
        reached = Level.FREE
        for level, limit_ms in self._levels_ms.items():
            reserve_ms = self._reserve_ms(place) if level is Level.SPENT else 0.0
            if place.spent_ms + reserve_ms >= limit_ms:
                reached = level
        if reached <= place.level:
            return None
        place.level = reached
        return reached

    def _pay(self, frame: Frame, cost_ms: float) -> None:
        """Take what a frame beside the plan has cost from what was promised to its sequence."""
        named = parse_field(frame.field) if self._held else None
        held = self._held.get(named.aside) if named is not None else None
        if named is not None and held is not None:
            held.left_ms -= cost_ms
            if held.left_ms <= 0:
                del self._held[named.aside]

    def _reserve_ms(self, place: _Field) -> float:
        """Return what closing the light may still cost."""
        open_ms = RESERVE_OPEN_MS * _counted(self._brighter()) if self._stays_open else 0.0
        return max(RESERVE_FRAMES * place.frame_ms, open_ms)

    def _capped(self, command: Command) -> str | None:
        caps, action = self.caps, command.action
        if caps is None or command.cause.origin in ("operator", "rig"):
            return None
        wrong = {
            "interval": isinstance(action, SetInterval) and (action.interval_ms or 0.0) < caps.interval_ms,
            "exposure": isinstance(action, SetExposure) and action.exposure_ms > caps.exposure_ms,
            "light power": isinstance(action, SetLight) and (action.power or 0.0) > (caps.power or 1.0),
        }
        name = next((name for name, found in wrong.items() if found), None)
        return f"the rig spares the light: a field nears its budget, so this {name} must wait" if name else None

    def _next_frames(self, action: SetLight | SetExposure) -> str | None:
        """Judge a change that makes every frame brighter: those that come before the rig could close the light."""
        power, on = self._power if self._known else None, self._on
        if isinstance(action, SetLight):
            power, on = (power if action.power is None else action.power), (on if action.on is None else action.on)
        if not on:
            return None
        factor = 1.0 if power is None else power
        limit_ms = self._levels_ms[Level.SPENT]
        for name, place in self._fields.items():
            if not place.seen:
                continue
            exposure_ms = action.exposure_ms if isinstance(action, SetExposure) else place.exposure_ms
            cost_ms = (RESERVE_FRAMES + 1) * exposure_ms * factor
            if self._stays_open:
                cost_ms = max(cost_ms, 2 * RESERVE_OPEN_MS * factor)
            if cost_ms and place.spent_ms + cost_ms > limit_ms:
                left_ms = max(limit_ms - place.spent_ms, 0.0)
                return (
                    f"the next frames would light {name} for {_said(cost_ms)}; of its budget {_said(left_ms)} are left"
                )
        return None

    def _left_ms(self, field: str, now_ns: int) -> float:
        """Return what a field may still have, less what is promised and what closing the light may cost."""
        over = [name for name, held in self._held.items() if held.until_ns is not None and held.until_ns <= now_ns]
        for name in over:
            del self._held[name]
        place = self._fields.get(field, _Field(0.0))
        promised_ms = sum(held.left_ms for held in self._held.values() if held.field == field)
        return self._levels_ms[Level.SPENT] - place.spent_ms - promised_ms - self._reserve_ms(place) - place.frame_ms

    def _told(self, place: _Field) -> dict[str, Any]:
        settings, told = self._settings, {"full_power_s": round(place.spent_ms / 1e3, 6)}
        if settings.mw_per_mm2 is not None:
            told["j_per_cm2"] = place.spent_ms * settings.mw_per_mm2 * _J_PER_CM2
        if settings.photons_per_s_um2 is not None:
            told["photons_per_um2"] = place.spent_ms / 1e3 * settings.photons_per_s_um2
        return {**told, "level": place.level.name.lower()}


def _in_ms(settings: DoseSettings, full_power_s: float | None, j_per_cm2: float | None) -> float:
    """Return a limit in ms at full power: mW/mm² x ms = µJ/mm² = 1e-4 J/cm²."""
    by_time = math.inf if full_power_s is None else 1e3 * full_power_s
    if j_per_cm2 is None or settings.mw_per_mm2 is None:
        return by_time
    return min(by_time, j_per_cm2 / (_J_PER_CM2 * settings.mw_per_mm2))


def _counted(power: float | None) -> float:
    return 1.0 if power is None else power


def _most(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _said(ms: float) -> str:
    return f"{ms / 1e3:.3g} s at full power"
