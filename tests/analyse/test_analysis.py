"""The analysis as a whole, fed by hand: what it says when frames, stages or its own threads fail."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from stream.analyse.chain import Work
from stream.clock import now_ns
from stream.config import CameraSettings, ChainSettings
from stream.errors import StageError, StoreError
from stream.event import Event, event_id
from stream.facts.analysis import EVENTS_FILE, AnalysisFacts
from stream.facts.eventlog import read_events
from stream.frame import Frame, Index
from stream.metrics import FRAMES_LOST, STAGE_ERRORS
from tests.cases.hand_analysis import Blind, Hand, frame


def test_planes_of_several_shapes_are_a_lost_time_point_and_the_stream_goes_on(tmp_path: Path) -> None:
    """The ROI is changed between the planes of time point 1."""
    sides = {(0, 0): 8, (0, 1): 8, (1, 0): 8, (1, 1): 6, (2, 0): 6, (2, 1): 6}
    planes = [frame(t, seq=2 * t + z, side_px=side, index=Index(t=t, z=z)) for (t, z), side in sides.items()]
    hand = Hand(tmp_path, ChainSettings(z="max", planes=2), Blind(), planes)
    hand.run()
    assert hand.decided() == [(0, 0), (2, 1)]
    assert hand.losses() == [("gather", "planes_differ", 1, 1)]


def broken() -> Any:
    raise StageError("no frame can be made of this")


def test_a_fault_of_the_receiving_thread_ends_the_run_and_leaves_it_to_be_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blind = Blind()
    monkeypatch.setattr(blind, "finish", lambda: pytest.fail("an analysis that comes after goes on with open events"))
    hand = Hand(tmp_path, ChainSettings(), blind, [frame(0), frame(1), broken, frame(2)])
    with pytest.raises(StageError, match="no frame can be made of this"):
        hand.run()
    assert hand.decided() == [(0, 0), (1, 0)]
    assert "frames can no longer be taken" in caplog.text


def test_frames_that_are_dropped_for_room_are_told_by_name(tmp_path: Path) -> None:
    """The chain holds frame 0 until all have come; of the others the newest waits."""
    begun, go = threading.Event(), threading.Event()

    def hold(work: Work) -> None:
        begun.set()
        assert go.wait(10)

    def last() -> Frame:
        go.set()
        return frame(5, field="c:p0/aside")

    def second() -> Frame:
        assert begun.wait(10)
        return frame(1)

    settings = ChainSettings(queue=1, overload="drop_oldest")
    before = FRAMES_LOST.labels("analyse", "overload")._value.get()
    hand = Hand(tmp_path, settings, Blind(denoise=hold), [frame(0), second, frame(2), frame(3), frame(4), last])
    hand.run()
    assert hand.decided() == [(0, 0), (4, 3)]
    assert hand.losses() == [("analyse", "overload", 1, number) for number in (1, 2, 3)]
    assert hand.told("loss") == [("analyse", "overload", 1)] * 3
    assert FRAMES_LOST.labels("analyse", "overload")._value.get() == before + 3


def test_a_time_point_that_is_too_late_at_the_end_of_the_stream_is_told(tmp_path: Path) -> None:
    settings = ChainSettings(segment_channel="a", measure_channels=("a", "b"), deadline_ms=1000.0)
    hand = Hand(tmp_path, settings, Blind(), [frame(0, channel="a", t_pop_ns=now_ns() - 10**10)])
    hand.run()
    assert hand.losses() == [("analyse", "deadline", 1, 0)]


def fails(work: Work) -> None:
    raise StageError(f"frame {work.moment.frame.frame} is not a picture")


def test_an_analysis_that_decides_nothing_does_not_seem_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every frame fails: the rig hears of none that was decided, and the log tells it once."""
    before = STAGE_ERRORS.labels("segment", "StageError")._value.get()
    hand = Hand(tmp_path, ChainSettings(), Blind(segment=fails), [frame(number) for number in range(20)])
    hand.run()
    assert hand.losses() == [("segment", "stage_error", 1, number) for number in range(20)]
    assert {ref for ref, _ in hand.alive} == {None}
    assert caplog.text.count("Traceback") == 1
    assert "segment failed on FrameRef(" in caplog.text
    assert STAGE_ERRORS.labels("segment", "StageError")._value.get() == before + 20


def test_a_single_frame_that_fails_is_covered_by_the_next(tmp_path: Path) -> None:
    def trips(work: Work) -> None:
        if work.moment.frame.frame == 2:
            fails(work)

    hand = Hand(tmp_path, ChainSettings(), Blind(segment=trips), [frame(number) for number in range(4)])
    hand.run()
    assert hand.decided() == [(0, 0), (1, 0), (3, 1)]
    assert hand.alive[-1] == (frame(3).ref, 0)


def says(work: Work) -> None:
    """Find a mitosis in frames 3 and 5."""
    ref = work.moment.frame.ref
    if ref.frame in (3, 5):
        name = event_id(ref.field, ref.frame, "mitosis", 1)
        said = (ref.field, ref.frame, ref.frame, 0.5, 1, (), (1.0, 1.0), ())
        work.events = [Event("mitosis", name, 0, "provisional", *said)]


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs a disk that is always full")
def test_a_disk_that_takes_no_events_costs_no_decision_and_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room again once the event of frame 3 was refused."""
    refused = threading.Event()

    def room(work: Work) -> None:
        says(work)
        if work.moment.frame.frame == 5:
            assert refused.wait(10)
            hand.facts._log._file = disk

    def record(event: Event) -> None:
        try:
            AnalysisFacts.event(hand.facts, event)
        except StoreError:
            refused.set()
            raise

    hand = Hand(tmp_path, ChainSettings(), Blind(divide=room), [frame(number) for number in range(8)])
    monkeypatch.setattr(hand.facts, "event", record)
    disk = hand.facts._log._file
    with FULL.open("wb", buffering=0) as full:
        hand.facts._log._file = full
        hand.run()
    assert [number for number, _ in hand.decided()] == list(range(8))
    assert [said["frame"] for said in read_events(tmp_path / EVENTS_FILE)] == [3, 5]


@pytest.mark.parametrize(("driver", "missed"), [("replay", [0, 0, 1]), ("virtual", [0, 2, 5])])
def test_files_may_be_numbered_by_threes_and_a_microscope_counts(
    driver: str, missed: list[int], tmp_path: Path
) -> None:
    camera = CameraSettings(driver=driver)
    hand = Hand(tmp_path, ChainSettings(), Blind(), [frame(number) for number in (0, 3, 9)], camera=camera)
    hand.run()
    assert hand.decided() == list(zip((0, 3, 9), missed, strict=True))
