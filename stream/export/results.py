"""Reads a result folder as ``cytoloop evaluate`` writes it: masks, ``res_track.txt`` and events, if any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.ancestry import ROW, UNKNOWN_S, History, Word
from stream.errors import SourceError
from stream.facts.lineage import SPOT, Spots
from stream.lineage import TrackState
from stream.score.truth import numbered_masks, read_mask, read_rows

TRACKS = "res_track.txt"
EVENTS = "events.jsonl"


def read(folder: Path) -> tuple[History, Spots, list[int]]:
    """Return the history, where each track was, and the frames.

    Raises
    ------
    SourceError
        A file is unreadable, or masks and tracks do not belong together.
    """
    table = read_rows(folder / TRACKS)
    table = table[np.argsort(table[:, 0], kind="stable")]
    spots = read_spots(folder)
    strangers = np.setdiff1d(spots["track"], table[:, 0])
    if len(strangers):
        raise SourceError(f"{folder}: the masks show label {strangers[0]}, {TRACKS} does not name it")
    if len(np.unique(table[:, 0])) != len(table):
        raise SourceError(f"{folder / TRACKS}: a label has two lines")
    frames = sorted(numbered_masks(folder)) or list(range(int(table[:, 1].min(initial=0)), _end(table)))
    first, last = (frames[0], frames[-1]) if frames else (0, 0)
    field, words = _words(folder / EVENTS)
    return History(field, first, last, _rows(table, spots, last), words, events_decide=False), spots, frames


def read_spots(folder: Path) -> Spots:
    """Measure every label in every mask; by track and frame. Raises SourceError."""
    found = [_measure(frame, read_mask(path)) for frame, path in numbered_masks(folder).items()]
    spots = np.concatenate(found) if found else np.zeros(0, SPOT)
    return spots[np.lexsort((spots["frame"], spots["track"]))]


def _measure(frame: int, mask: NDArray[np.int64]) -> Spots:
    ys, xs = np.nonzero(mask)
    labels, which, area_px = np.unique(mask[ys, xs], return_inverse=True, return_counts=True)
    spots = np.zeros(len(labels), SPOT)
    spots["frame"], spots["track"], spots["area_px"] = frame, labels, area_px
    spots["mean_counts"] = spots["x_um"] = spots["y_um"] = np.nan
    spots["y_px"] = np.bincount(which, ys, len(labels)) / area_px
    spots["x_px"] = np.bincount(which, xs, len(labels)) / area_px
    return spots


def _rows(table: NDArray[np.int64], spots: Spots, end: int) -> NDArray[np.void]:
    rows = np.zeros(len(table), ROW)
    for name, column in zip(("track", "born", "last", "parent"), table.T, strict=True):
        rows[name] = column
    rows["born_s"] = rows["last_s"] = UNKNOWN_S
    rows["state"] = np.where(rows["last"] >= end, TrackState.ALIVE, TrackState.LOST)
    rows["area_px"] = rows["mean_counts"] = np.nan
    known, begins = np.unique(spots["track"], return_index=True)
    at = np.searchsorted(rows["track"], known)
    born = spots["frame"][begins] == rows["born"][at]
    rows["area_px"][at[born]] = spots["area_px"][begins[born]]
    return rows


def _end(table: NDArray[np.int64]) -> int:
    return int(table[:, 2].max(initial=-1)) + 1


def _words(path: Path) -> tuple[str, tuple[Word, ...]]:
    """Return the field's name and the last word on each of its events."""
    if not path.is_file():
        return "", ()
    words: dict[str, Word] = {}
    field = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            said = json.loads(line)
            word = Word.read(said)
            field = str(said["field"])
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}: line {number} is no event: {error!r}") from None
        words[word.event_id] = word
    return field, tuple(words.values())
