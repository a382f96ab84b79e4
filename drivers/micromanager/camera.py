"""The camera through the core: every setting is read back and compared; called by the core's owner alone."""

from __future__ import annotations

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS, device_calls
from drivers.micromanager.geometry import Geometry, Roi
from drivers.micromanager.options import MicroManagerOptions
from stream.errors import DriverError, Refused
from stream.frame import IDENTITY_UM, Affine

_ROI_STEP_PX = 16
"""Cameras round an ROI to their own steps; more than this is another ROI."""


class Camera:
    """The camera that takes the frames.

    Parameters
    ----------
    core
        With its configuration loaded.
    options
        Camera label, affine and tolerances.
    """

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions) -> None:
        self._core = core
        self._options = options
        with device_calls(f"camera '{options.camera}'"):
            if options.camera:
                core.setCameraDevice(options.camera)
            self.label: str = str(core.getCameraDevice())
        if not self.label:
            raise DriverError("the configuration names no camera; set [camera.options] camera to a label of it")
        if core.getNumberOfCameraChannels() > 1:
            raise DriverError(f"'{self.label}' stands for several cameras; name one of them in [camera.options] camera")
        self._check_pixels()
        self._sensor_px, self._sensor_binning = (0, 0), 0
        self._measure_sensor()

    @property
    def exposure_ms(self) -> float:
        """As the camera says."""
        with device_calls("exposure"):
            return float(self._core.getExposure())

    @property
    def streaming(self) -> bool:
        """Whether a sequence runs; a camera that cannot say so does not stream."""
        try:
            return bool(self._core.isSequenceRunning())
        except DEVICE_ERRORS:
            return False

    def expose(self, exposure_ms: float) -> float:
        """Set the exposure and return what the camera made of it; a mismatch restores the former one."""
        before = self.exposure_ms
        with device_calls(f"exposure of {exposure_ms} ms"):
            self._core.setExposure(exposure_ms)
        actual = self.exposure_ms
        if not self.exposed(exposure_ms, actual):
            with device_calls(f"exposure back to {before} ms"):
                self._core.setExposure(before)
            raise DriverError(
                f"exposure: {exposure_ms} ms was asked and the camera answers {actual} ms; {before} ms is set again"
            )
        return actual

    def exposed(self, asked_ms: float, actual_ms: float) -> bool:
        """Whether an exposure is what was asked, within the tolerance."""
        tolerance_ms = max(asked_ms * self._options.exposure_tolerance, min(0.1, asked_ms / 2))
        return abs(actual_ms - asked_ms) <= tolerance_ms

    def geometry(self) -> Geometry:
        """Read where the image lies."""
        with device_calls("ROI, binning and pixel size"):
            x, y, width, height = (int(part) for part in self._core.getROI())
            binning = self._binning()
            if binning != self._sensor_binning:
                self._measure_sensor()
            return Geometry((x, y, width, height), self._sensor_px, binning, self._affine(binning), self._pixel_type())

    def set_roi(self, roi_px: Roi | None) -> Roi:
        """Set the ROI of a camera that stands still; a mismatch restores the former one."""
        before = self.geometry()
        wanted = roi_px or before.full_px
        before.check(wanted)
        try:
            self._put_roi(wanted, before)
        except DEVICE_ERRORS as error:
            self._put_roi(before.roi_px, before)
            raise Refused(f"ROI {wanted}: the camera says: {error}; {before.roi_px} is set again") from error
        actual = self.geometry().roi_px
        if max(abs(a - b) for a, b in zip(actual, wanted, strict=True)) > _ROI_STEP_PX:
            self._put_roi(before.roi_px, before)
            raise DriverError(f"ROI: {wanted} was asked and the camera answers {actual}; {before.roi_px} is set again")
        return actual

    def set_binning(self, binning: int) -> int:
        """Bin a camera that stands still; the ROI keeps its part of the sensor."""
        before = self.geometry()
        self.require("Binning", binning)
        self._core.clearROI()
        try:
            # Some adapters write 2, others 2x2.
            allowed = self._core.getAllowedPropertyValues(self.label, "Binning")
            text = next((value for value in allowed if value.split("x")[0] == str(binning)), str(binning))
            with device_calls(f"binning {binning}"):
                self._core.setProperty(self.label, "Binning", text)
        finally:
            self._measure_sensor()
            after = self.geometry()
            if before.roi_px != before.full_px:
                self._put_roi(_scaled(before.roi_px, before.binning / after.binning, after), after)
        if after.binning != binning:
            raise DriverError(f"binning: {binning} was asked and the camera answers {after.binning}")
        return after.binning

    def set_pixel_type(self, pixel_type: str) -> str:
        """Set the PixelType of a camera that stands still; one that gives no 8 or 16 bit grey image is refused."""
        before = self._pixel_type()
        self.require("PixelType", pixel_type)
        with device_calls(f"pixel type {pixel_type}"):
            self._core.setProperty(self.label, "PixelType", pixel_type)
        try:
            self._check_pixels()
        except DriverError as error:
            self._core.setProperty(self.label, "PixelType", before)
            raise Refused(f"{error}; {before} is set again") from None
        if self._pixel_type() != pixel_type:
            raise DriverError(f"pixel type: {pixel_type} was asked and the camera answers {self._pixel_type()}")
        return pixel_type

    def require(self, name: str, value: str | int) -> None:
        """Raise Refused when the camera lacks a property or does not know the value."""
        if not self._core.hasProperty(self.label, name):
            raise Refused(f"camera '{self.label}' has no property {name}")
        allowed = [str(item) for item in self._core.getAllowedPropertyValues(self.label, name)]
        if allowed and not any(item == str(value) or item.split("x")[0] == str(value) for item in allowed):
            raise Refused(f"camera '{self.label}' cannot set {name} to {value}; it knows {', '.join(allowed)}")

    def _put_roi(self, roi_px: Roi, geometry: Geometry) -> None:
        if roi_px == geometry.full_px:
            self._core.clearROI()
        else:
            self._core.setROI(*roi_px)

    def _measure_sensor(self) -> None:
        """Read the whole sensor's size, which the core tells only of the current image."""
        with device_calls("size of the sensor"):
            roi = tuple(self._core.getROI())
            self._core.clearROI()
            self._sensor_px = (int(self._core.getImageWidth()), int(self._core.getImageHeight()))
            self._sensor_binning = self._binning()
            if roi[2:] != (0, 0) and roi != (0, 0, *self._sensor_px):
                self._core.setROI(*roi)

    def _binning(self) -> int:
        if not self._core.hasProperty(self.label, "Binning"):
            return 1
        return int(str(self._core.getProperty(self.label, "Binning")).split("x")[0])

    def _pixel_type(self) -> str:
        known = self._core.hasProperty(self.label, "PixelType")
        return str(self._core.getProperty(self.label, "PixelType")) if known else ""

    def _affine(self, binning: int) -> Affine:
        if self._options.affine_um:
            a, b, c, d = (part * binning for part in self._options.affine_um)
            return ((a, b), (c, d))
        a, b, _, c, d, _ = (float(part) for part in self._core.getPixelSizeAffine())
        if a * d - b * c:
            return ((a, b), (c, d))
        size = float(self._core.getPixelSizeUm())
        return ((size, 0.0), (0.0, size)) if size else IDENTITY_UM

    def _check_pixels(self) -> None:
        depth, parts = self._core.getBytesPerPixel(), self._core.getNumberOfComponents()
        if depth not in (1, 2) or parts != 1:
            raise DriverError(
                f"camera '{self.label}' gives {parts} x {8 * depth // max(parts, 1)} bit pixels (type "
                f"'{self._pixel_type()}'); choose a grey type of 8 or 16 bits"
            )


def _scaled(roi_px: Roi, factor: float, after: Geometry) -> Roi:
    x, y = int(roi_px[0] * factor), int(roi_px[1] * factor)
    width = max(1, min(int(roi_px[2] * factor), after.sensor_px[0] - x))
    height = max(1, min(int(roi_px[3] * factor), after.sensor_px[1] - y))
    return (x, y, width, height)
