"""How a network looks at a frame: resized so that cells have the size that it knows, padded, and read back."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path

import cv2
import numpy as np

from models.normalise import Running
from models.segment.decode import Decoded, DecodeSettings, decode
from models.segment.past import Pixels
from models.segment.sessions import Wanted, ready
from models.spec import MULTIPLE, NetSpec
from stream.cells import Floats

MOST_ZOOM = 4.0
"""No picture is enlarged more: nothing new would be seen."""
LEAST_ZOOM = 0.1
LARGEST_INPUT_PX = 2048 * 2048
"""No picture is enlarged beyond this many pixels; a larger one is looked at as it is, or reduced."""
LEAST_SIDE_PX = 2 * MULTIPLE
_PEDESTAL_STEP = 64
"""The pedestal is the field's offset rounded down to so many counts: what it was in earlier frames must not matter, so
that a segmenter that takes up a saved state sees exactly what it would have seen."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network and what it should run on."""

    model: Path
    spec: NetSpec
    runtime: str
    precision: str


@dataclass(frozen=True, slots=True)
class Sight:
    """At which size a picture is looked at.

    Parameters
    ----------
    shape
        Of the picture.
    inner
        Of the resized picture, which lies in the upper left corner of the input.
    padded
        Of the input.
    """

    shape: tuple[int, int]
    inner: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, int], zoom: float, least_px: int = LEAST_SIDE_PX) -> Sight:
        """Fit a picture to a network that wants it enlarged by ``zoom``; see :func:`zoom_for`."""
        rows, columns = (max(round(side * zoom), 2) for side in shape)
        padded = tuple(max(MULTIPLE * ceil(side / MULTIPLE), least_px) for side in (rows, columns))
        return cls(shape, (rows, columns), (padded[0], padded[1]))

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input for one of the picture."""
        return self.inner[0] / self.shape[0], self.inner[1] / self.shape[1]


def zoom_for(shape: tuple[int, int], diameter_px: float, object_px: float) -> float:
    """Return how much a picture with cells of a diameter is enlarged for a network, within the limits above."""
    most = min(MOST_ZOOM, max(1.0, sqrt(LARGEST_INPUT_PX / (shape[0] * shape[1]))))
    zoom = min(max(object_px / diameter_px, LEAST_ZOOM), most)
    return 1.0 if abs(zoom - 1) < 0.03 else zoom


class Retina:
    """The network's input for one field; keeps the resized earlier frame where it can.

    Parameters
    ----------
    network, sight
        What looks, and at which size.
    """

    def __init__(self, network: Network, sight: Sight) -> None:
        self.network, self.sight = network, sight
        self._frames = np.empty((1, 2, *sight.padded), np.float32)
        self._pedestal = 0
        self._shown: Pixels | None = None
        self._ready = ready(Wanted(network.model, network.runtime, network.precision, sight.padded))

    @property
    def runs_on(self) -> str:
        """Runtime and precision, for people."""
        session = self._ready.session
        return f"{session.runtime} {session.precision}"

    def see(
        self, now: Pixels, levels: Running, before: Pixels, levels_before: Running, settings: DecodeSettings
    ) -> Decoded:
        """Return the cells of ``now`` in its own pixels. Give the same array twice where there is no earlier frame."""
        self._fill(now, levels, before)
        offset = np.array([[levels_before.offset, levels.offset]], np.float32) - np.float32(self._pedestal)
        scale = np.array([[levels_before.scale, levels.scale]], np.float32)
        with self._ready.lock:
            foreground, maps = self._ready.session.run(self._frames, offset, scale)
            outline = self._outline(foreground[0, 0])
            return decode(foreground[0, 0], maps[0], self.network.spec.channels, settings, outline, self.sight.scale)

    def _fill(self, now: Pixels, levels: Running, before: Pixels) -> None:
        earlier, latest = self._frames[0]
        pedestal = int(levels.offset // _PEDESTAL_STEP) * _PEDESTAL_STEP
        if pedestal != self._pedestal:
            self._pedestal, self._shown = pedestal, None
        if before is self._shown:
            earlier[:] = latest
        elif before is not now:
            self._put(before, earlier)
        self._put(now, latest)
        if before is now:
            earlier[:] = latest
        self._shown = now

    def _put(self, pixels: Pixels, plane: Floats) -> None:
        """Write counts above the pedestal, resized and continued by reflection to the right and below."""
        sight = self.sight
        counts = np.subtract(pixels, np.float32(self._pedestal), dtype=np.float32)
        if sight.inner != sight.shape:
            way = cv2.INTER_AREA if sight.inner[0] < sight.shape[0] else cv2.INTER_LINEAR
            counts = cv2.resize(counts, sight.inner[::-1], interpolation=way)
        below, right = sight.padded[0] - sight.inner[0], sight.padded[1] - sight.inner[1]
        if below or right:
            counts = cv2.copyMakeBorder(counts, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        plane[:] = counts

    def _outline(self, foreground: Floats) -> Floats:
        """Return the foreground of the picture at its own size."""
        sight = self.sight
        inner = foreground[: sight.inner[0], : sight.inner[1]]
        if sight.inner == sight.shape:
            return inner
        return np.asarray(cv2.resize(inner, sight.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
