"""What the rig itself does as a field's light budget runs out: say so, spare light, and close it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from stream.acquire.budget import Caps, Level
from stream.acquire.dose import DoseLedger
from stream.acquire.lost import Order
from stream.clock import wall_ns
from stream.command import Command, SetInterval, SetLight, Stop
from stream.config import Configuration
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
        self.interval_ms = config.plan.interval_ms
        """The interval that the rig keeps now."""

    def reached(self, field: str, level: Level, exposure_ms: float, measured_ms: float) -> None:
        """A field has reached a level, with frames of ``exposure_ms`` that come every ``measured_ms``."""
        said = self._ledger.told()["fields"][field]
        does = {Level.WARN: "", Level.THROTTLE: "the rig spares the light", Level.SPENT: "the light closes"}[level]
        if level is Level.SPENT and self._dose.at_budget == "stop":
            does = "the light closes and the run ends"
        log.warning("dose: %s has reached '%s': %s %s", field, level.name.lower(), said, does)
        DOSE_LEVELS.labels(level.name.lower()).inc()
        self._tell("dose", {"field": field, **said, "does": does})
        reason = f"{field} has reached '{level.name.lower()}' of its light budget"
        if level is Level.THROTTLE:
            self._spare(exposure_ms, reason, measured_ms)
        elif level is Level.SPENT:
            self._order(SetLight(on=False), f"{_DARK}{wall_ns()}", reason)
            if self._dose.at_budget == "stop":
                self._order(Stop(), _name("stop"), reason)

    def failed(self, command: Command) -> None:
        """One of the rig's own commands was not applied: what cannot be dark must end."""
        if command.cause.origin == "rig" and command.command_id.startswith(_DARK):
            self._order(Stop(), _name("stop"), "the light budget is spent and the light cannot be closed")

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


def _name(what: str) -> str:
    return f"dose/{what}/{wall_ns()}"
