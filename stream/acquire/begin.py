"""The moment at which the camera starts, which a stop may forestall."""

from __future__ import annotations

import threading

from stream.command import Command, Stop
from stream.config import PlanSettings
from stream.stages import Darkens, Driver, Readback, StillGood, always


class Beginning:
    """Starts the driver unless a stop came first: who stops a rig while it warms up wants no light on the sample."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._begun = False
        self.called_off = threading.Event()
        """Set by a stop that came before the start."""

    def begin(self, plan: PlanSettings) -> bool:
        """Start the camera; False when it was called off."""
        with self._lock:
            if self.called_off.is_set():
                return False
            self._driver.start(plan)
            self._begun = True
            return True

    def darken(self) -> None:
        """Close the light out of turn, where the driver can."""
        if isinstance(self._driver, Darkens):
            self._driver.darken()

    def apply(self, command: Command, still_good: StillGood = always) -> Readback:
        """Apply a command as the driver does; a stop before the start needs no camera."""
        with self._lock:
            if not self._begun and isinstance(command.action, Stop):
                self.called_off.set()
                return Readback({}, takes_frame=False)
        return self._driver.apply(command, still_good)
