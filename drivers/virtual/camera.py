"""The camera as Micro-Manager's Python core sees it: settings, geometry and the schedule of exposures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import CameraDevice

from drivers.virtual.bench import Bench
from drivers.virtual.buffer import SKIPPED
from drivers.virtual.microscope import Microscope, Shot, View
from drivers.virtual.night import Trouble
from drivers.virtual.options import VirtualOptions
from drivers.virtual.sensor import PIXEL_TYPES
from stream.clock import now_ns

TAG = "VirtualFrame"
"""Metadata tag: the exposure's number, by which its truth is found."""
BINNINGS = ("1", "2", "4")
_RETAKES = 3


class VirtualCamera(CameraDevice):
    """Exposes on a schedule without drift; the specimen ages by that schedule and not by the clock on the wall.

    Between two sequences, and between single images, there is no schedule: there it ages by the clock.

    Parameters
    ----------
    bench, microscope
        Settings, and what they look at.
    options
        Sensor size and readout time.
    stop
        Set by the core to end a sequence; interrupts an exposure.
    on_shot
        Called with each exposure before the core has it.
    on_begin
        Called as each exposure begins.
    """

    def __init__(
        self,
        bench: Bench,
        microscope: Microscope,
        options: VirtualOptions,
        stop: threading.Event,
        on_shot: Callable[[Shot], None],
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._bench = bench
        self._microscope = microscope
        self._sensor_px = options.size_px
        self._readout_ms = options.latency_ms
        self._stop = stop
        self._no_stop = threading.Event()
        self._on_shot = on_shot
        self._on_begin = on_begin
        self._sequence = 0
        self._over_ns: int | None = None
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

    def start_sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], DTypeLike], NDArray[Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """Take ``n`` frames, or frames without end; the geometry stays as it is now."""
        self._sequence += 1
        return self._frames(self._sequence, n, get_buffer)

    def _frames(
        self, sequence: int, n: int | None, get_buffer: Callable[[Sequence[int], DTypeLike], NDArray[Any]]
    ) -> Iterator[Mapping[str, Any]]:
        due_ns, taken, skipped, begun = now_ns(), 0, 0, False
        frozen = self._bench.settings
        while n is None or taken < n:
            # The core's stop may still be set from the sequence before when an image is snapped.
            if n != 1 and (self._stop.is_set() or self._wait(due_ns)):
                return
            if sequence != self._sequence:
                return
            begin_ns = now_ns()
            # Late by more than a period, the schedule slips.
            begin_ns = due_ns if begin_ns - due_ns < frozen.period_ms * 1e6 else begin_ns
            # A stop ends an exposure at once; what was begun is delivered.
            if not begun:
                self._idle_until(begin_ns)
                begun = True
            trouble = self._trouble()
            if trouble == "hangs":
                self._hang(snap=n == 1)
                continue
            if trouble == "raises" or (trouble and n == 1):
                raise RuntimeError(f"the camera gives no image ({trouble})")
            if trouble == "stops":
                return
            self._on_begin()
            shot, view = self._expose(begin_ns, frozen, snap=n == 1)
            if sequence != self._sequence:
                return
            self._on_shot(shot)
            due_ns, frozen = begin_ns + round(view.period_ms * 1e6), view
            self._over_ns = due_ns
            if trouble:
                skipped += trouble == "drops"
                self._microscope.pass_by(view)
            else:
                get_buffer(shot.pixels.shape, shot.pixels.dtype)[:] = shot.pixels
                self._microscope.pass_by(view)
                taken += 1
                yield {TAG: str(shot.counter), SKIPPED: str(skipped)}
            self._microscope.rest()

    def _trouble(self) -> Trouble:
        microscope = self._microscope
        if not microscope.night.troubles:
            return ""
        microscope.rest()
        return microscope.night.camera(microscope.clock_s, microscope.counter)

    def _hang(self, snap: bool) -> None:
        """Wait for the end of a hang, or for a stop; a single image can only wait for the core to unload."""
        begun_ns, left_s = now_ns(), self._microscope.night.hang_s(self._microscope.clock_s)
        (self._no_stop if snap else self._stop).wait(left_s)
        if snap and self._no_stop.is_set():
            raise RuntimeError("the camera was unloaded while it took an image")
        self._microscope.idle((now_ns() - begun_ns) / 1e6)
        self._over_ns = now_ns()

    def wake(self) -> None:
        """End what still waits for an image, for good."""
        self._no_stop.set()

    def _idle_until(self, begin_ns: int) -> None:
        """Between sequences, and between snaps, life goes on by the clock on the wall."""
        if self._over_ns is not None and begin_ns > self._over_ns:
            self._microscope.idle((begin_ns - self._over_ns) / 1e6)
            self._over_ns = begin_ns

    def _expose(self, begin_ns: int, frozen: View, snap: bool) -> tuple[Shot, View]:
        """Render while the exposure and the readout last.

        On a busy machine a frame arrives late, and seems to have begun late: what was set before that must be in it.
        """
        for _ in range(_RETAKES):
            seen_ns, view = now_ns(), self._seen(frozen)
            shot = self._microscope.expose(view)
            self._wait(begin_ns + self._lasts_ns(view), snap)
            if now_ns() - self._lasts_ns(view) <= seen_ns or self._seen(frozen) == view:
                break
        return shot, view

    def _lasts_ns(self, view: View) -> int:
        return round((view.exposure_ms + self._readout_ms) * 1e6)

    def _seen(self, frozen: View) -> View:
        view = self._bench.view()
        return replace(view, roi_px=frozen.roi_px, binning=frozen.binning, pixel_type=frozen.pixel_type)

    def _wait(self, until_ns: int, snap: bool = False) -> bool:
        """Wait; True: stopped meanwhile."""
        left_s = max(until_ns - now_ns(), 0) / 1e9
        return (self._no_stop if snap else self._stop).wait(left_s)

    def _full_px(self, binning: int) -> tuple[int, int, int, int]:
        return 0, 0, self._sensor_px[0] // binning, self._sensor_px[1] // binning
