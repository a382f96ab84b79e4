"""What a track's end looks like: two documented probabilities, that its cell died and that it left the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.divide.history import History, edge_px, outside, usual
from models.track.measure import Bodies
from stream.lineage import TrackState
from stream.stages import Tracked

Floats = NDArray[np.float64]

LEAST_SEEN = 3
"""Tracks seen in fewer frames are no cells that anybody knew: nothing is said about their end."""
AGAIN = 1.0
"""A track that begins within so many typical diameters of where another ended may be the same cell."""
AT_EDGE = 1.5
"""Diameters from the image's edge within which a track may have left; farther inside it may have died."""

DEATH = ("faded", "shrunk", "small", "covered", "short", "inside")
"""Columns of :func:`death_signs`; areas as natural logarithms, brightness relative to the typical cell.

faded    how much dimmer the cell was than it used to be, -1 to 2
shrunk   how much smaller it was than it used to be, -1 to 1
small    how much smaller it was than the typical cell, -1 to 2
covered  1 where another cell is now where it was, else 0: a neighbour hides it
short    1 / frames in which it was seen
inside   distance to the image's edge in diameters, at most 4
"""
DEATH_WEIGHTS = (2.4, 0.7, 0.0, -1.5, -10.3, 0.4)
DEATH_BIAS = -2.2
"""Logistic regression by ``benchmarks/fit_lives.py``. Recorded truth tells of hardly any death: this is what dying
looks like on the virtual microscope (the cell shrinks and fades), with lost nuclei of a recording as counter-examples.
"""

EXIT = ("near", "outward", "short")
"""Columns of :func:`exit_signs`.

near     diameters between its centre, as last seen or as it would be now, and the image's edge, -1 to 2
outward  how fast it came nearer to the edge, in diameters a frame, -0.5 to 0.5; 0 unknown
short    1 / frames in which it was seen
"""
EXIT_WEIGHTS = (-0.6, 1.2, -1.9)
EXIT_BIAS = 2.4
"""Logistic regression by ``benchmarks/fit_lives.py``: true is a cell that no track follows again within ten frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """The tracks that ended with a frame, sorted by id.

    Parameters
    ----------
    rows
        Their history.
    near
        Diameters to the image's edge, as last seen or as they would be now: the smaller, ``(n,)``.
    covered, again
        Whether another cell is where it was, and whether a track of unknown mother began there since, ``(n,)``.
    off
        Whether the picture moved off the place where it was, and it was not seen since, ``(n,)``.
    """

    rows: History
    near: Floats
    covered: NDArray[np.bool_]
    again: NDArray[np.bool_]
    off: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)


def ended(before: History, tracked: Tracked, found: Bodies) -> Ended:
    """Return the known tracks that were lost or left with this frame.

    Parameters
    ----------
    before
        The history as it was before this frame.
    """
    frame, tracks, labels = tracked.moment.frame, tracked.tracks, tracked.segmentation.labels
    over = np.nonzero((tracks.state == TrackState.LOST) | (tracks.state == TrackState.LEFT))[0]
    _, row, at = np.intersect1d(before["id"], tracks.track_id[over], assume_unique=True, return_indices=True)
    known = before["seen"][row] >= LEAST_SEEN
    rows, at = before[row[known]], over[at[known]]
    now_px = frame.to_image_px(tracks.position_um[at])
    now_edge = edge_px(now_px, labels.shape) / found.typical_px
    place = np.clip(np.rint(now_px).astype(np.int64), 0, np.array(labels.shape) - 1)
    covered = (now_edge > 0) & (labels[place[:, 0], place[:, 1]] > 0)
    again = np.array(
        [began_near(tracked, row["place_um"], int(row["last"]), found.typical_px) for row in rows], np.bool_
    )
    off = np.where(rows["off"] < 0, outside(rows["place_um"], frame), rows["off"] > 0)
    return Ended(rows, np.fmin(rows["edge"], now_edge), covered, again, off)


def began_near(tracked: Tracked, place_um: Floats, since: int, typical_px: float) -> bool:
    """Say whether a track of unknown mother that began after frame ``since`` is now near a place on the stage."""
    frame, tracks = tracked.moment.frame, tracked.tracks
    new = (tracks.parent_id == 0) & (tracks.born > since) & (tracks.label > 0)
    away_um = np.hypot(*(tracks.position_um[new] - place_um).T)
    return bool((away_um <= AGAIN * typical_px * frame.pixel_um).any())


def died(one: Ended) -> Floats:
    """Return how probable it is that each cell died, for nuclei in fluorescence."""
    return _logistic(death_signs(one), DEATH_WEIGHTS, DEATH_BIAS)


def left(one: Ended) -> Floats:
    """Return how probable it is that each cell is out of the picture for good."""
    return _logistic(exit_signs(one), EXIT_WEIGHTS, EXIT_BIAS)


def death_signs(one: Ended) -> Floats:
    """Return ``(n, len(DEATH))``."""
    rows = one.rows
    area, brightness = rows["area"][:, 0], rows["brightness"][:, 0]
    columns = (
        np.clip(np.nan_to_num(usual(rows["brightness"], 2) - brightness), -1, 2),
        np.clip(np.nan_to_num(usual(rows["area"], 2) - area), -1, 1),
        np.clip(-area, -1, 2),
        one.covered.astype(np.float64),
        1.0 / np.maximum(rows["seen"], 1),
        np.clip(one.near, 0, 4),
    )
    return np.stack(columns, axis=1)


def exit_signs(one: Ended) -> Floats:
    """Return ``(n, len(EXIT))``."""
    columns = (
        np.clip(one.near, -1, 2),
        np.clip(np.nan_to_num(one.rows["outward"]), -0.5, 0.5),
        1.0 / np.maximum(one.rows["seen"], 1),
    )
    return np.stack(columns, axis=1)


def _logistic(columns: Floats, weights: tuple[float, ...], bias: float) -> Floats:
    p: Floats = 1 / (1 + np.exp(-np.clip(columns @ np.array(weights) + bias, -30, 30)))
    return p
