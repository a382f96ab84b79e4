"""Results on their way to a disk that is slow, full or not there: frames may be lost, what was said is not."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from stream.analyse import results
from stream.analyse.results import ResultFiles
from stream.cells import Segmentation
from stream.errors import StoreError
from stream.event import Event
from stream.lineage import Tracks
from stream.metrics import FRAMES_LOST
from tests.cases.family import FIELD, movie, said

SHOWN = next(iter(movie()))
WORDS = said()


class Disk:
    """A folder that may be away, and a disk that works on a frame until it is let go."""

    def __init__(self, *, away: int = 0) -> None:
        self.away = away
        self.written: list[tuple[int | None, list[Event]]] = []
        self.busy, self.go, self.wrote_1 = threading.Event(), threading.Event(), threading.Event()

    def make(self, folder: Path) -> Disk:
        if self.away:
            self.away -= 1
            raise StoreError(f"{folder}: cannot write results here")
        return self

    last_track_id = 0

    def take_up(self, events: Iterable[Event]) -> None:
        self.said(events)

    def decided(self, frame: int, segmentation: Segmentation, tracks: Tracks, events: Iterable[Event]) -> None:
        self.busy.set()
        assert self.go.wait(10)
        self.written.append((frame, list(events)))
        if frame == 1:
            self.wrote_1.set()

    def said(self, events: Iterable[Event]) -> None:
        if told := list(events):
            self.written.append((None, told))

    def close(self) -> None:
        pass


def decide(files: ResultFiles, frame: int, *events: Event, field: str = FIELD) -> None:
    files.decided(field, frame, SHOWN.segmentation, SHOWN.tracks, events)


def lost(reason: str) -> float:
    return float(FRAMES_LOST.labels("results", reason)._value.get())


@pytest.fixture
def crowded(tmp_path: Path) -> tuple[ResultFiles, Disk]:
    """A disk that is busy with frame 0, and a queue that frame 1 fills."""
    disk = Disk()
    files = ResultFiles(tmp_path, disk.make, queue_frames=1)
    decide(files, 0)
    assert disk.busy.wait(10)
    decide(files, 1, WORDS[0])
    return files, disk


def test_what_was_said_with_a_frame_that_found_no_room_comes_with_the_next(
    crowded: tuple[ResultFiles, Disk],
) -> None:
    files, disk = crowded
    before = lost("overflow")
    decide(files, 2, WORDS[1])
    files.said(FIELD, WORDS[2:4])
    assert lost("overflow") == before + 1, "a word that waits is no frame that is lost"
    disk.go.set()
    assert disk.wrote_1.wait(10)
    decide(files, 3, WORDS[4])
    files.close()
    assert disk.written == [(0, []), (1, WORDS[:1]), (3, WORDS[1:5])]


def test_what_found_no_room_until_the_end_is_said_at_the_end(crowded: tuple[ResultFiles, Disk]) -> None:
    files, disk = crowded
    decide(files, 2, WORDS[1])
    decide(files, 2, WORDS[2], field="Camera:p1")
    disk.go.set()
    files.close()
    assert disk.written == [(0, []), (1, WORDS[:1]), (None, WORDS[1:2]), (None, WORDS[2:3])]


def test_no_more_than_so_many_events_wait(crowded: tuple[ResultFiles, Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST_HELD", 2)
    files, disk = crowded
    for word in WORDS[1:5]:
        decide(files, 2, word)
    disk.go.set()
    files.close()
    assert disk.written[-1] == (None, WORDS[3:5])


def test_what_was_said_while_the_folder_was_away_is_made_up_for(tmp_path: Path) -> None:
    disk, before = Disk(away=2), lost("refused")
    disk.go.set()
    files = ResultFiles(tmp_path, disk.make)
    assert files.take_up(FIELD, WORDS[:2]) == 0
    decide(files, 1, WORDS[2])
    decide(files, 2, WORDS[3])
    files.close()
    assert lost("refused") == before + 1
    assert disk.written == [(None, WORDS[:3]), (2, WORDS[3:4])]
