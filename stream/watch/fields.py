"""What the live page shows of each field: which frame, with the labels and tracks of that same frame.

Memory is flat whatever the run does: raw frames that wait for their labels share one budget of bytes, and so do the
pictures of all fields, of which those go first that nobody looked at and no frame renewed for longest. What is small
(counts, rates) is kept of :data:`FIELDS` fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.frame import Frame
from stream.lineage import Tracks, TrackState
from stream.watch.book import Crop
from stream.watch.bounded import Bounded
from stream.watch.pairs import Pictures, Result, Seen
from stream.watch.pulse import Rate, Recent

RAW_BYTES = 192 << 20
PICTURE_BYTES = 1 << 30
"""About 340 fields of 512² or 40 of 2048² that have labels."""
FIELDS = 1024
LAG_LIMIT_MS = 1_000.0
"""When analysis has not decided a frame for so long, the page shows raw frames until it caught up."""


@dataclass(slots=True, eq=False)
class Field:
    """What is small of a field.

    ``view`` is the channel and plane of its first frame; ``newest`` says in plain data what the page tells of the
    newest frame, which came ``at_ns``; ``used`` grows with every use of any field.
    """

    name: str
    view: tuple[str, int]
    used: int = 0
    count: int = 0
    at_ns: int = 0
    newest: Mapping[str, Any] = field(default_factory=dict)
    decided: int | None = None
    decided_ordinal: int = 0
    tracked: bool = False
    raw: bool = False
    cells: int | None = None
    cells_line: Recent = field(default_factory=lambda: Recent(120))
    rate: Rate = field(default_factory=Rate)

    @property
    def behind(self) -> int:
        """Frames that arrived after the last decided one."""
        return self.count - self.decided_ordinal

    def facts(self, now_ns: int) -> dict[str, Any]:
        """Return what the page says of the field, as plain data."""
        return {
            "name": self.name,
            "fps": round(self.rate.per_s(now_ns), 6),
            "decided": self.decided,
            "behind": self.behind,
            "cells": self.cells,
            "cells_line": self.cells_line.line(),
            **self.newest,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The picture to show of a field.

    ``key`` tells pictures apart; ``behind`` counts frames that arrived and are not decided. ``labels`` and ``tracks``
    are None for a raw frame. ``marks`` are rows of recent events of this field. ``denoised`` says whether the frame's
    pixels are the denoised ones.
    """

    key: tuple[int, bool]
    frame: Frame
    labels: NDArray[np.int32] | None
    tracks: Tracks | None
    behind: int
    marks: Sequence[Mapping[str, Any]] = ()
    denoised: bool = False


class Fields:
    """All fields by name, in order of appearance. One thread at a time.

    Parameters
    ----------
    channel
        The channel whose frames are shown; empty: each field's first one.
    plane
        The plane (``index.z``) whose frames are shown; None: each field's first one.
    """

    def __init__(self, channel: str = "", plane: int | None = None) -> None:
        self._channel, self._plane = channel, plane
        self._fields: dict[str, Field] = {}
        self._raw: Bounded[tuple[str, int], Seen] = Bounded(RAW_BYTES, least=2)
        self._pictures: Bounded[str, Pictures] = Bounded(PICTURE_BYTES)
        self._uses = 0

    def __iter__(self) -> Iterator[Field]:
        """Yield the fields that have brought a frame."""
        return (place for place in self._fields.values() if place.count)

    @property
    def cells(self) -> int:
        """Cells of all fields together."""
        return sum(place.cells or 0 for place in self._fields.values())

    def get(self, name: str) -> Field | None:
        """Return what is small of a field, None where nothing is known of it."""
        return self._fields.get(name)

    def raw(self, name: str, frame: int) -> Frame | None:
        """Return a shown frame while it is still here."""
        seen = self._raw.get((name, frame))
        return seen.frame if seen else None

    def frame(self, frame: Frame, at_ns: int) -> bool:
        """Take up a frame; False when it is of another channel or plane than the shown one."""
        place = self._place(frame.field)
        if not place.count:
            place.view = frame.channel, frame.index.z
        channel, plane = self._channel or place.view[0], place.view[1] if self._plane is None else self._plane
        if (frame.channel, frame.index.z) != (channel, plane):
            return False
        place.count += 1
        place.at_ns = at_ns
        place.rate.add(at_ns)
        place.newest = _told(frame)
        seen = Seen(frame, place.count, at_ns)
        self._raw.put((frame.field, frame.frame), seen, frame.pixels.nbytes)
        pictures = self._pictures_of(frame.field)
        pictures.newest = seen
        self._pair(place, pictures, frame.frame)
        return True

    def labels(self, name: str, frame: int, labels: NDArray[np.int32]) -> None:
        """Take up the label image of a decided frame."""
        place, pictures = self._place(name), self._pictures_of(name)
        pictures.result(frame).labels = labels
        self._pair(place, pictures, frame)

    def denoised(self, name: str, frame: int, pixels: Crop) -> None:
        """Take up the denoised pixels of a decided frame, before its labels."""
        place, pictures = self._place(name), self._pictures_of(name)
        pictures.result(frame).denoised = pixels
        self._pair(place, pictures, frame)

    def tracks(self, name: str, frame: int, tracks: Tracks) -> None:
        """Take up the tracks after a decided frame."""
        place, pictures = self._place(name), self._pictures_of(name)
        place.tracked = True
        place.cells = int(np.count_nonzero((tracks.state == TrackState.ALIVE) & (tracks.label > 0)))
        place.cells_line.add(place.cells)
        pictures.result(frame).tracks = tracks
        self._pair(place, pictures, frame)

    def shown(self, name: str, denoised: bool, now_ns: int) -> Shown | None:
        """Return the picture to show of a field, without marks; None where it has none, or none any more."""
        place, pictures = self._fields.get(name), self._pictures.get(name)
        if place is None or pictures is None or pictures.newest is None:
            return None
        self._use(place)
        self._pictures.touch(name)
        raw = place.raw = self._shows_raw(place, pictures, now_ns)
        seen = pictures.newest if raw or pictures.decided is None else pictures.decided
        result = Result() if raw else pictures.decided_result
        smooth = pictures.smooth(LAG_LIMIT_MS) if denoised and not raw else None
        if smooth is not None:
            seen, result = smooth
        key = (seen.ordinal, result.labels is not None)
        return Shown(key, seen.frame, result.labels, result.tracks, place.behind, denoised=smooth is not None)

    def _place(self, name: str) -> Field:
        place = self._fields.get(name)
        if place is None:
            if len(self._fields) >= FIELDS:
                self._forget(min(self._fields.values(), key=lambda one: one.used).name)
            place = self._fields[name] = Field(name, ("", 0))
        self._use(place)
        return place

    def _use(self, place: Field) -> None:
        self._uses += 1
        place.used = self._uses

    def _forget(self, name: str) -> None:
        """Forget all of a field: labels that come late must not find a frame that was counted before."""
        del self._fields[name]
        self._pictures.drop(name)
        for key in [key for key in self._raw if key[0] == name]:
            self._raw.drop(key)

    def _pictures_of(self, name: str) -> Pictures:
        return self._pictures.get(name) or Pictures()

    def _pair(self, place: Field, pictures: Pictures, frame: int) -> None:
        """Make a frame the decided one when its pixels, labels and (where the field has any) tracks are all here."""
        seen = self._raw.get((place.name, frame))
        if seen is not None and pictures.settle(seen, place.tracked, after=place.decided_ordinal):
            place.decided, place.decided_ordinal = frame, seen.ordinal
        self._pictures.put(place.name, pictures, pictures.nbytes)

    def _shows_raw(self, place: Field, pictures: Pictures, now_ns: int) -> bool:
        """Whether analysis is too late; once it was, it must have caught up by half before outlines come back."""
        if pictures.decided is None:
            return True
        after = pictures.decided.ordinal
        waits = [s.at_ns for s in self._raw.values() if s.frame.field == place.name and s.ordinal > after]
        lag_ms = (now_ns - min(waits)) / 1e6 if waits else 0.0
        return lag_ms > (LAG_LIMIT_MS / 2 if place.raw else LAG_LIMIT_MS)


def _told(frame: Frame) -> dict[str, Any]:
    return {
        "frame": frame.frame,
        "exposure_ms": frame.exposure_ms,
        "channel": frame.channel,
        "stage_um": list(frame.stage_um),
        "epoch": frame.epoch,
    }
