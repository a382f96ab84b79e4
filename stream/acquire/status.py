"""What the rig says of itself to whoever watches: how it is set, as far as commands and frames have told."""

from __future__ import annotations

from typing import Any

from stream.acquire.dose import DoseLedger
from stream.command import Ack, Command, SetInterval, SetLight
from stream.frame import Frame


class Status:
    """The newest settings as plain data."""

    def __init__(self, dose: DoseLedger) -> None:
        self._dose = dose
        self._settings: dict[str, Any] = {"light_power": dose.power}

    def took(self, frame: Frame) -> None:
        """See a frame."""
        self._settings |= {
            "exposure_ms": frame.exposure_ms,
            "stage_um": frame.stage_um,
            "roi_px": frame.roi_px,
            "channel": frame.channel,
        }

    def applied(self, command: Command, ack: Ack) -> None:
        """See what a command has set."""
        if isinstance(command.action, SetLight):
            self._settings |= {"light_power": self._dose.power if self._dose.on else None, "light_on": self._dose.on}
        elif isinstance(command.action, SetInterval) and command.target.position is None:
            self._settings["interval_ms"] = ack.readback.get("interval_ms")

    def told(self) -> dict[str, Any]:
        """Return the settings and the light."""
        return {"dose": self._dose.told(), **self._settings}
