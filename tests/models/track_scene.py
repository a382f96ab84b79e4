"""Drawn cells for the tests of the tracker and the divider: discs on a dark ground, with their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stream.cells import Segmentation, make_cells
from stream.frame import Frame
from stream.stages import Moment, Segmented

GROUND, LIGHT = 100, 300


@dataclass(frozen=True)
class Disc:
    """A cell: centre in sensor px, radius, brightness relative to :data:`LIGHT`."""

    y: float
    x: float
    r: float = 10.0
    light: float = 1.0

    def at(self, dy: float, dx: float) -> Disc:
        return replace(self, y=self.y + dy, x=self.x + dx)


def grid(rows: int = 3, columns: int = 3, pitch: float = 50.0, first: float = 40.0) -> list[Disc]:
    """Return cells that stand well apart."""
    return [Disc(first + pitch * i, first + pitch * j) for i in range(rows) for j in range(columns)]


def draw(discs: Sequence[Disc], shape: tuple[int, int], labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels uint16 and labels int32; the nearer disc wins where two overlap."""
    image, pixels = np.zeros(shape, np.int32), np.full(shape, GROUND, np.uint16)
    best = np.full(shape, np.inf)
    yy, xx = np.indices(shape)
    for disc, label in zip(discs, labels, strict=True):
        box = _around(disc)
        away = np.hypot(yy[box] - disc.y, xx[box] - disc.x) / disc.r
        mine = (away <= 1) & (away < best[box])
        image[box][mine], best[box][mine] = label, away[mine]
        pixels[box][mine] = GROUND + round(LIGHT * disc.light)
    return pixels, image


def _around(disc: Disc) -> tuple[slice, slice]:
    """Return the part of an image in which a disc lies; empty where it lies outside."""
    rows, columns = (
        slice(max(int(np.floor(middle - disc.r)), 0), max(int(np.ceil(middle + disc.r)) + 1, 0))
        for middle in (disc.y, disc.x)
    )
    return rows, columns


def table(image: np.ndarray, pixels: np.ndarray, **known: Any) -> Segmentation:
    """Measure a label image."""
    where = np.nonzero(image > 0)
    of = image[where]
    ids = np.unique(of)
    spots = [(where[0][of == i], where[1][of == i]) for i in ids]
    n = len(ids)
    cells = make_cells(
        ids.astype(np.int32),
        np.array([[y.mean(), x.mean()] for y, x in spots], np.float32).reshape(n, 2),
        np.array([[y.min(), x.min(), y.max() + 1, x.max() + 1] for y, x in spots], np.int32).reshape(n, 4),
        np.array([len(y) for y, _ in spots], np.float32),
        np.array([[pixels[s].mean()] for s in spots], np.float32).reshape(n, 1),
        **known,
    )
    return Segmentation(image.astype(np.int32), cells)


def shot(
    number: int,
    discs: Sequence[Disc],
    *,
    roi: tuple[int, int, int, int] = (0, 0, 200, 200),
    stage_um: tuple[float, float] = (0.0, 0.0),
    pixel_um: float = 0.5,
    labels: Sequence[int] | None = None,
    epoch: int = 0,
    **known: Any,
) -> Segmented:
    """Draw a frame of a 200x200 sensor. The discs stand on the specimen: a stage move shifts them in the image."""
    x0, y0, w, h = roi
    moved = [disc.at(-y0 - stage_um[1] / pixel_um, -x0 - stage_um[0] / pixel_um) for disc in discs]
    named = list(labels) if labels is not None else [3 * i + 2 for i in range(len(discs))]
    pixels, image = draw(moved, (h, w), named)
    frame = Frame(
        run="r",
        camera="c",
        session="s",
        epoch=epoch,
        seq=number,
        field="c:p0",
        frame=number,
        pixels=pixels,
        roi_px=roi,
        sensor_px=(200, 200),
        affine_um=((pixel_um, 0.0), (0.0, pixel_um)),
        stage_um=(*stage_um, 0.0),
    )
    return Segmented(Moment(frame, elapsed_s=0.5 * number), table(image, pixels, **known))
