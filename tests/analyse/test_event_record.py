"""What becomes of events while the disk takes none."""

from __future__ import annotations

import pytest

from stream.analyse.event_record import EventRecord
from stream.errors import StoreError
from stream.event import Event
from stream.metrics import STAGE_ERRORS


class Disk:
    """Facts on a disk that is full until a test makes room."""

    def __init__(self) -> None:
        self.full = True
        self.tried = 0
        self.frames: list[int] = []

    def event(self, event: Event) -> None:
        self.tried += 1
        if self.full:
            raise StoreError("events.jsonl: cannot be written: no space left on device")
        self.frames.append(event.frame)


def event(frame: int) -> Event:
    return Event("mitosis", f"e{frame}", 0, "provisional", "c:p0", frame, frame, 0.5, 1, (), (1.0, 1.0), ())


def counted(error: str) -> float:
    return float(STAGE_ERRORS.labels("record", error)._value.get())


def test_events_that_the_disk_refused_are_written_before_the_next(caplog: pytest.LogCaptureFixture) -> None:
    disk, before = Disk(), counted("StoreError")
    record = EventRecord(disk)
    record.say(event(0))
    record.say(event(1))
    assert (disk.frames, counted("StoreError") - before) == ([], 2)
    disk.full = False
    record.say(event(2))
    record.say(event(3))
    assert disk.frames == [0, 1, 2, 3]
    assert [said.levelname for said in caplog.records] == ["ERROR", "WARNING"], "that it began, and that it is over"


def test_at_the_end_what_waits_is_tried_once_more() -> None:
    disk = Disk()
    record = EventRecord(disk)
    record.say(event(0))
    record.catch_up()
    assert (disk.frames, disk.tried) == ([], 2)
    disk.full = False
    record.catch_up()
    record.catch_up()
    assert (disk.frames, disk.tried) == ([0], 3)


def test_of_more_events_than_can_wait_the_oldest_are_lost_and_counted() -> None:
    disk, before = Disk(), counted("overflow")
    record = EventRecord(disk, most_unsaid=2)
    for frame in range(5):
        record.say(event(frame))
    disk.full = False
    record.catch_up()
    assert (disk.frames, counted("overflow") - before) == ([3, 4], 3)
