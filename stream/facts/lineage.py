"""What a run's facts say of its cells' families and places, while it goes on or afterwards."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.ancestry import ROW, UNKNOWN_S, History, Word
from stream.errors import StoreError
from stream.facts import analysis, rig
from stream.facts.database import connect
from stream.lineage import TrackState

SPOT = np.dtype(
    [
        ("frame", "i8"),
        ("track", "i8"),
        ("y_px", "f8"),  # in the image
        ("x_px", "f8"),
        ("area_px", "f4"),
        ("mean_counts", "f4"),  # of the first measured channel; NaN unknown
        ("x_um", "f8"),  # on the stage; NaN unknown
        ("y_um", "f8"),
    ]
)
"""Where a track was in a frame."""
Spots = NDArray[np.void]
Floats = NDArray[np.float64]

# A frame number that two starts of the rig used counts as it was first decided.
TIMES = "SELECT frame, min(t_pop_ns) FROM frames WHERE field = ? AND t_pop_ns > 0 GROUP BY frame ORDER BY 2"
BORN = """
SELECT t.track_id, c.area_px, json_extract(c.mean_counts, '$[0]') FROM tracks t
JOIN frames f ON f.field = t.field AND f.frame = t.born JOIN cells c ON c.frame_id = f.id AND c.track_id = t.track_id
WHERE t.field = ?
"""
TRACKS = "SELECT track_id, parent_id, born, last, state FROM tracks WHERE field = ? ORDER BY track_id"
WORDS = "SELECT line FROM events WHERE field = ? ORDER BY id"
# SQLite knows no NaN: what is unknown comes as infinity.
SPOTS = """
SELECT f.frame, c.track_id, c.y_px, c.x_px, c.area_px, ifnull(json_extract(c.mean_counts, '$[0]'), 9e999), 9e999, 9e999
FROM cells c JOIN frames f ON f.id = c.frame_id WHERE f.field = ?
"""
VIEWS = """
SELECT frame, affine_um, roi_px, sensor_px, x_um, y_um, min(id) FROM frames WHERE field = ?
GROUP BY frame ORDER BY frame
"""
_STATES = {state.name.lower(): int(state) for state in TrackState}


@dataclass(slots=True, eq=False)
class FieldClock:
    """How far into a field's run its frames are, in seconds since the first that was asked for.

    Where a recording states its interval, that counts and not how fast it is played; else the rig's stamps do.
    """

    interval_s: float | None = None
    _first: tuple[int, int] | None = None

    def seconds(self, frame: int, t_pop_ns: int) -> float:
        """Return when a frame was; NaN where it has no stamp."""
        if t_pop_ns <= 0:
            return UNKNOWN_S
        self._first = self._first or (frame, t_pop_ns)
        if self.interval_s is not None:
            return (frame - self._first[0]) * self.interval_s
        return (t_pop_ns - self._first[1]) / 1e9


def fields(run_dir: Path) -> list[str]:
    """Return the fields that were analysed, in order of appearance. Raises StoreError."""
    with _open(run_dir) as facts:
        return [row[0] for row in facts.execute("SELECT field FROM frames GROUP BY field ORDER BY min(id)")]


def read_history(run_dir: Path, field: str) -> History:
    """Return the history of a field's tracks as it was committed last.

    Raises
    ------
    StoreError
        The facts cannot be read, or know no decided frame of that field.
    """
    with _open(run_dir) as facts:
        extent = "SELECT min(frame), max(frame) FROM frames WHERE field = ?"
        first, last = facts.execute(extent, (field,)).fetchone()
        if first is None:
            raise StoreError(f"{run_dir}: no frame of the field '{field}' was decided")
        rows = _rows(facts, field)
        words: dict[str, Word] = {}
        for (line,) in facts.execute(WORDS, (field,)):
            word = Word.read(json.loads(line))
            words[word.event_id] = word
    seconds = read_seconds(run_dir, field)
    rows["born_s"] = [seconds.get(frame, math.nan) for frame in rows["born"].tolist()]
    rows["last_s"] = [seconds.get(frame, math.nan) for frame in rows["last"].tolist()]
    return History(field, first, last, rows, tuple(words.values()))


def read_seconds(run_dir: Path, field: str) -> dict[int, float]:
    """Return frame → seconds since the field's first frame; empty where the rig had no stamps.

    They are the rig's, or, of a replay, as the recording states its interval: how fast it was played tells nothing.
    """
    clock = read_clock(run_dir, field)
    with _open(run_dir) as facts:
        return {frame: clock.seconds(frame, t_pop_ns) for frame, t_pop_ns in facts.execute(TIMES, (field,))}


def _recorded_interval_s(run_dir: Path) -> float | None:
    """Return the interval that a replayed recording states; None where nothing was replayed, or nothing is stated."""
    if not (run_dir / rig.FILE).is_file():
        return None
    with _open(run_dir, rig.FILE, rig.VERSION) as facts:
        said = facts.execute("SELECT value FROM meta WHERE key = 'devices'").fetchone()
        devices = json.loads(said[0]) if said else {}
    interval_ms = devices.get("interval_ms") if devices.get("driver") == "replay" else None
    return None if interval_ms is None else float(interval_ms) / 1e3


def read_clock(run_dir: Path, field: str) -> FieldClock:
    """Return the clock of a field's run; where none of its frames is recorded, it starts with the one that is asked.

    Raises
    ------
    StoreError
        The facts cannot be read.
    """
    clock = FieldClock(_recorded_interval_s(run_dir))
    if (run_dir / analysis.FILE).is_file():
        with _open(run_dir) as facts:
            first = facts.execute(TIMES, (field,)).fetchone()
        if first is not None:
            clock.seconds(*first)
    return clock


def read_spots(run_dir: Path, field: str) -> Spots:
    """Return where each track was, by track and frame; empty where cells were not recorded. Raises StoreError."""
    with _open(run_dir) as facts:
        spots = np.fromiter(facts.execute(SPOTS, (field,)), SPOT)
    spots["mean_counts"][np.isinf(spots["mean_counts"])] = np.nan
    spots["x_um"], spots["y_um"] = _on_stage(run_dir, field, spots)
    spots = spots[np.lexsort((spots["frame"], spots["track"]))]
    again = (np.diff(spots["track"]) == 0) & (np.diff(spots["frame"]) == 0)  # a number that two starts of the rig used
    return spots[np.concatenate([[True], ~again])] if len(spots) else spots


def read_frames(run_dir: Path, field: str) -> list[int]:
    """Return the numbers of the decided frames of a field, ascending. Raises StoreError."""
    with _open(run_dir) as facts:
        asked = "SELECT DISTINCT frame FROM frames WHERE field = ? ORDER BY frame"
        return [row[0] for row in facts.execute(asked, (field,))]


def read_pixel_um(run_dir: Path, field: str) -> float | None:
    """Return the side of a field's pixels in µm; None where it changed on the way, or the rig's facts are not there."""
    if not (run_dir / rig.FILE).is_file():
        return None
    with _open(run_dir, rig.FILE, rig.VERSION) as facts:
        found = facts.execute("SELECT DISTINCT affine_um FROM frames WHERE field = ?", (field,)).fetchall()
    areas_um2 = {abs(float(np.linalg.det(np.array(json.loads(row[0]), float).reshape(2, 2)))) for row in found}
    return math.sqrt(areas_um2.pop()) if len(areas_um2) == 1 else None


def _on_stage(run_dir: Path, field: str, spots: Spots) -> tuple[Floats, Floats]:
    """Return the stage position ``x, y`` in µm of each spot; NaN where the rig's facts do not know the frame.

    As :meth:`stream.frame.Frame.to_stage_um`, for all frames at once.
    """
    views: list[tuple[Any, ...]] = []
    if (run_dir / rig.FILE).is_file():
        with _open(run_dir, rig.FILE, rig.VERSION) as facts:
            views = facts.execute(VIEWS, (field,)).fetchall()
    if not views or not len(spots):
        return np.full(len(spots), np.nan), np.full(len(spots), np.nan)
    frames = np.array([view[0] for view in views], np.int64)
    affine = np.array([json.loads(view[1]) for view in views], np.float64).reshape(-1, 2, 2)
    roi, sensor = (np.array([json.loads(view[k]) for view in views], np.float64) for k in (2, 3))
    stage = np.array([view[4:6] for view in views], np.float64).reshape(-1, 2)
    at = np.minimum(np.searchsorted(frames, spots["frame"]), len(frames) - 1)
    xy = np.stack([spots["x_px"], spots["y_px"]], 1) + roi[at, :2] - (sensor[at] - 1) / 2
    places = np.einsum("nij,nj->ni", affine[at], xy) + stage[at]
    places[frames[at] != spots["frame"]] = np.nan
    return places[:, 0], places[:, 1]


def _rows(facts: sqlite3.Connection, field: str) -> NDArray[np.void]:
    found = facts.execute(TRACKS, (field,)).fetchall()
    rows = np.zeros(len(found), ROW)
    for name, place in (("track", 0), ("parent", 1), ("born", 2), ("last", 3)):
        rows[name] = [row[place] for row in found]
    rows["state"] = [_STATES[row[4]] for row in found]
    rows["area_px"] = rows["mean_counts"] = np.nan
    for track, area_px, counts in facts.execute(BORN, (field,)):
        at = int(np.searchsorted(rows["track"], track))
        rows["area_px"][at], rows["mean_counts"][at] = area_px, math.nan if counts is None else counts
    return rows


@contextmanager
def _open(run_dir: Path, file: str = analysis.FILE, version: int = analysis.VERSION) -> Iterator[sqlite3.Connection]:
    with closing(connect(run_dir / file, version)) as facts:
        try:
            yield facts
        except (sqlite3.Error, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{run_dir}: the facts cannot be read: {error}") from error
