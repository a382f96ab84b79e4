"""Truth as label images and tracks, in the form of the Cell Tracking Challenge.

What counts as visible: a cell appears when at least ``ENTERS`` of its area lies in the image and is not hidden, and
vanishes when less than ``LEAVES`` of it does; a dying cell also vanishes when it has faded. A track has a label in
every frame from its first to its last. A cell that comes back begins a new track whose parent is its former one: one
child, which is no division. Daughters have a parent when the mother was visible in the frame before they parted; a
daughter that enters the image later has none, so that each division in the table was one to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.virtual import kernels
from drivers.virtual.microscope import Shot
from drivers.virtual.shapes import COLUMN, Lobes

ENTERS = 0.3
LEAVES = 0.15
LEAST_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What was truly in one frame: lobes (float32 precision), and where the image lay."""

    frame: int
    counter: int
    minute: float
    shape: tuple[int, int]
    x0_um: float
    y0_um: float
    pixel_um: float
    lobes: Lobes


@dataclass(slots=True)
class Track:
    """A line of ``man_track.txt``, and whose it is."""

    label: int
    begin: int
    end: int
    parent: int
    cell: int


def scene_of(shot: Shot, frame: int) -> Scene:
    """Keep of an exposure what its truth needs."""
    height, width = shot.pixels.shape
    lobes = shot.lobes[shot.lobes[:, COLUMN["true"]] > 0]
    return Scene(
        frame,
        shot.counter,
        shot.minute,
        (height, width),
        shot.x0_um,
        shot.y0_um,
        shot.pixel_um,
        lobes.astype(np.float32).astype(np.float64),
    )


class Labeller:
    """Marks the scenes of one field in order and keeps the tracks."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._active: dict[int, Track] = {}
        self._former: dict[int, Track] = {}

    def step(self, scene: Scene) -> NDArray[np.uint16]:
        """Return the label image of the next scene, (y, x) uint16."""
        marks = np.zeros(scene.shape, np.int32)
        areas = kernels.mark(marks, scene.lobes, scene.x0_um, scene.y0_um, scene.pixel_um)
        cells, of_cell = np.unique(scene.lobes[:, COLUMN["cell"]].astype(np.int64), return_inverse=True)
        mothers = dict(zip(scene.lobes[:, COLUMN["cell"]], scene.lobes[:, COLUMN["mother"]], strict=True))
        shown = np.bincount(marks.ravel(), minlength=len(areas) + 1)[1:]
        shown_px = np.bincount(of_cell, shown, len(cells))
        whole_px = np.maximum(np.bincount(of_cell, areas, len(cells)), 1.0)
        before, self._active = self._active, {}
        values = np.zeros(len(cells), np.uint16)
        for i, cell in enumerate(cells.tolist()):
            needed = LEAVES if cell in before else ENTERS
            if shown_px[i] >= max(LEAST_PX, needed * whole_px[i]):
                values[i] = self._track(cell, int(mothers[cell]), before, scene.frame).label
        lookup = np.zeros(len(areas) + 1, np.uint16)
        lookup[1:] = values[of_cell]
        labels: NDArray[np.uint16] = lookup[marks]
        return labels

    def _track(self, cell: int, mother: int, before: dict[int, Track], frame: int) -> Track:
        track = before.get(cell)
        if track is None:
            origin = self._former.get(cell) or before.get(mother)
            track = Track(len(self.tracks) + 1, frame, frame, origin.label if origin else 0, cell)
            self.tracks.append(track)
        track.end = frame
        self._active[cell] = self._former[cell] = track
        return track

    def table(self) -> str:
        """Return ``man_track.txt``: label, begin, end, parent."""
        return "".join(f"{t.label} {t.begin} {t.end} {t.parent}\n" for t in self.tracks)
