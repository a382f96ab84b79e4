"""The microscope without Micro-Manager: settings in, counts out; the specimen ages by the camera's schedule."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.virtual.cycle import Population
from drivers.virtual.night import Effect, Night
from drivers.virtual.optics import Area, Optics, in_reach
from drivers.virtual.options import VirtualOptions
from drivers.virtual.sensor import Sensor
from drivers.virtual.shapes import Lobes, lobes
from drivers.virtual.specimen import Specimen
from drivers.virtual.turns import Turn
from drivers.virtual.view import View

__all__ = ["Microscope", "Shot", "View"]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One exposure with what was truly there: ``lobes`` in reach, and the place and size of the binned pixels.

    ``clock_s`` is the camera's own time. ``turns`` is what happened in the whole specimen since the exposure before,
    ``cells`` a copy of all of it, where somebody keeps the truth. ``view`` is as it truly was, ``faults`` made it so.
    """

    counter: int
    minute: float
    pixels: NDArray[np.uint16 | np.uint8]
    lobes: Lobes
    x0_um: float
    y0_um: float
    pixel_um: float
    turns: tuple[Turn, ...] = ()
    clock_s: float = 0.0
    view: View | None = None
    cells: Population | None = None
    faults: tuple[Effect, ...] = ()


class Microscope:
    """A specimen under optics and a sensor. A call waits for the one before, which may take long: hours of cell life.

    Parameters
    ----------
    options
        See :class:`VirtualOptions`.
    tells
        Put a copy of all cells into each :class:`Shot`.
    """

    def __init__(self, options: VirtualOptions, tells: bool = False) -> None:
        self._options = options
        self.specimen = Specimen(options)
        self.night = Night(options)
        self._optics = Optics(options)
        self._sensor = Sensor(options)
        self._turns: tuple[Turn, ...] = ()
        self._tells = tells
        self._passing: View | None = None
        self._left_ms = 0.0
        self._busy = threading.RLock()
        self.clock_s = 0.0
        """Time of the camera: what its exposures, their periods and the pauses between sequences took."""
        self.counter = 0
        """Number of the next exposure."""

    def expose(self, view: View) -> Shot:
        """Take a picture of the present moment. Nothing changes until :meth:`pass_by`."""
        with self._busy:
            self.rest()
            return self._picture(view)

    def _picture(self, view: View) -> Shot:
        view, faults = self.night.seen(view, self.clock_s, self.counter)
        area = self._area(view)
        cells = self.specimen.cells
        seen = lobes(cells[in_reach(cells["x"], cells["y"], area)], self._options.nucleus_um)
        photons = self._optics.photons(seen, area, view.channel, view.stage_um[2], view.exposure_ms * view.power)
        if self.night.soils:
            faults += self.night.soil(photons, area, view, self.clock_s)
        pixels = self._sensor.read(_binned(photons, view.binning), view.exposure_ms, self.counter, view.pixel_type)
        shift = (view.binning - 1) / 2 * area.pixel_um
        return Shot(
            self.counter,
            self.specimen.minute,
            pixels,
            seen,
            area.x0_um + shift,
            area.y0_um + shift,
            area.pixel_um * view.binning,
            self._turns,
            self.clock_s,
            view,
            cells.copy() if self._tells else None,
            tuple(faults),
        )

    def pass_by(self, view: View) -> None:
        """Count the exposure as taken: its light bleaches, and the time to the next frame passes, in :meth:`rest`."""
        with self._busy:
            self._passing, _ = self.night.seen(view, self.clock_s, self.counter)
            self._left_ms += view.period_ms
            self._turns = ()
            self.counter += 1

    def idle(self, ms: float, view: View) -> None:
        """Let time pass without a frame, in :meth:`rest`, too; an open shutter lights the cells meanwhile."""
        with self._busy:
            self.rest(self._left_ms)
            if view.held_open:
                self._shine(self.night.seen(view, self.clock_s, self.counter)[0], ms)
            self._left_ms += ms

    def forget(self) -> None:
        """Let the time that is left to pass never pass."""
        with self._busy:
            self.rest(self._left_ms)
            self._left_ms = 0.0

    def rest(self, leave_ms: float = 0.0) -> None:
        """Let the time since the last exposure pass, but for ``leave_ms``; the next exposure sees to what is left."""
        with self._busy:
            view, self._passing = self._passing, None
            if view is not None:
                self._shine(view, view.period_ms if view.held_open else view.exposure_ms)
            ms = max(self._left_ms - leave_ms, 0.0)
            self._left_ms -= ms
            self._age(ms)

    def stimulate(self, mask: NDArray[np.uint8], light_s: float, view: View) -> int:
        """Light the cells whose centres lie where ``mask`` does, and return how many.

        Parameters
        ----------
        mask
            (y, x) over the full sensor, 0 to 255.
        light_s
            Seconds of full light where the mask is 255.
        view
            Where the stage is.
        """
        with self._busy:
            view, _ = self.night.seen(view, self.clock_s, self.counter)
            cells, area = self.specimen.cells, self._area(view, whole=True)
            column = np.rint((cells["x"] - area.x0_um) / area.pixel_um).astype(np.int64)
            row = np.rint((cells["y"] - area.y0_um) / area.pixel_um).astype(np.int64)
            inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
            level = np.zeros(len(cells))
            level[inside] = mask[row[inside], column[inside]] / 255.0
            for value in np.unique(level[level > 0]):
                self.specimen.stimulate(float(value) * light_s, level == value)
            return int((level > 0).sum())

    def _shine(self, view: View, ms: float) -> None:
        if view.channel == "phase" or not view.power:
            return
        cells, light_s = self.specimen.cells, ms * 1e-3 * view.power
        lit = in_reach(cells["x"], cells["y"], self._area(view, whole=True))
        self.specimen.bleach(light_s * self._options.brightness, lit)
        self.specimen.burden(light_s, lit)

    def _age(self, ms: float) -> None:
        if ms:
            self.night.befall(self.specimen, self.clock_s)
            self.clock_s += ms * 1e-3
            self.specimen.advance(ms * 1e-3 * self._options.minutes_per_second)
        self._turns += self.specimen.take_turns()

    def _area(self, view: View, whole: bool = False) -> Area:
        pixel = self._options.pixel_um
        full_w, full_h = self._options.size_px
        x, y, w, h = (0, 0, full_w, full_h) if whole else (side * view.binning for side in view.roi_px)
        # An odd sensor leaves a rim that no binned pixel covers; the binned image is centred like the stage says.
        binned_w, binned_h = full_w // view.binning * view.binning, full_h // view.binning * view.binning
        left = view.stage_um[0] + (x - (binned_w - 1) / 2) * pixel
        top = view.stage_um[1] + (y - (binned_h - 1) / 2) * pixel
        return Area(left, top, x, y, w, h, pixel)


def _binned(photons: NDArray[np.float32], binning: int) -> NDArray[np.float32]:
    if binning == 1:
        return photons
    height, width = photons.shape[0] // binning, photons.shape[1] // binning
    blocks = photons[: height * binning, : width * binning].reshape(height, binning, width, binning)
    summed: NDArray[np.float32] = blocks.sum(axis=(1, 3), dtype=np.float32)
    return summed
