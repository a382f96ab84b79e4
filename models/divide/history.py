"""What is remembered of each track over several frames: how its cell looked, relative to the typical one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.track.measure import Bodies
from stream.frame import Frame
from stream.lineage import TrackState
from stream.stages import Tracked

Floats = NDArray[np.float64]
DEPTH = 8
"""Frames of a track that are remembered."""
HISTORY = np.dtype(
    [
        ("id", "i8"),
        ("parent", "i8"),
        ("seen", "i8"),  # frames in which it was seen
        ("last", "i8"),  # the newest of them
        # where it was then
        ("yx_px", "f8", (2,)),
        ("place_um", "f8", (2,)),
        ("edge", "f8"),  # from its centre to the image's edge, in diameters of the typical cell
        ("outward", "f8"),  # how fast it came nearer to that edge, in diameters a frame; at most 2
        ("off", "i1"),  # whether the picture had moved off that place when it was first unseen; -1: it was not yet
        # newest first, NaN unknown
        ("area", "f8", (DEPTH,)),  # logarithm of the area relative to the typical cell
        ("brightness", "f8", (DEPTH,)),
        ("roundness", "f8", (DEPTH,)),
        ("dividing", "f8", (DEPTH,)),  # a network's probabilities
        ("newborn", "f8", (DEPTH,)),
    ]
)
COLUMNS = ("area", "brightness", "roundness", "dividing", "newborn")
History = NDArray[Any]


def begin() -> History:
    """Return the history of no track."""
    return np.zeros(0, HISTORY)


def remember(history: History, tracked: Tracked, found: Bodies) -> History:
    """Return the history with this frame added, for the tracks that are alive; rows are sorted by id.

    Parameters
    ----------
    found
        The cells of ``tracked.segmentation``, row by row.
    """
    frame, tracks, labels = tracked.moment.frame, tracked.tracks, tracked.segmentation.cells.label
    alive = np.nonzero(tracks.state == TrackState.ALIVE)[0]
    ids = tracks.track_id[alive]
    rows = np.zeros(len(ids), HISTORY)
    for name in (*COLUMNS, "edge", "outward"):
        rows[name] = np.nan
    rows["off"] = -1
    _, old, kept = np.intersect1d(history["id"], ids, assume_unique=True, return_indices=True)
    rows[kept] = history[old]
    rows["id"], rows["parent"] = ids, tracks.parent_id[alive]
    _, now, cell = np.intersect1d(ids, labels, assume_unique=True, return_indices=True)
    edge = edge_px(found.centre_px[cell], frame.pixels.shape) / found.typical_px
    passed = np.maximum(frame.frame - rows["last"][now], 1)
    rows["outward"][now] = np.clip((rows["edge"][now] - edge) / passed, -2, 2)
    rows["edge"][now] = edge
    rows["yx_px"][now] = found.centre_px[cell]
    rows["place_um"][now] = frame.to_stage_um(found.centre_px[cell])
    rows["seen"][now] += 1
    rows["last"][now] = frame.frame
    rows["off"][now] = -1
    first_unseen = rows["off"] < 0
    first_unseen[now] = False
    rows["off"][first_unseen] = outside(rows["place_um"][first_unseen], frame)
    typical_px2 = np.pi * found.typical_px**2 / 4
    area = np.log(np.maximum(found.area_px[cell], 1.0) / typical_px2)
    newest = (area, found.brightness[cell], found.roundness[cell], found.dividing[cell], found.newborn[cell])
    for name, values in zip(COLUMNS, newest, strict=True):
        rows[name][now] = np.concatenate([values[:, None], rows[name][now][:, :-1]], axis=1)
    return rows


def edge_px(centre_px: Floats, shape: tuple[int, ...]) -> Floats:
    """Return how far points ``(n, 2)`` lie inside an image of this shape, ``(n,)``; negative outside."""
    low, high = centre_px + 0.5, np.array(shape[:2]) - 0.5 - centre_px
    inside: Floats = np.minimum(low, high).min(axis=1)
    return inside


def outside(places_um: Floats, frame: Frame) -> NDArray[np.bool_]:
    """Say which places on the stage ``(n, 2)`` a frame does not show, ``(n,)``."""
    return edge_px(frame.to_image_px(places_um), frame.pixels.shape) < 0


def usual(values: Floats, lag: int) -> Floats:
    """Return the mean of what was known ``lag`` frames ago and before, ``(n,)``; NaN where nothing was."""
    older = values[:, lag:]
    known = np.isfinite(older)
    count = known.sum(axis=1)
    mean = np.where(known, older, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)
