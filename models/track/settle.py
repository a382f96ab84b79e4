"""Writing a frame's links, splits, births and losses into the tracks, and the tracks into the table that goes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.track.measure import Bodies
from models.track.memory import ROW, Rows, View
from models.track.splits import Split
from models.track.write import carry, newborn, write
from stream.cells import Cells
from stream.lineage import Tracks, TrackState

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

SURE = 0.85
"""Probability from which a division is hardly in doubt: its daughters count as settled at once."""


class Patience(Protocol):
    """For how long unseen tracks are kept."""

    @property
    def max_gap(self) -> int:
        """Frames in plain sight."""

    @property
    def max_hidden(self) -> int:
        """Frames under another track's cell."""

    @property
    def max_away(self) -> int:
        """Frames outside the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What was decided about one frame, before it is written down.

    ``cell_of`` and ``host_of`` are by track, ``drift`` is ``(y, x)`` px, ``is_piece`` and ``within`` (whether a
    track may begin in it) are by cell. In the ``first`` frame tracks begin everywhere.
    """

    frame: int
    scale_um2: float
    cells: Cells
    found: Bodies
    view: View
    cell_of: Longs
    host_of: Longs
    divided: list[Split]
    drift: Floats
    is_piece: NDArray[np.bool_]
    within: NDArray[np.bool_]
    first: bool


def inside(points_px: Floats, shape: tuple[int, int], margin_px: float) -> NDArray[np.bool_]:
    """Say which image points lie in the image and at least ``margin_px`` from its border."""
    low, high = margin_px - 0.5, np.array(shape) - 0.5 - margin_px
    within: NDArray[np.bool_] = np.all((points_px >= low) & (points_px <= high), axis=1)
    return within


def settle(rows: Rows, step: Step, next_id: int, patience: Patience) -> tuple[Rows, Longs]:
    """Return the tracks after the frame, sorted by id, those ending with it included, and each cell's track id or 0."""
    cell_of, found, count = step.cell_of.copy(), step.found, len(rows)
    id_of_cell = np.zeros(len(found), np.int64)
    ended = np.zeros(count, np.bool_)
    cells: list[int] = []
    parents: list[tuple[int, bool]] = []
    for split in sorted(step.divided, key=lambda split: split.row):
        ended[split.row], cell_of[split.row] = True, -1
        cells += split.daughters
        parents += [(int(rows["id"][split.row]), split.probability >= SURE)] * len(split.daughters)
    born = _born(cells, cell_of, step.within | step.first)
    all_rows = np.zeros(count + len(born), ROW)
    all_rows[:count] = rows
    newborn(all_rows[count:], born, np.array(parents, np.int64).reshape(-1, 2), next_id, step.frame)
    of = np.concatenate([cell_of, born])
    drift_um = step.view.to_stage_um(step.drift[None])[0] - step.view.origin_um
    write(
        all_rows, count, of, ended, drift_um, step.frame, step.scale_um2, found.centre_px, found.area_px,
        found.brightness, found.roundness, found.newborn, found.dividing, step.cells.bbox_px, step.is_piece,
        step.view.affine_um, step.view.origin_um, step.view.shape, step.within,
    )  # fmt: skip
    limits = np.array([patience.max_gap, patience.max_hidden, patience.max_away])
    carry(
        all_rows, count, cell_of, step.host_of, step.view.inverse_px, step.view.origin_um, step.view.shape,
        found.typical_px, limits,
    )  # fmt: skip
    seen = of >= 0
    id_of_cell[of[seen]] = all_rows["id"][seen]
    return all_rows, id_of_cell


def ended_before(ended: Rows, rows: Rows) -> Rows:
    """Return ``rows`` and, as having left, tracks that were not looked for any more; sorted by id."""
    if len(ended) == 0:
        return rows
    ended = ended.copy()
    ended["state"], ended["label"] = TrackState.LEFT, 0
    every = np.concatenate([ended, rows])
    return every[np.argsort(every["id"])]


def _born(daughters: list[int], cell_of: Longs, may: NDArray[np.bool_]) -> Longs:
    """Return the cells in which tracks begin: daughters first, then those that nobody goes on in and that
    ``may`` begin one."""
    free = may.copy()
    free[cell_of[cell_of >= 0]] = False
    free[daughters] = False
    return np.concatenate([np.array(daughters, np.int64), np.nonzero(free)[0]])


def tracks(rows: Rows, drift_um: Floats, frames_per_s: float) -> Tracks:
    """Return the table that goes out; ``rows`` are sorted by id and their velocities lack the field's ``drift_um``."""
    columns: dict[str, NDArray[Any]] = {
        name: rows[key].copy()
        for name, key in (
            ("track_id", "id"), ("parent_id", "parent"), ("born", "born"), ("last", "last"), ("state", "state"),
            ("label", "label"), ("position_um", "position"),
        )
    }  # fmt: skip
    return Tracks(**columns, velocity_um_s=(rows["velocity"] + drift_um) * frames_per_s)
