"""The devices of one core together."""

from __future__ import annotations

import logging
from typing import Any

import pymmcore_plus
from pymmcore_plus import CMMCorePlus

from drivers.micromanager.autofocus import Autofocus
from drivers.micromanager.calls import device_calls
from drivers.micromanager.camera import Camera
from drivers.micromanager.devices import Channels, Stage
from drivers.micromanager.light import Light
from drivers.micromanager.modulator import Modulator
from drivers.micromanager.options import MicroManagerOptions, PropertyName, property_name
from drivers.micromanager.timeline import State
from drivers.micromanager.unload import unload
from stream.config import PlanSettings
from stream.errors import DriverError, Refused

_log = logging.getLogger(__name__)


class Rig:
    """Camera, stage, light and channels.

    Parameters
    ----------
    core
        With its configuration loaded.
    options
        Which devices and properties are meant; ``properties`` are set here.

    Raises
    ------
    DriverError
        A device or property is missing or cannot be used.
    """

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions) -> None:
        self.core = core
        self.options = options
        core.setTimeoutMs(options.device_timeout_ms)
        if options.buffer_mb:
            with device_calls(f"circular buffer of {options.buffer_mb} MB"):
                core.setCircularBufferMemoryFootprint(options.buffer_mb)
        for text, value in options.properties.items():
            self._set(property_name(text), value)
        for named in filter(None, (options.interval_property, options.light_property)):
            self.require(property_name(named))
        self.camera = Camera(core, options)
        self.stage = Stage(core, options)
        self.light = Light(core, options)
        self.modulator = Modulator(core, options)
        self.channels = Channels(core, options, self.camera.label)
        self.autofocus = Autofocus(core)

    def state(self) -> State:
        """Read everything back that may change under a stream."""
        return State(self.stage.read_um(), self.camera.exposure_ms, self.channels.current)

    def prepare(self, plan: PlanSettings) -> None:
        """Set exposure and light as the plan says."""
        self.camera.expose(plan.exposure_ms)
        if plan.light_power is not None:
            self.light.set_power(plan.light_power)

    def set_interval(self, interval_ms: float) -> float:
        """Pace the camera by its own property and return what it answers; Refused where it cannot be paced."""
        if self.options.interval_property is None:
            raise Refused(
                "in stream mode the camera runs at its own pace; name a property that paces it in [camera.options] "
                "interval_property, or use [plan] mode = 'mda'"
            )
        name = property_name(self.options.interval_property)
        before = self.core.getProperty(*name)
        self._set(name, interval_ms)
        actual = float(self.core.getProperty(*name))
        # 0 asks for the camera's best, whatever that is.
        if interval_ms and abs(actual - interval_ms) > max(0.01 * interval_ms, 0.01):
            self._set(name, before)
            raise Refused(f"the camera does not keep an interval of {interval_ms} ms: {name} answers {actual} ms")
        return actual

    def darken(self) -> None:
        """Close the light; a light that does not close is logged."""
        for dark in (self.modulator.clear, self.light.close):
            try:
                dark()
            except DriverError:
                _log.exception("on closing")

    def release(self) -> None:
        """Darken the sample and unload the devices."""
        self.darken()
        self.stage.halt()
        unload(self.core)

    def describe(self) -> dict[str, Any]:
        """Say what is there."""
        core, geometry = self.core, self.camera.geometry()
        return {
            "camera": self.camera.label,
            "sensor_px": geometry.sensor_px,
            "roi_px": geometry.roi_px,
            "binning": geometry.binning,
            "pixel_type": geometry.pixel_type,
            "affine_um": geometry.affine_um,
            "pixel_calibrated": bool(self.options.affine_um or core.getPixelSizeUm()),
            "exposure_ms": self.camera.exposure_ms,
            "stages": {"xy": self.stage.xy_label, "z": self.stage.z_label},
            "stage_um": self.stage.read_um(),
            "autofocus": self.autofocus.label,
            "light": self.light.describe(),
            "modulator": self.modulator.label,
            "channel_group": self.channels.group,
            "channels": self.channels.names,
            "channel": self.channels.current,
            "buffer_mb": core.getCircularBufferMemoryFootprint(),
            "devices": {
                str(label): f"{core.getDeviceLibrary(label)}.{core.getDeviceName(label)}"
                for label in core.getLoadedDevices()
                if label != "Core"
            },
            "versions": {
                "pymmcore_plus": pymmcore_plus.__version__,
                "core": str(core.getVersionInfo()),
                "device_interface": str(core.getAPIVersionInfo()),
            },
        }

    def require(self, *names: PropertyName) -> None:
        """Raise DriverError for a property that is not there."""
        for name in names:
            if name.device not in self.core.getLoadedDevices():
                known = ", ".join(str(label) for label in self.core.getLoadedDevices())
                raise DriverError(f"{name}: no device '{name.device}'; the configuration has {known}")
            if not self.core.hasProperty(*name):
                known = ", ".join(self.core.getDevicePropertyNames(name.device))
                raise DriverError(f"{name}: no property '{name.name}'; '{name.device}' has {known}")

    def _set(self, name: PropertyName, value: str | int | float) -> None:
        self.require(name)
        with device_calls(f"{name} = {value}"):
            self.core.setProperty(*name, value)
            self.core.waitForDevice(name.device)
            actual = str(self.core.getProperty(*name))
        if not _same(actual, str(value)):
            raise DriverError(f"{name}: '{value}' was asked and it answers '{actual}'")


def _same(actual: str, asked: str) -> bool:
    if actual == asked:
        return True
    try:
        a, b = float(actual), float(asked)
    except ValueError:
        return False
    return abs(a - b) <= max(0.01 * abs(b), 0.01)
