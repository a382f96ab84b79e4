"""Stage and channels through the core: every setting is read back and compared; called by its owner alone."""

from __future__ import annotations

from collections.abc import Sequence

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS, device_calls
from drivers.micromanager.options import MicroManagerOptions
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
