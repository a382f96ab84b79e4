"""A light modulator in the virtual microscope: its pixels are those of the sensor, its light activates cells."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SLMDevice

from drivers.virtual.bench import Bench
from drivers.virtual.microscope import Microscope
from stream.clock import now_ns


class VirtualModulator(SLMDevice):
    """Lights what its image says, for the time it was told or until another image is displayed.

    Its own lamp burns at full power and is no part of the camera's light path: frames do not show it, cells feel it.

    Parameters
    ----------
    bench, microscope
        Where the stage is, and whom the light falls on.
    size_px
        Width and height of the sensor.
    catch_up
        Lets life go on up to now, before the light falls on it.
    """

    def __init__(
        self, bench: Bench, microscope: Microscope, size_px: tuple[int, int], catch_up: Callable[[], None]
    ) -> None:
        super().__init__()
        self._bench = bench
        self._microscope = microscope
        self._size_px = size_px
        self._catch_up = catch_up
        self._feeling = threading.Lock()
        self._loaded = np.zeros(self.shape(), np.uint8)
        self._displayed: NDArray[np.uint8] | None = None
        self._exposure_ms = 0.0
        self._told_ns = 0
        self._until_ns = 0

    def shape(self) -> tuple[int, ...]:
        """(height, width), as the core takes it."""
        width, height = self._size_px
        return height, width

    def dtype(self) -> DTypeLike:
        """uint8."""
        return np.uint8

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """Load an image; what is displayed stays."""
        self._loaded = pixels.copy()

    def get_image(self) -> NDArray[np.uint8]:
        """Return the loaded image."""
        return self._loaded.copy()

    def display_image(self) -> None:
        """Light the loaded image from now on."""
        self._catch_up()
        self.feel()
        with self._feeling:
            self._displayed = self._loaded if self._loaded.any() else None
            self._told_ns = now_ns()
            lasts_ns = round(self._exposure_ms * 1e6)
            self._until_ns = self._told_ns + lasts_ns if lasts_ns else 2**63

    def set_exposure(self, interval_ms: float) -> None:
        """End each display by itself after so long; 0: never."""
        if interval_ms < 0:
            raise ValueError(f"the modulator cannot be lit for {interval_ms} ms")
        self._exposure_ms = float(interval_ms)

    def get_exposure(self) -> float:
        """As set."""
        return self._exposure_ms

    def feel(self) -> None:
        """Let the cells feel the light up to now; the camera calls this with every exposure."""
        with self._feeling:
            now = min(now_ns(), self._until_ns)
            image, light_s = self._displayed, (now - self._told_ns) / 1e9
            self._told_ns = now
            if now == self._until_ns:
                self._displayed = None
        if image is not None and light_s > 0:
            self._microscope.stimulate(image, light_s, self._bench.view())
