"""A scripted movie of few cells whose families are known by heart, as the chain would decide it.

Frames 10 to 21; nobody ever decided frame 15. Track 1 divides into 2 and 3; 2 divides again; 3 is not seen in frame 17.
Track 4 comes into view and divides into three. Track 10 seems to divide, which is taken back: 11 goes on as the mother,
12 was nobody's daughter. 13 leaves, 14 dies, 15 is lost, 16 stays. Stage and ROI are elsewhere in every frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stream.cells import Segmentation, make_cells
from stream.event import Event, event_id
from stream.facts.analysis import AnalysisFacts
from stream.facts.rig import RigFacts
from stream.frame import Frame, Stamps
from stream.lineage import Tracks, TrackState
from stream.score.ctc_writer import ResultWriter

FIELD = "Camera:p0"
FRAMES = (10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21)
INTERVAL_S = 2.0
PIXEL_UM = 0.5
SIDE_PX = 96
A, L, D, X = TrackState.ALIVE, TrackState.LOST, TrackState.DIVIDED, TrackState.LEFT


@dataclass(frozen=True)
class Script:
    """A track: born, last, parent, how it ends, and the side of its square in px."""

    born: int
    last: int
    parent: int = 0
    end: TrackState = A
    side_px: int = 6
    missed: tuple[int, ...] = ()


TRACKS = {
    1: Script(10, 12, end=D),
    2: Script(13, 17, 1, D, side_px=4),
    3: Script(13, 21, 1, side_px=5, missed=(17,)),
    4: Script(11, 13, end=D),
    5: Script(18, 21, 2),
    6: Script(18, 21, 2, side_px=3),
    7: Script(14, 21, 4),
    8: Script(14, 21, 4),
    9: Script(14, 21, 4),
    10: Script(10, 16, end=D),
    11: Script(17, 21, 10),
    12: Script(17, 18, 10, L),
    13: Script(10, 14, end=X),
    14: Script(12, 16, end=L),
    15: Script(10, 13, end=L),
    16: Script(10, 21),
}
# frame it happened, mother, daughters, then (status, frame it was said, confidence)
DIVISIONS = (
    (13, 1, (2, 3), (("provisional", 13, 0.75), ("confirmed", 14, 0.9375))),
    (14, 4, (7, 8, 9), (("provisional", 14, 0.5), ("confirmed", 17, 0.625))),
    (17, 10, (11, 12), (("provisional", 17, 0.5), ("retracted", 19, 0.125))),
    (18, 2, (5, 6), (("provisional", 18, 0.8125), ("confirmed", 20, 0.96875))),
)
CELLS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16}
"""By their first tracks: 11 is 10 under a new number."""


@dataclass(frozen=True)
class Shown:
    """One decided frame."""

    frame: Frame
    segmentation: Segmentation
    tracks: Tracks
    events: tuple[Event, ...]
    elapsed_s: float


def movie() -> Iterator[Shown]:
    """Yield every decided frame."""
    for seq, number in enumerate(FRAMES):
        elapsed_s = (number - FRAMES[0]) * INTERVAL_S
        stamps = Stamps(t_pop_ns=int(elapsed_s * 1e9) + 7, host="rig")
        frame = Frame(
            "run", "Camera", "s", 0, seq, FIELD, number, np.zeros((SIDE_PX, SIDE_PX), np.uint16),
            affine_um=((PIXEL_UM, 0.0), (0.0, -PIXEL_UM)), sensor_px=(SIDE_PX + 9, SIDE_PX + 9),
            roi_px=(seq % 3, seq % 4, SIDE_PX, SIDE_PX), stage_um=(10.0 * seq, -3.0, 0.0), stamps=stamps,
        )  # fmt: skip
        events = tuple(event for event in said() if event.emitted_frame == number)
        yield Shown(frame, _segmentation(number), _tracks(number), events, elapsed_s)


def said() -> list[Event]:
    """Return every revision of every event."""
    events = []
    for frame, mother, daughters, words in DIVISIONS:
        for revision, (status, emitted, confidence) in enumerate(words):
            points = tuple((1.0, float(one)) for one in daughters)
            events.append(_event("division", frame, mother, daughters, points, revision, status, emitted, confidence))
    events.append(_event("death", 16, 14, (), (), 0, "confirmed", 16, 0.875))
    return events


def record(folder: Path, *, labels: bool = True, cells: bool = True) -> Path:
    """Write a run's folder as rig and analysis do."""
    folder.mkdir(parents=True)
    rig, facts = RigFacts(folder), AnalysisFacts(folder)
    writer = ResultWriter(folder / "labels" / FIELD.replace(":", "_")) if labels else None
    for shown in movie():
        rig.frame(shown.frame)
        found = shown.segmentation.cells if cells else None
        facts.decided(shown.frame, shown.frame.stamps.t_pop_ns + 5, cells=found, tracks=shown.tracks)
        for event in shown.events:
            facts.event(event)
        if writer is not None:
            writer.decided(shown.frame.frame, shown.segmentation, shown.tracks, shown.events)
    if writer is not None:
        writer.close()
    facts.close()
    rig.close()
    return folder


def evaluated(folder: Path) -> Path:
    """Write a result folder as ``cytoloop evaluate`` does."""
    writer = ResultWriter(folder)
    for shown in movie():
        writer.decided(shown.frame.frame, shown.segmentation, shown.tracks, shown.events)
    writer.close()
    return folder


def seen(number: int) -> list[int]:
    """Return the tracks that show in a frame."""
    return [track for track, one in TRACKS.items() if one.born <= number <= one.last and number not in one.missed]


def place_px(track: int, number: int) -> tuple[int, int]:
    """Return the upper left corner ``(y, x)`` of a track's square."""
    return 1 + 20 * ((track - 1) // 4) + number - 10, 2 + 24 * ((track - 1) % 4)


def _segmentation(number: int) -> Segmentation:
    image = np.zeros((SIDE_PX, SIDE_PX), np.int32)
    labels = seen(number)
    centres, areas = [], []
    for track in labels:
        (y, x), side = place_px(track, number), TRACKS[track].side_px
        image[y : y + side, x : x + side] = track
        centres.append((y + (side - 1) / 2, x + (side - 1) / 2))
        areas.append(side * side)
    counts = np.array([[1000.0 + 100 * track, np.nan] for track in labels], np.float32)
    boxes = np.zeros((len(labels), 4), np.int32)
    cells = make_cells(
        np.array(labels, np.int32), np.array(centres, np.float32), boxes, np.array(areas, np.float32), counts
    )
    return Segmentation(image, cells)


def _tracks(number: int) -> Tracks:
    """Return the table: who is alive or may come back, and who ended with this frame."""
    rows: list[tuple[Any, ...]] = []
    for track, one in TRACKS.items():
        after = next((frame for frame in FRAMES if frame > one.last), None)
        if one.born > number or (after is not None and number > after):
            continue
        last = max(frame for frame in FRAMES if one.born <= frame <= min(one.last, number) and frame not in one.missed)
        label = track if track in seen(number) else 0
        rows.append((track, one.parent, one.born, last, one.end if after == number else A, label))
    columns = list(zip(*rows, strict=True))
    kinds = (np.int64, np.int64, np.int64, np.int64, np.int8, np.int32)
    arrays = [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Tracks(*arrays, np.zeros((len(rows), 2)), np.zeros((len(rows), 2)))


def _event(kind: Any, frame: int, parent: int, daughters: Any, points: Any, *rest: Any) -> Event:
    revision, status, emitted, confidence = rest
    return Event(
        kind, event_id(FIELD, frame, kind, parent), revision, status, FIELD, frame, emitted, confidence,
        parent, daughters, (1.0, 1.0), points,
    )  # fmt: skip


def without(shown: Shown, *names: int) -> Shown:
    """Return the frame with a track table that lacks these tracks."""
    keep = ~np.isin(shown.tracks.track_id, names)
    table = Tracks(*(getattr(shown.tracks, name)[keep] for name in Tracks.__slots__))
    return replace(shown, tracks=table)
