"""The tracks of one field as they stand after a frame: a table, one row per track that is or was lately alive."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import StageError


class TrackState(IntEnum):
    """What became of a track."""

    ALIVE = 0
    LOST = 1
    DIVIDED = 2
    LEFT = 3


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Tracks of one field after one frame, sorted by ``track_id``.

    The table holds every track that is alive or may still come back, and those that ended with this frame.

    Parameters
    ----------
    track_id, parent_id : (n,) int64
        ``parent_id`` is 0 for a track that no division began.
    born, last : (n,) int64
        First and last frame number in which the track was seen.
    state : (n,) int8
        A :class:`TrackState`.
    label : (n,) int32
        The track's label in this frame's label image; 0 where it was not seen.
    position_um : (n, 2) float64
        ``(x, y)`` on the stage.
    velocity_um_s : (n, 2) float64
        Smoothed; per frame instead of per second where the recording states no interval.
    """

    track_id: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    born: NDArray[np.int64]
    last: NDArray[np.int64]
    state: NDArray[np.int8]
    label: NDArray[np.int32]
    position_um: NDArray[np.float64]
    velocity_um_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.track_id)
        for column in fields(self):
            values: NDArray[Any] = getattr(self, column.name)
            if len(values) != n:
                raise StageError(f"Tracks.{column.name} has {len(values)} rows, track_id has {n}")
            values.flags.writeable = False

    def __len__(self) -> int:
        return len(self.track_id)
