"""The spatial light modulator through the core: a mask is loaded, shown for its time, cleared and read back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS, device_calls
from drivers.micromanager.options import MicroManagerOptions
from stream.errors import DriverError, Refused

Mask = NDArray[np.uint8]
Outline = NDArray[np.float64]
"""Vertices of a polygon, (n, 2) as (x, y) in pixels."""
_LIT = 255


class Modulator:
    """The current modulator, or none; called by the core's owner alone.

    Parameters
    ----------
    core
        With its configuration loaded.
    options
        ``slm``, ``slm_affine`` and ``stimulate_limit_ms``.
    """

    def __init__(self, core: CMMCorePlus, options: MicroManagerOptions) -> None:
        self._core = core
        self._affine = options.slm_affine
        self._limit_ms = options.stimulate_limit_ms
        with device_calls(f"modulator '{options.slm}'"):
            if options.slm:
                core.setSLMDevice(options.slm)
            self.label = str(core.getSLMDevice())
        self._lit = False

    @property
    def lacking(self) -> str:
        """Why nothing can be lit, or an empty string."""
        if not self.label:
            return "this rig has no light modulator"
        if self._affine is None:
            return f"'{self.label}' is not calibrated: [camera.options] slm_affine is to map sensor to modulator pixels"
        return ""

    def shine(self, outlines: Sequence[Outline], duration_ms: float) -> dict[str, object]:
        """Light what the outlines enclose for ``duration_ms``, and return what was lit.

        The device is told to end by itself; it is cleared besides. The call lasts as long as the light.

        Parameters
        ----------
        outlines
            In pixels of the full sensor, not binned; what two of them enclose is lit once.

        Raises
        ------
        Refused
            There is no calibrated modulator, the light would last too long, or would fall beside the modulator.
        DriverError
            The modulator failed, or shows something else; it was cleared.
        """
        if self.lacking:
            raise Refused(self.lacking)
        if duration_ms > self._limit_ms:
            raise Refused(
                f"{duration_ms:g} ms of light is longer than stimulate_limit_ms = {self._limit_ms:g}: nothing else "
                "can be commanded meanwhile"
            )
        mask = self._mask(outlines)
        try:
            self._load(mask, duration_ms)
            with device_calls(f"modulator '{self.label}'"):
                self._lit = True
                self._core.displaySLMImage(self.label)
                # The light's own duration; nothing happens that could end it earlier.
                threading.Event().wait(duration_ms * 1e-3)
        finally:
            self.clear()
        return {"lit_px": int(np.count_nonzero(mask)), "duration_ms": duration_ms, "slm": self.label}

    def clear(self) -> None:
        """Show nothing. Raises DriverError where the modulator stays lit."""
        if not self._lit:
            return
        with device_calls(f"modulator '{self.label}' to be cleared"):
            self._core.setSLMPixelsTo(self.label, 0)
            self._core.displaySLMImage(self.label)
        shown = self._shown()
        if shown is not None and shown.any():
            raise DriverError(f"modulator '{self.label}' was to be cleared and shows {np.count_nonzero(shown)} pixels")
        self._lit = False

    def _mask(self, outlines: Sequence[Outline]) -> Mask:
        with device_calls(f"modulator '{self.label}'"):
            width, height = int(self._core.getSLMWidth(self.label)), int(self._core.getSLMHeight(self.label))
            depth = int(self._core.getSLMBytesPerPixel(self.label))
        if depth != 1:
            raise Refused(f"'{self.label}' has {8 * depth} bit pixels; only grey ones of 8 bits are driven")
        a, b, c, d, e, f = self._affine or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        placed = [outline @ np.array([[a, d], [b, e]]) + np.array([c, f]) for outline in outlines]
        for outline in placed:
            low, high = outline.min(axis=0), outline.max(axis=0)
            if low.min() < -0.5 or high[0] > width - 0.5 or high[1] > height - 0.5:
                raise Refused(
                    f"the mask reaches from {_place(low)} to {_place(high)} on '{self.label}', which has "
                    f"{width} x {height} pixels"
                )
        mask = filled(placed, (height, width))
        if not mask.any():
            raise Refused(f"the mask encloses no pixel of '{self.label}'")
        return mask

    def _load(self, mask: Mask, duration_ms: float) -> None:
        with device_calls(f"mask on modulator '{self.label}'"):
            self._core.setSLMImage(self.label, mask)
        # Not every modulator has a clock of its own: it is cleared in any case.
        with suppress(*DEVICE_ERRORS):
            self._core.setSLMExposure(self.label, duration_ms)
        loaded = self._shown()
        if loaded is not None and not np.array_equal(loaded, mask):
            raise DriverError(f"modulator '{self.label}' holds another mask than it was given")

    def _shown(self) -> NDArray[np.uint8] | None:
        """Read the modulator's image; None: only devices written in Python tell it."""
        read = getattr(self._core, "getSLMImage", None)
        if read is None:
            return None
        try:
            return np.asarray(read(self.label), np.uint8)
        except NotImplementedError:
            return None


def filled(outlines: Sequence[Outline], shape: tuple[int, int]) -> Mask:
    """Return what lies within any of the outlines, (y, x): 255 inside, 0 outside.

    A pixel is inside where a ray from its centre crosses the outline an odd number of times.

    >>> filled([np.array([(0.5, 0.5), (2.5, 0.5), (2.5, 1.5), (0.5, 1.5)])], (3, 4)).tolist()
    [[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        x0, y0 = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(outline.max(axis=0)) + 1, (shape[1], shape[0])).astype(int)
        y, x = np.mgrid[y0:y1, x0:x1]
        inside = np.zeros(y.shape, bool)
        for (xa, ya), (xb, yb) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            if ya != yb:
                inside ^= ((ya > y) != (yb > y)) & (x < (xb - xa) * (y - ya) / (yb - ya) + xa)
        mask[y0:y1, x0:x1][inside] = _LIT
    return mask


def _place(point: NDArray[np.float64]) -> str:
    return f"({point[0]:.0f}, {point[1]:.0f})"
