"""Writing a frame's links, splits, births and losses into the tracks, and the tracks into what is published."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.track.measure import Bodies, relabel
from models.track.memory import ROW, Rows, View
from models.track.splits import Split
from stream.cells import Cells, Segmentation
from stream.errors import StageError
from stream.lineage import Tracks, TrackState
from stream.stages import Segmented

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

SURE = 0.85
"""Probability from which a division is hardly in doubt: its daughters count as settled at once."""
SMOOTHING = 0.4
"""Weight of the newest step in a track's velocity."""


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

    ``cell_of`` and ``host_of`` are by track, ``drift`` is ``(y, x)`` px, ``is_piece`` is by cell.
    """

    segmented: Segmented
    found: Bodies
    view: View
    cell_of: Longs
    host_of: Longs
    divided: list[Split]
    drift: Floats
    is_piece: NDArray[np.bool_]


def inside(points_px: Floats, shape: tuple[int, int], margin_px: float) -> NDArray[np.bool_]:
    """Say which image points lie in the image and at least ``margin_px`` from its border."""
    low, high = margin_px - 0.5, np.array(shape) - 0.5 - margin_px
    within: NDArray[np.bool_] = np.all((points_px >= low) & (points_px <= high), axis=1)
    return within


def settle(rows: Rows, step: Step, next_id: int, patience: Patience) -> tuple[Rows, Longs]:
    """Return the tracks after the frame, sorted by id, those that end with it included, and each cell's track id."""
    rows = rows.copy()
    before = rows["position"].copy()
    drift_um = step.view.to_stage_um(step.drift[None])[0] - step.view.origin_um
    rows["position"] += drift_um
    rows["places"] += drift_um
    rows["label"] = 0
    cell_of = step.cell_of.copy()
    id_of_cell = np.zeros(len(step.found), np.int64)
    born = []
    for split in sorted(step.divided, key=lambda split: split.row):
        rows["state"][split.row] = TrackState.DIVIDED
        cell_of[split.row] = -1
        daughters = np.array(split.daughters)
        id_of_cell[daughters] = np.arange(next_id, next_id + len(daughters))
        born.append(_born(step, daughters, next_id, int(rows["id"][split.row])))
        born[-1]["sure"] = split.probability >= SURE
        next_id += len(split.daughters)
    on = np.nonzero(cell_of >= 0)[0]
    id_of_cell[cell_of[on]] = rows["id"][on]
    _go_on(rows, on, cell_of[on], step, before + drift_um)
    _miss(rows, np.nonzero((cell_of < 0) & (rows["state"] == TrackState.ALIVE))[0], step, patience)
    strangers = np.nonzero(id_of_cell == 0)[0]
    id_of_cell[strangers] = np.arange(next_id, next_id + len(strangers))
    born.append(_born(step, strangers, next_id, 0))
    return np.concatenate([rows, *born]), id_of_cell


def _go_on(rows: Rows, on: Longs, cell: Longs, step: Step, start_um: Floats) -> None:
    place = step.view.to_stage_um(step.found.centre_px[cell])
    frames = (step.segmented.moment.frame.frame - rows["last"][on])[:, None]
    velocity = (place - start_um[on]) / frames
    first = (rows["seen"][on] == 1)[:, None]
    rows["velocity"][on] = np.where(first, velocity / 2, rows["velocity"][on] * (1 - SMOOTHING) + velocity * SMOOTHING)
    rows["position"][on] = place
    rows["missed"][on] = 0
    rows["host"][on] = 0
    rows["seen"][on] += 1
    rows["cut"][on] = np.where(step.is_piece[cell], rows["cut"][on] + 1, 0)
    _see(rows, on, cell, step)


def _see(rows: Rows, on: Longs, cell: Longs, step: Step) -> None:
    """Write what was seen of the tracks ``on`` in this frame."""
    frame = step.segmented.moment.frame
    rows["last"][on] = frame.frame
    for name, newest in (
        ("places", rows["position"][on]),
        ("area", step.found.area_px[cell] * frame.pixel_um**2),
        ("brightness", step.found.brightness[cell]),
        ("roundness", step.found.roundness[cell]),
        ("newborn", step.found.newborn[cell]),
        ("dividing", step.found.dividing[cell]),
    ):
        rows[name][on] = np.concatenate([newest[:, None], rows[name][on][:, :-1]], axis=1)
    box = step.segmented.segmentation.cells.bbox_px[cell]
    height, width = step.view.shape
    rows["edge"][on] = (box[:, 0] <= 0) | (box[:, 1] <= 0) | (box[:, 2] >= height) | (box[:, 3] >= width)
    rows["label"][on] = rows["id"][on]


def _born(step: Step, cell: Longs, first_id: int, parent: int) -> Rows:
    rows = np.zeros(len(cell), ROW)
    rows["id"] = np.arange(first_id, first_id + len(cell))
    rows["parent"] = parent
    rows["born"] = step.segmented.moment.frame.frame
    rows["seen"] = 1
    for name in ("places", "area", "brightness", "roundness", "newborn", "dividing"):
        rows[name] = np.nan
    rows["position"] = step.view.to_stage_um(step.found.centre_px[cell])
    _see(rows, np.arange(len(cell)), cell, step)
    return rows


def _miss(rows: Rows, lost: Longs, step: Step, patience: Patience) -> None:
    """Note that tracks were not seen, carry the hidden ones along, end those whose patience is over."""
    if len(lost) == 0:
        return
    rows["missed"][lost] += 1
    newly = lost[step.host_of[lost] > 0]
    _hide(rows, newly, step.host_of[newly])
    hidden = rows["host"][lost] > 0
    where = np.searchsorted(rows["id"], rows["host"][lost])
    where = np.minimum(where, len(rows) - 1)
    gone = hidden & ((rows["id"][where] != rows["host"][lost]) | (rows["label"][where] == 0))
    rows["host"][lost[gone]] = 0
    carried = hidden & ~gone
    rows["position"][lost[carried]] = rows["position"][where[carried]] + rows["offset"][lost[carried]]
    size_px = step.found.typical_px
    now_px = step.view.to_image_px(rows["position"][lost])
    away = ~inside(now_px, step.view.shape, 0.0)
    limit = np.select([away, rows["host"][lost] > 0], [patience.max_away, patience.max_hidden], patience.max_gap)
    over = rows["missed"][lost] > limit
    leaving = rows["edge"][lost] | ~inside(now_px, step.view.shape, size_px / 2)
    rows["state"][lost[over]] = np.where(leaving[over], TrackState.LEFT, TrackState.LOST)


def _hide(rows: Rows, newly: Longs, host: Longs) -> None:
    where = np.searchsorted(rows["id"], host)
    rows["host"][newly] = host
    rows["offset"][newly] = rows["position"][newly] - rows["position"][where]
    long = np.hypot(*rows["offset"][newly].T)
    reach = np.sqrt(rows["area"][where, 0] / np.pi)
    rows["offset"][newly] *= np.minimum(1.0, reach / np.maximum(long, 1e-9))[:, None]


def published(given: Segmentation, id_of_cell: Longs) -> Segmentation:
    """Return the segmentation with each label replaced by its track's id, the table sorted by it. Raises StageError."""
    new = id_of_cell.astype(np.int32)
    order = np.argsort(new, kind="stable")
    columns = {column.name: getattr(given.cells, column.name)[order] for column in fields(Cells)}
    columns["label"] = new[order]
    becomes = np.zeros(int(given.cells.label.max(initial=0)) + 1, np.int32)
    becomes[given.cells.label] = new
    labels, unknown = relabel(given.labels, becomes)
    if unknown:
        raise StageError(f"label {unknown} is in the image but not in the Cells table")
    return Segmentation(labels, Cells(**columns))


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
