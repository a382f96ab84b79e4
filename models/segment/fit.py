"""At which size a network should look at a field: where the cells that it finds are as large as it was told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.normalise import Running
from models.segment.decode import DecodeSettings
from models.segment.past import Pixels
from models.segment.scale import blob_diameter_px
from models.segment.sight import Network, Retina, Sight, zoom_for
from stream.cells import Floats

LEAST_DIAMETER_PX = 4.0
ENOUGH = 5
"""Cells in one frame after which the diameter stays as it was chosen."""
CANVAS_PX = 512
"""Sizes are tried on a part of the picture, in one input of this side for every size: one network is opened."""
STARTS = (0.6, 1.0, 1.7)
"""Diameters tried first, as shares of that of the picture's blobs."""
ROUNDS = 3
AGREED = 0.08
"""A measured diameter within this (a natural logarithm) of what the network was told is taken."""
DRAWN_SHARE, DRAWN_DIM = 0.33, 0.15
"""Where a cell ends for its size: the networks learned diameters from outlines as truth draws them, which are tighter
than what is shown of dim cells."""
SMALLER = 0.6
"""Where nothing is seen at the sizes of the picture's blobs, ever smaller ones are tried."""
LARGER = 1.25
AS_GOOD = 0.75
"""In a noisy picture grains pass for small cells: a size that is so many times larger and almost as good is better."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What the network found when it was told a diameter."""

    told_px: float
    measured_px: float
    cells: int
    certain: float
    """Share of the picture that cells cover, each counted by its score."""

    @property
    def diameter_px(self) -> float:
        """What both make of it."""
        return max(float(np.sqrt(self.told_px * self.measured_px)), LEAST_DIAMETER_PX)

    @property
    def disagreement(self) -> float:
        """How far measured and told diameter are apart, as a natural logarithm."""
        return abs(float(np.log(self.measured_px / self.told_px))) if self.cells else np.inf


def prepare(network: Network) -> None:
    """Open the network in which sizes are tried. Raises RuntimeUnavailable where nothing can run it."""
    Retina(network, Sight.of((CANVAS_PX, CANVAS_PX), 1.0, CANVAS_PX))


def fitted(pixels: Pixels, network: Network, levels_now: Running, dark_too: bool) -> tuple[float | None, int]:
    """Return the diameter at which to look at a picture, and how many cells were seen; None: none were.

    Parameters
    ----------
    dark_too
        Cells may be darker than their surroundings.
    """
    image = pixels.astype(np.float32)
    blobs = [blob_diameter_px(side) for side in ((image, -image) if dark_too else (image,))]
    starts = sorted({round(share * blob, 2) for blob in blobs if blob is not None for share in STARTS})
    tried = [one for start in _apart(starts) for one in _tries(pixels, network, levels_now, start) if one.cells]
    smaller = min(starts, default=0.0) * SMALLER
    while not tried and smaller >= LEAST_DIAMETER_PX:  # uneven light passes for one large blob
        tried = [one for one in _tries(pixels, network, levels_now, smaller) if one.cells]
        smaller *= SMALLER
    if not tried:
        return None, 0
    best = _best(tried)
    return best.diameter_px, best.cells


def _apart(starts: Iterable[float]) -> list[float]:
    """Leave out what is hardly larger than one before."""
    kept: list[float] = []
    for start in starts:
        if start >= LEAST_DIAMETER_PX / 2 and (not kept or start > 1.25 * kept[-1]):
            kept.append(start)
    return kept


def _merit(tried: Tried) -> tuple[bool, float]:
    """Rank what was tried: one large something is not preferred to many cells, however much it covers."""
    return tried.cells >= ENOUGH, tried.certain * float(np.exp(-2 * tried.disagreement))


def _best(tried: Sequence[Tried]) -> Tried:
    """Return the try of the highest merit, or a much larger size that is almost as good."""
    best = max(tried, key=_merit)
    while True:
        enough, merit = _merit(best)
        larger = [
            one
            for one in tried
            if one.diameter_px > LARGER * best.diameter_px and _merit(one) >= (enough, AS_GOOD * merit)
        ]
        if not larger:
            return best
        best = max(larger, key=_merit)


def _tries(pixels: Pixels, network: Network, levels_now: Running, start_px: float) -> list[Tried]:
    """Tell the network what it measured until both agree."""
    tried = [_try(pixels, network, levels_now, max(start_px, LEAST_DIAMETER_PX))]
    while len(tried) < ROUNDS and tried[-1].disagreement >= AGREED and tried[-1].cells:
        tried.append(_try(pixels, network, levels_now, max(tried[-1].measured_px, LEAST_DIAMETER_PX)))
    return tried


def _try(pixels: Pixels, network: Network, levels_now: Running, diameter_px: float) -> Tried:
    zoom = zoom_for((pixels.shape[0], pixels.shape[1]), diameter_px, network.spec.object_px)
    part = _busiest(pixels, int(CANVAS_PX / zoom))
    sight = Sight.of((part.shape[0], part.shape[1]), zoom, CANVAS_PX)
    settings = replace(DecodeSettings.of(network.spec.kind, zoom * diameter_px), share=DRAWN_SHARE, dim=DRAWN_DIM)
    found = Retina(network, sight).see(part, levels_now, part, levels_now, settings)
    if not found.count:
        return Tried(diameter_px, diameter_px, 0, 0.0)
    measured = float(np.median(2 * np.sqrt(found.area_px / np.pi)))
    return Tried(diameter_px, measured, found.count, float((found.score * found.area_px).sum()) / part.size)


def _busiest(pixels: Pixels, side_px: int) -> Pixels:
    """Return the square part of the picture in which most happens."""
    rows, columns = (min(side, side_px) for side in pixels.shape)
    if (rows, columns) == pixels.shape:
        return pixels
    step = max(1, min(side_px // 32, *pixels.shape))
    small = cv2.resize(pixels.astype(np.float32), None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    unrest: Floats = np.abs(small - cv2.blur(small, (9, 9)))
    size = (max(1, min(columns // step, small.shape[1])), max(1, min(rows // step, small.shape[0])))
    total = cv2.boxFilter(unrest, -1, size, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(np.argmax(total)), total.shape)
    top, left = min(int(y) * step, pixels.shape[0] - rows), min(int(x) * step, pixels.shape[1] - columns)
    return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])
