"""Stage, light and channels through the core: every setting is read back and compared; called by its owner alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS, device_calls
from drivers.micromanager.options import MicroManagerOptions, property_name
from stream.errors import DriverError, Refused

Position = tuple[float, float, float]


class Stage:
    """The current XY and focus stages; an axis that the rig lacks stands at 0."""

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions) -> None:
        self._core = core
        self._tolerance_um = (options.xy_tolerance_um, options.xy_tolerance_um, options.z_tolerance_um)
        self.xy_label = str(core.getXYStageDevice())
        self.z_label = str(core.getFocusDevice())

    def read_um(self) -> Position:
        """Return (x, y, z) as the stages say."""
        with device_calls("stage position"):
            x, y = self._core.getXYPosition() if self.xy_label else (0.0, 0.0)
            z = self._core.getPosition() if self.z_label else 0.0
            # Plus 0.0: a demo stage stands at -0.0.
            return (float(x) + 0.0, float(y) + 0.0, float(z) + 0.0)

    def require(self, x_um: float | None, y_um: float | None, z_um: float | None) -> None:
        """Raise Refused when an axis that would move is not there."""
        if not self.xy_label and (x_um is not None or y_um is not None):
            raise Refused("this rig has no XY stage")
        if not self.z_label and z_um is not None:
            raise Refused("this rig has no focus stage")

    def move(self, x_um: float | None, y_um: float | None, z_um: float | None) -> Position:
        """Move, wait until the stages stand, and return where they stand."""
        self.require(x_um, y_um, z_um)
        before = self.read_um()
        wanted = (
            before[0] if x_um is None else x_um,
            before[1] if y_um is None else y_um,
            before[2] if z_um is None else z_um,
        )
        lateral = x_um is not None or y_um is not None
        try:
            self._drive(wanted, lateral, z_um is not None)
        except DriverError:
            self.halt()
            raise
        actual = self.read_um()
        if not self.reached(wanted, actual):
            raise DriverError(f"stage: {wanted} µm was asked and it stands at {actual} µm")
        return actual

    def _drive(self, wanted: Position, lateral: bool, focus: bool) -> None:
        with device_calls(f"move to {wanted} µm"):
            if lateral:
                self._core.setXYPosition(wanted[0], wanted[1])
            if focus:
                self._core.setPosition(wanted[2])
            if lateral:
                self._core.waitForDevice(self.xy_label)
            if focus:
                self._core.waitForDevice(self.z_label)

    def reached(self, wanted: Sequence[float], actual: Sequence[float]) -> bool:
        """Whether ``actual`` is ``wanted`` within the tolerances."""
        return all(abs(a - b) <= limit for a, b, limit in zip(wanted, actual, self._tolerance_um, strict=True))

    def halt(self) -> None:
        """Stop whatever moves, as well as the stages know how to."""
        for label in filter(None, (self.xy_label, self.z_label)):
            try:
                self._core.stop(label)
            except DEVICE_ERRORS:
                continue


class Light:
    """The current shutter and the configured power.

    A configuration with auto-shutter lights the sample only while frames are taken; that stays so: *on* means that
    frames are lit, *off* that they are not.
    """

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions) -> None:
        self._core = core
        self._full = options.light_full
        self._power = property_name(options.light_property) if options.light_property else None
        self._auto = bool(core.getAutoShutter())

    def switch(self, on: bool, streaming: bool) -> bool:
        """Light the frames or not; returns what was read back."""
        label = str(self._core.getShutterDevice())
        if not label:
            raise Refused("this rig has no shutter")
        with device_calls(f"shutter '{label}'"):
            self._core.setAutoShutter(on and self._auto)
            held_open = on and (streaming or not self._auto)
            self._core.setShutterOpen(held_open)
            self._core.waitForDevice(label)
            actual = bool(self._core.getShutterOpen())
        if actual != held_open:
            raise DriverError(f"shutter '{label}': {_open(held_open)} was asked and it answers {_open(actual)}")
        return actual or (on and self._auto)

    def set_power(self, power: float) -> float:
        """Set the power as a fraction of full power and return the fraction read back."""
        if self._power is None:
            raise Refused("the light has no power setting; name one in [camera.options] light_property")
        device, name = self._power
        with device_calls(f"{self._power} = {power * self._full:g}"):
            self._core.setProperty(device, name, power * self._full)
            self._core.waitForDevice(device)
            actual = float(self._core.getProperty(device, name)) / self._full
        if abs(actual - power) > 0.01:
            raise DriverError(f"{self._power}: power {power} was asked and it answers {actual}")
        return actual

    @property
    def present(self) -> bool:
        """Whether anything of the light can be set."""
        return bool(self._power or self._core.getShutterDevice())

    def close(self) -> None:
        """Leave the sample dark, as well as the rig knows how to."""
        try:
            if self._core.getShutterDevice():
                self._core.setShutterOpen(False)
            elif self._power:
                self._core.setProperty(*self._power, 0)
        except DEVICE_ERRORS as error:
            raise DriverError(f"the light could not be closed: {error}; close it by hand") from error

    def describe(self) -> dict[str, Any]:
        """Name the devices."""
        label = str(self._core.getShutterDevice())
        is_open = bool(self._core.getShutterOpen()) if label else None
        return {"shutter": label, "auto": self._auto, "open": is_open, "power": str(self._power or "")}


class Channels:
    """The presets of the channel group."""

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions, camera: str) -> None:
        self._core = core
        self._camera = camera
        group = options.channel_group or str(core.getChannelGroup())
        groups = [str(name) for name in core.getAvailableConfigGroups()]
        if options.channel_group and group not in groups:
            raise DriverError(f"no config group '{group}'; the configuration has {', '.join(groups) or 'none'}")
        self.group = group if group in groups else ""
        self.names = tuple(str(name) for name in core.getAvailableConfigs(group)) if self.group else ()

    @property
    def current(self) -> str:
        """The preset that the hardware matches, or an empty string."""
        with device_calls(f"config group '{self.group}'"):
            return str(self._core.getCurrentConfig(self.group)) if self.group else ""

    def require(self, name: str) -> None:
        """Raise Refused for a channel that is not configured."""
        if name not in self.names:
            known = ", ".join(self.names) or "none is configured"
            raise Refused(f"no channel '{name}' in config group '{self.group}'; known: {known}")

    def touches_camera(self, name: str) -> bool:
        """Whether the preset changes the camera beyond its gain, which a running sequence may not survive."""
        settings = self._core.getConfigData(self.group, name)
        return any(device == self._camera and prop not in ("Exposure", "Gain") for device, prop, _ in settings)

    def select(self, name: str) -> str:
        """Set the preset and return the one that was read back."""
        self.require(name)
        with device_calls(f"channel '{name}'"):
            self._core.setConfig(self.group, name)
            self._core.waitForConfig(self.group, name)
        actual = self.current
        if actual != name:
            raise DriverError(f"channel: '{name}' was asked and the hardware matches '{actual or 'no preset'}'")
        return actual


def _open(is_open: bool) -> str:
    return "open" if is_open else "closed"
