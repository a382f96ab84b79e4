"""The light through the core: its shutter and its power; called by the core's owner, and closed by anyone."""

from __future__ import annotations

from typing import Any

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS, device_calls
from drivers.micromanager.options import MicroManagerOptions, property_name
from stream.errors import DriverError, Refused


class Light:
    """The current shutter and the configured power.

    A configuration with auto-shutter lights the sample only while frames are taken; that stays so: *on* means that
    frames are lit, *off* that they are not. Without a shutter a power of 0 stands for a closed one, and *on* brings
    back the power that was set.
    """

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions) -> None:
        self._core = core
        self._full = options.light_full
        self._power = property_name(options.light_property) if options.light_property else None
        self._auto = bool(core.getAutoShutter())
        self._kept = 0.0
        self._dimmed = False
        """Whether the power is 0 in place of a closed shutter; the one to come back to is kept."""
        self._rests: bool | None = None
        """While no frames are taken: whether the sample is lit again afterwards."""

    @property
    def present(self) -> bool:
        """Whether anything of the light can be set."""
        return bool(self._power or self._core.getShutterDevice())

    def switch(self, on: bool, streaming: bool) -> bool:
        """Light the frames or not; returns what was read back. Raises Refused where nothing could be closed."""
        if not self.present:
            raise Refused("this rig has no shutter")
        label = str(self._core.getShutterDevice())
        if label:
            with device_calls(f"shutter '{label}'"):
                self._core.setAutoShutter(on and self._auto)
        held_open = on and (streaming or not (label and self._auto))
        if self._rests is not None:
            self._rests, held_open = held_open, False
        self._shine(held_open)
        return on

    def set_power(self, power: float) -> float:
        """Set the power as a fraction of full power and return the fraction read back.

        Where the power stands for a shutter that is closed, it is kept until that opens.
        """
        if self._power is None:
            raise Refused("the light has no power setting; name one in [camera.options] light_property")
        if self._dimmed:
            self._kept = power
            return power
        return self._write(power)

    def rest(self) -> bool:
        """Darken the sample while no frames are taken; False where this rig cannot. Idempotent."""
        if self._rests is None and self.present:
            lit = self._is_lit()
            self._shine(False)
            self._rests = lit
        return self.present

    def wake(self) -> None:
        """Light the sample again if it was lit before it rested, or was asked to be since."""
        if self._rests:
            self._shine(True)
        self._rests = None

    def close(self) -> None:
        """Leave the sample dark, as well as the rig knows how to; from any thread."""
        try:
            if self._core.getShutterDevice():
                self._core.setShutterOpen(False)
            elif self._power:
                self._dim(self._power)
        except DEVICE_ERRORS as error:
            raise DriverError(f"the light could not be closed: {error}; close it by hand") from error

    def describe(self) -> dict[str, Any]:
        """Name the devices."""
        label = str(self._core.getShutterDevice())
        is_open = bool(self._core.getShutterOpen()) if label else None
        return {"shutter": label, "auto": self._auto, "open": is_open, "power": str(self._power or "")}

    def _is_lit(self) -> bool:
        with device_calls("light"):
            return bool(self._core.getShutterOpen()) if self._core.getShutterDevice() else not self._dimmed

    def _shine(self, lit: bool) -> None:
        """Open or close by hand what stands between light and sample, and look whether it did."""
        label = str(self._core.getShutterDevice())
        if label:
            self._move(label, lit)
        elif lit and self._dimmed:
            self._write(self._kept)
            self._dimmed = False
        elif not lit and self._power is not None:
            with device_calls(f"{self._power} = 0"):
                self._dim(self._power)
            self._write(0.0)

    def _move(self, label: str, is_open: bool) -> None:
        with device_calls(f"shutter '{label}'"):
            self._core.setShutterOpen(is_open)
            self._core.waitForDevice(label)
            actual = bool(self._core.getShutterOpen())
        if actual != is_open:
            raise DriverError(f"shutter '{label}': {_open(is_open)} was asked and it answers {_open(actual)}")

    def _dim(self, name: tuple[str, str]) -> None:
        """Set the power to 0 and keep the one that it had."""
        if not self._dimmed:
            self._kept = float(self._core.getProperty(*name)) / self._full
        self._dimmed = True
        self._core.setProperty(*name, 0)

    def _write(self, power: float) -> float:
        assert self._power is not None
        device, name = self._power
        with device_calls(f"{self._power} = {power * self._full:g}"):
            self._core.setProperty(device, name, power * self._full)
            self._core.waitForDevice(device)
            actual = float(self._core.getProperty(device, name)) / self._full
        if abs(actual - power) > 0.01:
            raise DriverError(f"{self._power}: power {power} was asked and it answers {actual}")
        return actual


def _open(is_open: bool) -> str:
    return "open" if is_open else "closed"
