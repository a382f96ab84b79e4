"""The camera as Micro-Manager's Python core sees it: settings and geometry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from pymmcore_plus.experimental.unicore import CameraDevice

from drivers.virtual.bench import Bench
from drivers.virtual.exposures import Exposures, GetBuffer
from drivers.virtual.sensor import PIXEL_TYPES

BINNINGS = ("1", "2", "4")


class VirtualCamera(CameraDevice):
    """A camera with ROI, binning, pixel types and a pace of its own.

    Parameters
    ----------
    bench
        Settings.
    exposures
        Takes the images.
    size_px
        Width and height of the sensor.
    """

    def __init__(self, bench: Bench, exposures: Exposures, size_px: tuple[int, int]) -> None:
        super().__init__()
        self._bench = bench
        self._exposures = exposures
        self._sensor_px = size_px
        self.set_property_allowed_values("Binning", BINNINGS)
        self.register_property(
            "Interval_ms",
            property_type=float,
            limits=(0.0, 3_600_000.0),
            getter=VirtualCamera.get_interval_ms,
            setter=VirtualCamera.set_interval_ms,
        )
        self.register_property(
            "PixelType",
            property_type=str,
            default_value="16bit",
            allowed_values=tuple(PIXEL_TYPES),
            getter=VirtualCamera.get_pixel_type,
            setter=VirtualCamera.set_pixel_type,
        )

    def get_exposure(self) -> float:
        """Exposure in ms."""
        return self._bench.settings.exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure; raises ValueError outside 0.01 ms to 60 s."""
        if not 0.01 <= exposure <= 60_000.0:
            raise ValueError(f"exposure {exposure} ms is not within 0.01 to 60000 ms")
        self._bench.change(exposure_ms=float(exposure))

    def get_interval_ms(self) -> float:
        """Time from one frame's beginning to the next one's; 0: as fast as the exposure allows."""
        return self._bench.interval_ms

    def set_interval_ms(self, value: float) -> None:
        """Pace the camera."""
        self._bench.pace(float(value))

    def get_pixel_type(self) -> str:
        """A key of ``PIXEL_TYPES``."""
        return self._bench.settings.pixel_type

    def set_pixel_type(self, value: str) -> None:
        """Choose the depth."""
        self._bench.change(pixel_type=value)

    def get_binning(self) -> str:  # type: ignore[override]  # texts, as in any C++ adapter
        """Binning as text."""
        return str(self._bench.settings.binning)

    def set_binning(self, value: str) -> None:
        """Bin, and read the whole sensor."""
        binning = int(value)
        self._bench.change(binning=binning, roi_px=self._full_px(binning))

    def shape(self) -> tuple[int, int]:
        """(height, width) of the next image."""
        _, _, width, height = self._bench.settings.roi_px
        return height, width

    def dtype(self) -> DTypeLike:
        """uint8 or uint16."""
        return np.uint8 if self._bench.settings.pixel_type == "8bit" else np.uint16

    def get_roi(self) -> tuple[int, int, int, int]:
        """(x, y, w, h) in binned pixels."""
        return self._bench.settings.roi_px

    def set_roi(self, x: int, y: int, width: int, height: int) -> None:
        """Read a part of the sensor. Raises ValueError outside it."""
        _, _, full_w, full_h = self._full_px(self._bench.settings.binning)
        if min(x, y) < 0 or min(width, height) < 1 or x + width > full_w or y + height > full_h:
            raise ValueError(f"ROI {(x, y, width, height)} is not within the sensor of {full_w}x{full_h} pixels")
        self._bench.change(roi_px=(int(x), int(y), int(width), int(height)))

    def clear_roi(self) -> None:
        """Read the whole sensor."""
        self._bench.change(roi_px=self._full_px(self._bench.settings.binning))

    def start_sequence(self, n: int | None, get_buffer: GetBuffer) -> Iterator[Mapping[str, Any]]:
        """Take ``n`` frames, or frames without end; the geometry stays as it is now."""
        return self._exposures.start(n, get_buffer)

    def _full_px(self, binning: int) -> tuple[int, int, int, int]:
        return 0, 0, self._sensor_px[0] // binning, self._sensor_px[1] // binning
