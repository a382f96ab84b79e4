"""One walk over the tracks' rows in which a frame is written down, and one over those that it did not show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.divide.evidence import DEPTH
from models.track.memory import Rows
from stream.lineage import TrackState

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]

SMOOTHING = 0.4
"""Weight of the newest step in a track's velocity."""
ALIVE, LOST, DIVIDED, LEFT = (int(TrackState[name]) for name in ("ALIVE", "LOST", "DIVIDED", "LEFT"))


@compiled
def newborn(rows: Rows, cell: Longs, parent: Longs, first_id: int, frame: int) -> None:
    """Fill in the rows of tracks that begin in the cells ``cell``.

    Parameters
    ----------
    parent : (k, 2) int64
        Mother's id, and whether the division is hardly in doubt, for the first of them; the others have none.
    """
    for i in range(len(cell)):
        one = rows[i]
        one.id, one.born = first_id + i, frame
        if i < len(parent):
            one.parent, one.sure, one.inside = parent[i, 0], parent[i, 1] != 0, True
        for past in (one.area, one.brightness, one.roundness, one.newborn, one.dividing):
            past[:] = np.nan
        one.places[:] = np.nan


@compiled
def write(
    rows: Rows, old: int, cell_of: Longs, ended: Bools, drift_um: Floats, frame: int, scale_um2: float,
    centre_px: Floats, area_px: Floats, brightness: Floats, roundness: Floats, new: Floats, dividing: Floats,
    box: NDArray[np.int32], is_piece: Bools, affine_um: Floats, origin_um: Floats, shape: tuple[int, int],
    within: Bools,
) -> None:  # fmt: skip
    """Move all tracks with the field, and write what was seen of those that have a cell.

    Parameters
    ----------
    old
        How many rows are older than this frame; the rest begin with it.
    cell_of, ended
        By row: its cell or -1; by old row: whether it divided.
    within
        By cell: whether it reaches so far into the image that a track may begin in it.
    """
    for i in range(len(rows)):
        one = rows[i]
        one.label = 0
        if i < old:
            _move(one, drift_um)
            if ended[i]:
                one.state = DIVIDED
        j = cell_of[i]
        if j < 0:
            continue
        y, x = centre_px[j, 0], centre_px[j, 1]
        at_x = affine_um[0, 0] * x + affine_um[0, 1] * y + origin_um[0]
        at_y = affine_um[1, 0] * x + affine_um[1, 1] * y + origin_um[1]
        if i < old:
            frames = frame - one.last
            weight, kept = (0.5, 0.0) if one.seen == 1 else (SMOOTHING, 1 - SMOOTHING)
            one.velocity[0] = one.velocity[0] * kept + (at_x - one.position[0]) / frames * weight
            one.velocity[1] = one.velocity[1] * kept + (at_y - one.position[1]) / frames * weight
            one.cut = one.cut + 1 if is_piece[j] else 0
        one.inside = one.inside or within[j]
        one.position[0], one.position[1] = at_x, at_y
        one.missed, one.host, one.last, one.label = 0, 0, frame, one.id
        one.seen += 1
        for k in range(DEPTH - 1, 0, -1):
            one.places[k, 0], one.places[k, 1] = one.places[k - 1, 0], one.places[k - 1, 1]
            one.area[k], one.brightness[k] = one.area[k - 1], one.brightness[k - 1]
            one.roundness[k], one.newborn[k], one.dividing[k] = (
                one.roundness[k - 1],
                one.newborn[k - 1],
                one.dividing[k - 1],
            )
        one.places[0, 0], one.places[0, 1] = at_x, at_y
        one.area[0], one.brightness[0], one.roundness[0] = area_px[j] * scale_um2, brightness[j], roundness[j]
        one.newborn[0], one.dividing[0] = new[j], dividing[j]
        one.edge = box[j, 0] <= 0 or box[j, 1] <= 0 or box[j, 2] >= shape[0] or box[j, 3] >= shape[1]


@compiled
def _move(one, drift_um) -> None:  # type: ignore[no-untyped-def]
    for axis in range(2):
        one.position[axis] += drift_um[axis]
        for k in range(DEPTH):
            one.places[k, axis] += drift_um[axis]


@compiled
def carry(
    rows: Rows, old: int, cell_of: Longs, host_of: Longs, inverse_px: Floats, origin_um: Floats,
    shape: tuple[int, int], typical_px: float, limits: Longs,
) -> None:  # fmt: skip
    """Note that tracks were not seen, carry the hidden ones along, end those whose patience is over.

    Parameters
    ----------
    limits
        Frames of patience in plain sight, under another's cell, outside the image.
    """
    ids = rows["id"][:old]
    for i in range(old):
        one = rows[i]
        if cell_of[i] >= 0 or one.state != ALIVE:
            continue
        one.missed += 1
        if host_of[i] > 0:
            host = rows[np.searchsorted(ids, host_of[i])]
            one.host = host_of[i]
            _hide(one, host)
        if one.host > 0:
            where = np.searchsorted(ids, one.host)
            if where == old or ids[where] != one.host or rows[where].label == 0:
                one.host = 0
                one.velocity[0], one.velocity[1] = 0.0, 0.0  # it was carried along: its own way is not known
            else:
                for axis in range(2):
                    one.position[axis] = rows[where].position[axis] + one.offset[axis]
        dx, dy = one.position[0] - origin_um[0], one.position[1] - origin_um[1]
        x, y = inverse_px[0, 0] * dx + inverse_px[0, 1] * dy, inverse_px[1, 0] * dx + inverse_px[1, 1] * dy
        within = min(y, x, shape[0] - 1 - y, shape[1] - 1 - x) + 0.5
        limit = limits[2] if within < 0 else (limits[1] if one.host > 0 else limits[0])
        if one.missed > limit:
            one.state = LEFT if one.edge or within < typical_px / 2 else LOST


@compiled
def _hide(one, host) -> None:  # type: ignore[no-untyped-def]
    """Remember where a hidden track is within its host's cell."""
    for axis in range(2):
        one.offset[axis] = one.position[axis] - host.position[axis]
    long, reach = np.hypot(one.offset[0], one.offset[1]), np.sqrt(host.area[0] / np.pi)
    if long > reach:
        for axis in range(2):
            one.offset[axis] *= reach / long
