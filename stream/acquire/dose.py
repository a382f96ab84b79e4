"""The light-dose ledger beside the hardware: what each field has had, what it may still have, and what that refuses.

Light is counted in milliseconds at full power: exposure x power. It is an upper bound wherever the rig cannot know:
light of unknown power counts as full, light between frames counts for as long as the shutter stays open, and exposures
that gave no frame count like those that did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from stream.acquire.budget import Budget, Caps, Level, said
from stream.acquire.lamp import Lamp, Power, brighter, counted
from stream.acquire.lit import Burnt, FieldLight, Lit
from stream.acquire.outline import Outline
from stream.acquire.promised import Promised
from stream.acquire.shutter import OpenShutter
from stream.command import Acquire, Action, AddPosition, Command, SetExposure, SetLight, Stimulate
from stream.facts.rig import Dose
from stream.frame import Frame, parse_field, plan_field
from stream.safety import DoseSettings

RESERVE_FRAMES = 2
"""Frames that may still come while the light is being closed: their light is kept back."""
RESERVE_OPEN_MS = 1_000.0
"""The same for a shutter that stays open between frames."""
_ASK_AGAIN = 32
"""Lit frames of a spent field after which the light is closed once more."""


def _keep_nowhere(field: str, full_power_ms: float) -> None:
    """Record nothing."""


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
    keep
        Records light that no frame took, by its field and in ms at full power; what is taken back is negative.
    """

    def __init__(
        self,
        settings: DoseSettings,
        spent: Mapping[str, Dose],
        power: Power,
        *,
        stays_open: bool = False,
        keep: Callable[[str, float], None] = _keep_nowhere,
    ) -> None:
        self._stimulate_power = settings.stimulate_power
        self._budget, self._lamp = Budget(settings), Lamp(power)
        self._keep = keep
        self._lock = threading.Lock()
        self._fields = {name: FieldLight(name, had.full_power_ms + had.unknown_power_ms) for name, had in spent.items()}
        self._promised, self._shutter = Promised(), OpenShutter(stays_open)
        self._charged: dict[str, tuple[str, float]] = {}
        self._left: set[str] = set()
        self._asked_ms = 0.0
        self._per_frame = 1
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

    def begin(self, *, stays_open: bool, exposure_ms: float, now_ns: int, per_frame: int = 1) -> list[str]:
        """The camera is about to start: return the fields whose light does not last for its first frames.

        Parameters
        ----------
        stays_open
            Whether the light is on between frames.
        exposure_ms
            The longest exposure of the plan.
        per_frame
            Exposures for each frame that comes: a stream may be decimated.
        """
        self._shutter.stays_open, self._asked_ms, self._per_frame = stays_open, exposure_ms, per_frame
        self.opened(now_ns)
        first_ms = (RESERVE_FRAMES + 1) * exposure_ms * per_frame + (RESERVE_OPEN_MS if stays_open else 0.0)
        left_ms = self._budget.whole_ms - first_ms * counted(self._lamp.power)
        return [name for name, place in self._fields.items() if place.spent_ms > left_ms]

    def dark(self) -> None:
        """The camera starts without light."""
        self._lamp.set_power = 0.0

    # ---- what happens to the light ---------------------------------------------------------------------------------

    def asked(self, command: Command, field: str | None = None, sequence: Outline | None = None) -> None:
        """A command is about to be applied: a stimulation costs its light from now on, a sequence is promised its own.

        Parameters
        ----------
        field
            Which field it lights.
        sequence
            What an ``acquire`` would do.
        """
        action, name = command.action, command.command_id
        cost_ms = 0.0
        with self._lock:
            self._lamp.asked(command)
            if isinstance(action, Stimulate) and field is not None:
                cost_ms = action.duration_ms * self._stimulate_power
                self._field(field).spent_ms += cost_ms
                self._charged[name] = (field, cost_ms)
            elif isinstance(action, Acquire) and field is not None and sequence is not None:
                self._promised.hold(name, field, sequence)
        if cost_ms and field is not None:
            self._keep(field, cost_ms)

    def answered(self, command: Command, values: Mapping[str, Any] | None) -> None:
        """The hardware said what it did; None: it failed half-way, and may have lit the sample."""
        with self._lock:
            self._lamp.answered(command, values)
            self._charged.pop(command.command_id, None)
            if isinstance(command.action, SetExposure):
                self._asked_ms = max(command.action.exposure_ms, (values or {}).get("exposure_ms") or 0.0)

    def refused(self, command: Command) -> None:
        """The hardware refused a command: nothing was lit."""
        with self._lock:
            self._lamp.refused(command)
            field, cost_ms = self._charged.pop(command.command_id, ("", 0.0))
            if cost_ms:
                self._field(field).spent_ms -= cost_ms
        if cost_ms:
            self._keep(field, -cost_ms)

    def took(self, frame: Frame) -> Lit:
        """Count a frame, and the exposures that decimation left out for it."""
        name = plan_field(frame.field)
        with self._lock:
            before = self._lamp.at_most
            self._lamp.shown(frame.commands)
            power, popped_ns = self._lamp.at_most, frame.stamps.t_pop_ns
            place, shots_ms = self._field(name), frame.exposure_ms * self._per_frame
            between_ms = self._shutter.between_ms(popped_ns, shots_ms)
            place.frame_ms = shots_ms * counted(power) + between_ms * counted(brighter(before, power))
            place.took(frame)
            added_ms = max(place.frame_ms - self._shutter.took(name, popped_ns), 0.0)
            place.spent_ms += added_ms
            self._promised.pay(frame.field, frame.exposure_ms)
            self._promised.forget_lost(popped_ns)
            return Lit(power, added_ms - frame.exposure_ms * counted(power), self._reached(place))

    def missed(self, field: str, missing: int) -> Burnt:
        """Count frames that did not come: each as the longest exposure that it may have been.

        Their light fell on the sample all the same, whether the image was lost, was of another place, or never read.
        """
        name = plan_field(field)
        with self._lock:
            place = self._field(name)
            exposure_ms = self._may_have_been_ms(place, field)
            place.frame_ms, place.seen = exposure_ms * self._per_frame * counted(self._lamp.at_most), True
            by_time = self._shutter.counts and self._shutter.field == name
            cost_ms = 0.0 if by_time else missing * place.frame_ms
            self._shutter.field = name
            place.spent_ms += cost_ms
            self._promised.pay(field, missing * exposure_ms)
            burnt = Burnt(name, cost_ms, self._reached(place), exposure_ms)
        if cost_ms:
            self._keep(name, cost_ms)
        return burnt

    def opened(self, now_ns: int) -> None:
        """The shutter may have been opened: where it stays open, light counts from now on."""
        with self._lock:
            self._shutter.opened(now_ns)

    def burns(self, now_ns: int, *, closing: bool = False) -> Burnt | None:
        """Count an open shutter while no frame comes; None where it is closed between frames.

        ``closing``: it has been closed now, or no frame will follow.
        """
        with self._lock:
            place, lit = self._fields.get(self._shutter.field), counted(self._lamp.at_most)
            cost_ms = self._shutter.burns(now_ns, lit, closing=closing)
            if place is None or cost_ms is None:
                return None
            place.spent_ms += cost_ms
            burnt = Burnt(place.name, cost_ms, self._reached(place), place.exposure_ms)
        self._keep(burnt.field, cost_ms)
        return burnt

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
            self._promised.forget_lost(now_ns)
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

    def ended(self, command_id: str, applied: bool, now_ns: int) -> None:
        """A sequence was not taken after all, or its frames have begun to come."""
        with self._lock:
            self._promised.ended(command_id, applied, now_ns)

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
        """Return the fields that have had their budget and are still visited."""
        with self._lock:
            here = (place for name, place in self._fields.items() if name not in self._left)
            return [place.name for place in here if self._level(place) is Level.SPENT]

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

    def _field(self, name: str) -> FieldLight:
        return self._fields.setdefault(name, FieldLight(name, 0.0))

    def _may_have_been_ms(self, place: FieldLight, field: str) -> float:
        """Return the longest exposure that a frame which did not come may have had."""
        named = parse_field(field)
        aside = named.aside if named is not None else ""
        promised_ms = self._promised.longest_ms(aside)
        return promised_ms or max(place.longest_ms(beside=bool(aside)), self._asked_ms)

    def _level(self, place: FieldLight) -> Level:
        return self._budget.level(place.spent_ms, self._reserve_ms(place) if place.seen else 0.0)

    def _reached(self, place: FieldLight) -> Level | None:
        reached, before = self._level(place), place.level
        place.level = max(reached, before)
        if reached > before and place.name not in self._left:
            return reached
        if place.level is Level.SPENT and place.frame_ms:
            place.lit_after += 1
            if place.lit_after % _ASK_AGAIN == 0:
                return Level.SPENT  # whatever opened the light again
        return None

    def _reserve_ms(self, place: FieldLight) -> float:
        """Return what closing the light may still cost; a burst that the hardware has begun may take all its frames."""
        factor = counted(self._lamp.at_most)
        begun_ms = sum(held.lit_ms for held in self._promised.of(place.name) if held.begun)
        open_ms = RESERVE_OPEN_MS if self._shutter.stays_open else 0.0
        return max(RESERVE_FRAMES * place.frame_ms, open_ms * factor) + begun_ms * factor

    def _left_ms(self, field: str) -> float:
        """Return what a field may still have, less what is promised and what closing the light may cost."""
        place = self._fields.get(field, FieldLight(field, 0.0))
        promised_ms = sum(held.lit_ms for held in self._promised.of(field) if not held.begun) * counted(
            self._lamp.at_most
        )
        return self._budget.whole_ms - place.spent_ms - promised_ms - self._reserve_ms(place) - place.frame_ms

    def _next_frames(self, action: SetLight | SetExposure) -> str | None:
        """Judge a change that makes frames brighter: those before the rig could close the light, and those promised."""
        factor = counted(self._lamp.after(action) if isinstance(action, SetLight) else self._lamp.at_most)
        for name, place in self._fields.items():
            if name in self._left:
                continue
            exposure_ms = action.exposure_ms if isinstance(action, SetExposure) else place.exposure_ms
            lit_ms = (RESERVE_FRAMES + 1) * exposure_ms * self._per_frame
            if self._shutter.stays_open:
                lit_ms = max(lit_ms, 2 * RESERVE_OPEN_MS)
            cost_ms = (lit_ms + sum(held.lit_ms for held in self._promised.of(name))) * factor
            left_ms = max(self._budget.whole_ms - place.spent_ms, 0.0)
            if place.seen and (cost_ms > left_ms or (place.level is Level.SPENT and factor)):
                return f"the next frames would light {name} for {said(cost_ms)}; of its budget {said(left_ms)} are left"
        return None
