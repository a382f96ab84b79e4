"""What the divider remembers of each track: its last few appearances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.divide.evidence import DEPTH, Mothers
from models.track.measure import Bodies
from stream.frame import Frame
from stream.lineage import Tracks, TrackState

PAST = np.dtype(
    [
        ("id", "i8"),
        ("seen", "i8"),
        # newest first
        ("yx_px", "f8", (2,)),  # in the image in which it was last seen
        ("places", "f8", (DEPTH, 2)),  # stage µm (x, y)
        ("area", "f8", (DEPTH,)),  # µm²
        ("brightness", "f8", (DEPTH,)),
        ("roundness", "f8", (DEPTH,)),
        ("newborn", "f8", (DEPTH,)),
        ("dividing", "f8", (DEPTH,)),
    ]
)
Past = NDArray[Any]


def remember(past: Past, tracks: Tracks, labels: NDArray[np.int32], found: Bodies, frame: Frame) -> Past:
    """Return the past with this frame added, for the tracks that are alive.

    Parameters
    ----------
    labels : (n,) int32
        The tracks to which the rows of ``found`` belong.
    """
    alive = tracks.track_id[tracks.state == TrackState.ALIVE]
    rows = np.zeros(len(alive), PAST)
    for name in ("places", "area", "brightness", "roundness", "newborn", "dividing"):
        rows[name] = np.nan
    rows["id"] = alive
    _, old, new = np.intersect1d(past["id"], alive, assume_unique=True, return_indices=True)
    rows[new] = past[old]
    _, now, cell = np.intersect1d(alive, labels, assume_unique=True, return_indices=True)
    rows["seen"][now] += 1
    rows["yx_px"][now] = found.centre_px[cell]
    for name, newest in (
        ("places", frame.to_stage_um(found.centre_px[cell])),
        ("area", found.area_px[cell] * frame.pixel_um**2),
        ("brightness", found.brightness[cell]),
        ("roundness", found.roundness[cell]),
        ("newborn", found.newborn[cell]),
        ("dividing", found.dividing[cell]),
    ):
        rows[name][now] = np.concatenate([newest[:, None], rows[name][now][:, :-1]], axis=1)
    return rows


def as_mothers(rows: Past, now_um: NDArray[np.float64], frame: Frame) -> Mothers:
    """Return the past of some tracks in this frame's px, moved to where the tracker says that they were last.

    Parameters
    ----------
    now_um : (n, 2)
        Their last positions with the field's drift since then added.
    """
    places = rows["places"] + (now_um - rows["places"][:, 0])[:, None]
    places_px = frame.to_image_px(places.reshape(-1, 2)).reshape(places.shape)
    return Mothers(
        places_px,
        rows["area"] / frame.pixel_um**2,
        rows["brightness"],
        rows["roundness"],
        rows["newborn"],
        rows["dividing"],
        rows["seen"].astype(np.int64),
    )
