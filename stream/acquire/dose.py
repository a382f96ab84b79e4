"""The light-dose ledger beside the hardware: what each field has had, what it may still have, and what that refuses.

Light is counted in milliseconds at full power: exposure x power. It is an upper bound wherever the rig cannot know:
light of unknown power counts as full, and light between frames counts for as long as the shutter stays open.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream.acquire.budget import Budget, Caps, Level, said
from stream.acquire.lamp import Lamp, Power, brighter, counted
from stream.acquire.outline import Outline
from stream.command import Action, AddPosition, Command, SetExposure, SetLight, Stimulate
from stream.config import DoseSettings
from stream.facts.rig import Dose
from stream.frame import Frame, parse_field, plan_field

RESERVE_FRAMES = 2
"""Frames that may still come while the light is being closed: their light is kept back."""
RESERVE_OPEN_MS = 1_000.0
"""The same for a shutter that stays open between frames."""
_PATIENCE_NS = 10_000_000_000
_ASK_AGAIN = 32
"""Lit frames of a spent field after which the light is closed once more."""


@dataclass(frozen=True, slots=True)
class Lit:
    """The light of one frame.

    ``power`` is None where nobody knows it; ``between_ms`` is what it adds beyond its exposure, at full power.
    """

    power: Power
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


@dataclass(slots=True)
class _Held:
    """Exposure that is promised to a sequence; ``until_ns`` is when it must be over, once it has begun."""

    field: str
    lit_ms: float
    duration_ms: float
    begun: bool = False
    until_ns: int | None = None


@dataclass(slots=True)
class _Field:
    name: str
    spent_ms: float
    level: Level = Level.FREE
    frame_ms: float = 0.0
    """What its newest frame cost."""
    exposure_ms: float = 0.0
    seen: bool = False
    lit_after: int = 0
    """Lit frames since its budget was spent."""


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
        self, settings: DoseSettings, spent: Mapping[str, Dose], power: Power, *, stays_open: bool = False
    ) -> None:
        self._stimulate_power = settings.stimulate_power
        self._budget, self._lamp = Budget(settings), Lamp(power)
        self._lock = threading.Lock()
        self._fields = {name: _Field(name, had.full_power_ms + had.unknown_power_ms) for name, had in spent.items()}
        self._held: dict[str, _Held] = {}
        self._left: set[str] = set()
        self._stays_open = stays_open
        self._lit_field = ""
        self._since_ns: int | None = None
        self._burnt_ms = 0.0
        self.caps: Caps | None = None
        """Set while the rig itself spares the light."""

    @property
    def on(self) -> bool:
        """Whether frames are lit."""
        return self._lamp.on

    @property
    def power(self) -> Power:
        """The light's power as it is set now: 0 where it is off, None where nobody knows."""
        return self._lamp.power

    def begin(self, *, stays_open: bool, exposure_ms: float, now_ns: int) -> list[str]:
        """The camera is about to start: return the fields whose light does not last for its first frames.

        ``stays_open`` says whether the light is on between frames.
        """
        self._stays_open = stays_open
        self.opened(now_ns)
        first_ms = (RESERVE_FRAMES + 1) * exposure_ms + (RESERVE_OPEN_MS if stays_open else 0.0)
        left_ms = self._budget.whole_ms - first_ms * counted(self._lamp.power)
        return [name for name, place in self._fields.items() if place.spent_ms > left_ms]

    def dark(self) -> None:
        """The camera starts without light."""
        self._lamp.set_power = 0.0

    # ---- what happens to the light ---------------------------------------------------------------------------------

    def asked(self, command: Command) -> None:
        """A command is about to be applied."""
        with self._lock:
            self._lamp.asked(command)

    def answered(self, command: Command, values: Mapping[str, Any] | None) -> None:
        """The hardware said what it did; None: it failed half-way."""
        with self._lock:
            self._lamp.answered(command, values)

    def refused(self, command: Command) -> None:
        """The hardware refused a command."""
        with self._lock:
            self._lamp.refused(command)

    def took(self, frame: Frame) -> Lit:
        """Count a frame."""
        name = plan_field(frame.field)
        with self._lock:
            before = self._lamp.at_most
            self._lamp.shown(frame.commands)
            power = self._lamp.at_most
            exposed_ms = frame.exposure_ms * counted(power)
            place = self._field(name)
            place.frame_ms = exposed_ms + self._between_ms(frame) * counted(brighter(before, power))
            place.exposure_ms, place.seen = frame.exposure_ms, True
            added_ms = max(place.frame_ms - self._burnt_ms, 0.0)
            place.spent_ms += added_ms
            self._pay(frame)
            self._forget_lost(frame.stamps.t_pop_ns)
            self._lit_field, self._burnt_ms = name, 0.0
            if self._since_ns is not None:
                self._since_ns = frame.stamps.t_pop_ns
            return Lit(power, added_ms - exposed_ms, self._reached(place))

    def stimulated(self, field: str, duration_ms: float) -> float:
        """Count a stimulation and return what it cost, in ms at full power."""
        cost_ms = duration_ms * self._stimulate_power
        with self._lock:
            self._field(field).spent_ms += cost_ms
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
            since_ns, place = self._since_ns, self._fields.get(self._lit_field)
            if closing:
                self._since_ns = None
            if since_ns is None or place is None or not self._stays_open:
                return None
            lit_ms = max((now_ns - since_ns) / 1e6, 0.0) * counted(self._lamp.at_most)
            cost_ms = max(lit_ms - self._burnt_ms, 0.0)
            self._burnt_ms = 0.0 if closing else self._burnt_ms + cost_ms
            place.spent_ms += cost_ms
            return Burnt(self._lit_field, cost_ms, self._reached(place), place.exposure_ms)

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
        action = command.action
        with self._lock:
            if self.caps is not None and (capped := self.caps.refuses(command)):
                return capped
            if not self._budget.limited:
                return None
            self._forget_lost(now_ns)
            if isinstance(action, SetLight | SetExposure):
                return self._next_frames(action)
            if isinstance(action, AddPosition) and field in self._left and self._left_ms(field) <= 0:
                return f"{field} was left because it has had its light budget"
            cost_ms = 0.0
            if sequence is not None:
                cost_ms = sequence.light_ms * counted(self._lamp.at_most)
            elif isinstance(action, Stimulate):
                cost_ms = action.duration_ms * self._stimulate_power
            left_ms = max(self._left_ms(field or ""), 0.0)
            if cost_ms > left_ms:
                return f"it would light {field} for {said(cost_ms)}; of the budget {said(left_ms)} are left"
            return None

    def hold(self, command: Command, field: str, sequence: Outline) -> None:
        """Keep back what a sequence will cost until its frames have cost it, so that no second one can spend it too."""
        with self._lock:
            self._held[command.command_id] = _Held(field, sequence.light_ms, sequence.duration_ms)

    def ended(self, command_id: str, applied: bool, now_ns: int) -> None:
        """A sequence was not taken after all, or its frames have begun to come."""
        with self._lock:
            held = self._held.get(command_id)
            if held is not None and applied:
                held.until_ns = now_ns + round(2e6 * held.duration_ms) + _PATIENCE_NS
            elif held is not None:
                del self._held[command_id]

    def leaves(self, field: str) -> None:
        """A field that has had its light is visited no more: it does not hold up the light of the others."""
        with self._lock:
            self._left.add(field)

    def is_left(self, field: str) -> bool:
        """Whether a field should get no more frames."""
        with self._lock:
            return field in self._left

    def stays(self, field: str) -> None:
        """It is visited after all."""
        with self._lock:
            self._left.discard(field)

    def tempered(self, action: Action) -> Action:
        """Return an action of the way back to the plan as the rig's own sparing allows it."""
        return action if self.caps is None else self.caps.tempered(action)

    def spent_fields(self) -> list[str]:
        """Return the fields that have had their budget."""
        with self._lock:
            return [name for name, place in self._fields.items() if self._level(place) is Level.SPENT]

    def told(self) -> dict[str, Any]:
        """Return the ledger as plain data: the unit, and by field what it has had and how far it is."""
        with self._lock:
            fields = {
                name: {**self._budget.told(place.spent_ms), "level": place.level.name.lower()}
                for name, place in self._fields.items()
            }
        return {
            "unit": self._budget.unit,
            "budget_full_power_s": round(self._budget.whole_ms / 1e3, 6) if self._budget.limited else None,
            "throttled": self.caps is not None,
            "fields": fields,
        }

    # ---- inside, under the lock ------------------------------------------------------------------------------------

    def _field(self, name: str) -> _Field:
        return self._fields.setdefault(name, _Field(name, 0.0))

    def _between_ms(self, frame: Frame) -> float:
        if not self._stays_open or self._since_ns is None:
            return 0.0
        return max((frame.stamps.t_pop_ns - self._since_ns) / 1e6 - frame.exposure_ms, 0.0)

    def _level(self, place: _Field) -> Level:
        return self._budget.level(place.spent_ms, self._reserve_ms(place) if place.seen else 0.0)

    def _reached(self, place: _Field) -> Level | None:
        reached, before = self._level(place), place.level
        place.level = max(reached, before)
        if reached > before and place.name not in self._left:
            return reached
        if place.level is Level.SPENT and place.frame_ms:
            place.lit_after += 1
            if place.lit_after % _ASK_AGAIN == 0:
                return Level.SPENT  # whatever opened the light again
        return None

    def _reserve_ms(self, place: _Field) -> float:
        """Return what closing the light may still cost; a burst that the hardware has begun may take all its frames."""
        factor = counted(self._lamp.at_most)
        begun_ms = sum(held.lit_ms for held in self._promised(place.name) if held.begun)
        open_ms = RESERVE_OPEN_MS if self._stays_open else 0.0
        return max(RESERVE_FRAMES * place.frame_ms, open_ms * factor) + begun_ms * factor

    def _pay(self, frame: Frame) -> None:
        """Take a frame beside the plan from what was promised to its sequence."""
        named = parse_field(frame.field) if self._held else None
        held = self._held.get(named.aside) if named is not None else None
        if named is not None and held is not None:
            held.begun = True
            held.lit_ms -= frame.exposure_ms
            if held.lit_ms <= 0:
                del self._held[named.aside]

    def _promised(self, field: str) -> list[_Held]:
        return [held for held in self._held.values() if held.field == field]

    def _forget_lost(self, now_ns: int) -> None:
        """Give up what was promised to sequences that are over: some of their frames never came."""
        over = [name for name, held in self._held.items() if held.until_ns is not None and held.until_ns <= now_ns]
        for name in over:
            del self._held[name]

    def _left_ms(self, field: str) -> float:
        """Return what a field may still have, less what is promised and what closing the light may cost."""
        place = self._fields.get(field, _Field(field, 0.0))
        promised_ms = sum(held.lit_ms for held in self._promised(field) if not held.begun) * counted(self._lamp.at_most)
        return self._budget.whole_ms - place.spent_ms - promised_ms - self._reserve_ms(place) - place.frame_ms

    def _next_frames(self, action: SetLight | SetExposure) -> str | None:
        """Judge a change that makes frames brighter: those before the rig could close the light, and those promised."""
        factor = counted(self._lamp.after(action) if isinstance(action, SetLight) else self._lamp.at_most)
        for name, place in self._fields.items():
            if name in self._left:
                continue
            exposure_ms = action.exposure_ms if isinstance(action, SetExposure) else place.exposure_ms
            lit_ms = (RESERVE_FRAMES + 1) * exposure_ms
            if self._stays_open:
                lit_ms = max(lit_ms, 2 * RESERVE_OPEN_MS)
            cost_ms = (lit_ms + sum(held.lit_ms for held in self._promised(name))) * factor
            left_ms = max(self._budget.whole_ms - place.spent_ms, 0.0)
            if place.seen and (cost_ms > left_ms or (place.level is Level.SPENT and factor)):
                return f"the next frames would light {name} for {said(cost_ms)}; of its budget {said(left_ms)} are left"
        return None
