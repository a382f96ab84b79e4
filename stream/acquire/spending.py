"""What the rig itself does as a field's light budget runs out: say so, spare light, leave it or close the light."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream.acquire.budget import Caps, Level
from stream.acquire.dose import DoseLedger
from stream.acquire.lost import Order
from stream.clock import wall_ns
from stream.command import AddPosition, Command, DropPosition, SetInterval, SetLight, Stop, Target
from stream.config import Configuration
from stream.frame import parse_field
from stream.metrics import DOSE, DOSE_LEVELS

log = logging.getLogger(__name__)


class Spending:
    """Reacts to the levels of ``[dose]``.

    Parameters
    ----------
    order
        Sends one of the rig's own commands to the desk.
    tell
        Records and publishes a fact.
    """

    def __init__(
        self,
        config: Configuration,
        ledger: DoseLedger,
        order: Order,
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._dose, self._limits, self._plan = config.dose, config.limits, config.plan
        self._ledger, self._order, self._tell = ledger, order, tell
        self._leaves = self._dose.at_budget == "leave" and config.plan.mode == "mda"
        self._relight: float | None = None
        self._leaving: set[str] = set()
        self._left: set[int] = set()
        self.interval_ms = config.plan.interval_ms
        """The interval that the rig keeps now."""

    def reached(self, field: str, level: Level, exposure_ms: float, measured_ms: float) -> None:
        """A field has reached a level, with frames of ``exposure_ms`` that come every ``measured_ms``."""
        said = self._ledger.told()["fields"][field]
        does = {Level.WARN: "", Level.THROTTLE: "the rig spares the light", Level.SPENT: self._at_the_end}[level]
        log.warning("dose: %s has reached '%s': %s %s", field, level.name.lower(), said, does)
        DOSE_LEVELS.labels(level.name.lower()).inc()
        self._tell("dose", {"field": field, **said, "does": does})
        reason = f"{field} has reached '{level.name.lower()}' of its light budget"
        if level is Level.THROTTLE:
            self._spare(exposure_ms, reason, measured_ms)
        elif level is Level.SPENT and self._leaves:
            self._leave(field, reason)
        elif level is Level.SPENT:
            self._darken(reason)
            if self._dose.at_budget == "stop":
                self._order(Stop(), _name("stop"), reason)

    def begun_dark(self, spent: Sequence[str]) -> None:
        """The plan has begun without light, as these fields have had theirs: leave them, then light the others."""
        if not self._leaves:
            return
        self._relight = self._plan.light_power
        for field in spent:
            self._leave(field, f"{field} has had its light budget in an earlier start")

    def applied(self, command: Command) -> None:
        """A command was applied: when the last spent field is left, those that are not may have light again."""
        if isinstance(command.action, AddPosition) and command.target.position is not None:
            self._left.discard(command.target.position)
        if not _is_ours(command, _LEAVE):
            return
        self._leaving.discard(command.command_id)
        if self._relight and not self._leaving:
            self._order(
                SetLight(power=self._relight, on=True), _name("light"), "every field that had its light is left"
            )
            self._relight = None

    def failed(self, command: Command) -> None:
        """One of the rig's own was not applied: what cannot be left must be dark, what cannot be dark must end."""
        if _is_ours(command, _LEAVE):
            self._relight = None
            self._leaving.discard(command.command_id)
            self._left.discard(command.target.position or 0)
            self._ledger.stays(command.command_id.removeprefix(_LEAVE).rpartition("/")[0])
            self._darken("a field has had its light budget and cannot be left")
        elif _is_ours(command, _DARK):
            self._order(Stop(), _name("stop"), "the light budget is spent and the light cannot be closed")

    @property
    def _at_the_end(self) -> str:
        if self._leaves:
            return "the position is left"
        return "the light closes" + (" and the run ends" if self._dose.at_budget == "stop" else "")

    def _leave(self, field: str, reason: str) -> None:
        """Visit the field's position no more; for its frames no light is kept back from now on."""
        named = parse_field(field)
        if named is None or self._ledger.is_left(field):
            self._darken(reason)
            return
        self._ledger.leaves(field)
        if named.position in self._left:
            return  # another tile of it was through first
        name = f"{_LEAVE}{field}/{wall_ns()}"
        self._leaving.add(name)
        self._left.add(named.position)
        self._order(DropPosition(at_once=True), name, reason, Target(position=named.position))

    def _darken(self, reason: str) -> None:
        self._order(SetLight(on=False), f"{_DARK}{wall_ns()}", reason)

    def export(self) -> None:
        """Bring the metrics up to date."""
        for field, told in self._ledger.told()["fields"].items():
            DOSE.labels(field).set(told["full_power_s"])

    def _spare(self, exposure_ms: float, reason: str, measured_ms: float) -> None:
        """Lengthen the interval and lower the light, once; feedback may not undo it."""
        if self._ledger.caps is not None:
            return
        interval_ms = (self.interval_ms or measured_ms) * self._dose.throttle_interval
        interval_ms = min(interval_ms, self._limits.interval_ms[1])
        power = self._ledger.power
        if power is not None:
            power = max(power * self._dose.throttle_light, self._limits.light_power[0])
        self._ledger.caps = Caps(interval_ms, exposure_ms, power)
        self._order(SetInterval(interval_ms=interval_ms), _name("interval"), reason)
        if power:
            self._order(SetLight(power=power), _name("light"), reason)


_DARK = "dose/dark/"
_LEAVE = "dose/leave/"


def _is_ours(command: Command, kind: str) -> bool:
    return command.cause.origin == "rig" and command.command_id.startswith(kind)


def _name(what: str) -> str:
    return f"dose/{what}/{wall_ns()}"
