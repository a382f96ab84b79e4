"""What the page knows: pairs of frame and labels, lists that update in place, memory that stays flat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.clock import FakeClock
from stream.event import Event, Status, event_id
from stream.frame import Frame
from stream.lineage import Tracks
from stream.watch.fields import LAG_LIMIT_MS
from stream.watch.state import CROP_PX, LiveState

FIELD = "Camera:p0"


def a_frame(number: int, size: int = 96, channel: str = "GFP", field: str = FIELD) -> Frame:
    pixels = np.full((size, size), 100 + number, np.uint16)
    return Frame("run", "Camera", "s", 1, number, field, number, pixels, channel=channel)


def labels_of(frame: Frame) -> np.ndarray:
    labels = np.zeros(frame.pixels.shape, np.int32)
    labels[10:20, 10:20] = 7
    return labels


def tracks_of(*ids: int, seen: bool = True) -> Tracks:
    n = len(ids)
    whole = np.array(ids, np.int64)
    label = whole.astype(np.int32) if seen else np.zeros(n, np.int32)
    zeros = np.zeros(n, np.int64)
    return Tracks(whole, zeros, zeros, zeros, np.zeros(n, np.int8), label, np.zeros((n, 2)), np.zeros((n, 2)))


def division(revision: int, status: Status, frame: int = 5, parent: int = 3) -> Event:
    name = event_id(FIELD, frame, "division", parent)
    spots = ((40.0, 30.0), (40.0, 50.0))
    return Event(
        "division", name, revision, status, FIELD, frame, frame + revision, 0.8, parent, (8, 9), (40.0, 40.0), spots
    )


def command(name: str, event: str | None = None) -> dict[str, object]:
    action = {"kind": "set_exposure", "exposure_ms": 20.0}
    cause = {"event_id": event, "frame": None, "origin": "rules"}
    return {"command_id": name, "action": action, "cause": cause, "issued_wall_ns": 5_000_000}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1)


@pytest.fixture
def live(clock: FakeClock) -> LiveState:
    return LiveState("run", clock=clock)


def test_outlines_come_from_the_same_frame(live: LiveState) -> None:
    first, second = a_frame(1), a_frame(2)
    live.frame(first)
    live.labels(FIELD, 1, labels_of(first))
    live.frame(second)
    shown = live.shown(FIELD)
    assert shown is not None
    assert (shown.frame.frame, shown.behind) == (1, 1)
    assert shown.labels is not None


def test_labels_may_come_before_their_frame(live: LiveState) -> None:
    live.labels(FIELD, 1, labels_of(a_frame(1)))
    assert live.shown(FIELD) is None
    live.frame(a_frame(1))
    shown = live.shown(FIELD)
    assert shown is not None
    assert shown.labels is not None


def test_a_field_with_tracks_waits_for_them(live: LiveState) -> None:
    for number in (1, 2):
        live.frame(a_frame(number))
    live.labels(FIELD, 1, labels_of(a_frame(1)))
    live.tracks(FIELD, 1, tracks_of(7))
    live.labels(FIELD, 2, labels_of(a_frame(2)))
    assert live.shown(FIELD).frame.frame == 1  # type: ignore[union-attr]
    live.tracks(FIELD, 2, tracks_of(7))
    assert live.shown(FIELD).frame.frame == 2  # type: ignore[union-attr]


def test_hung_analysis_gives_the_raw_image_until_it_caught_up(live: LiveState, clock: FakeClock) -> None:
    live.frame(a_frame(1))
    live.labels(FIELD, 1, labels_of(a_frame(1)))
    live.frame(a_frame(2))
    clock.advance_ms(LAG_LIMIT_MS + 1)
    live.frame(a_frame(3))
    shown = live.shown(FIELD)
    assert shown is not None
    assert (shown.frame.frame, shown.labels, shown.behind) == (3, None, 2)
    live.labels(FIELD, 3, labels_of(a_frame(3)))
    shown = live.shown(FIELD)
    assert shown is not None
    assert (shown.frame.frame, shown.behind) == (3, 0)
    assert shown.labels is not None


def test_labels_of_another_shape_are_not_drawn(live: LiveState) -> None:
    live.frame(a_frame(1))
    live.labels(FIELD, 1, np.ones((5, 5), np.int32))
    assert live.shown(FIELD).labels is None  # type: ignore[union-attr]


def smooth(live: LiveState, frame: Frame, pixels: np.ndarray | None = None) -> None:
    """Decide a frame; with denoised pixels where they are given."""
    live.frame(frame)
    if pixels is not None:
        live.denoised(FIELD, frame.frame, pixels)
    live.labels(FIELD, frame.frame, labels_of(frame))


def test_denoised_pixels_are_shown_where_asked_with_the_outlines_of_their_frame(live: LiveState) -> None:
    smooth(live, a_frame(1), np.full((96, 96), 50, np.uint16))
    smooth(live, a_frame(2))
    shown = live.shown(FIELD, denoised=True)
    assert shown is not None
    assert (shown.frame.frame, shown.denoised, shown.behind) == (1, True, 0)
    assert shown.labels is not None
    assert (shown.frame.pixels == 50).all()
    raw = live.shown(FIELD)
    assert raw is not None
    assert (raw.frame.frame, raw.denoised, int(raw.frame.pixels[0, 0])) == (2, False, 102)


def test_denoised_pixels_that_come_no_more_give_way_to_raw_ones(live: LiveState, clock: FakeClock) -> None:
    smooth(live, a_frame(1), np.full((96, 96), 50, np.uint16))
    for number, denoised in ((2, True), (3, False)):
        clock.advance_ms(LAG_LIMIT_MS - 100)
        smooth(live, a_frame(number))
        assert live.shown(FIELD, denoised=True).denoised is denoised  # type: ignore[union-attr]
    smooth(live, a_frame(4), np.full((96, 96), 50, np.uint16))
    assert live.shown(FIELD, denoised=True).denoised  # type: ignore[union-attr]


def test_denoised_pixels_of_another_shape_are_not_shown(live: LiveState) -> None:
    smooth(live, a_frame(1), np.full((5, 5), 50, np.uint16))
    shown = live.shown(FIELD, denoised=True)
    assert shown is not None
    assert (shown.denoised, int(shown.frame.pixels[0, 0])) == (False, 101)


@pytest.mark.parametrize(("channel", "expected"), [("", 100 + 4), ("RFP", 100 + 5)])
def test_one_channel_is_shown(channel: str, expected: int, clock: FakeClock) -> None:
    live = LiveState(channel=channel, clock=clock)
    live.frame(a_frame(4, channel="GFP"))
    live.frame(a_frame(5, channel="RFP"))
    assert live.shown(FIELD).frame.pixels[0, 0] == expected  # type: ignore[union-attr]


def test_an_event_is_updated_in_place_and_counted_once(live: LiveState) -> None:
    live.events([division(0, "provisional")])
    before = live.facts()
    live.events([division(1, "confirmed"), division(0, "provisional")])
    after = live.facts(events_since=before["events_change"])
    assert before["counts"] == {"division.provisional": 1}
    assert after["counts"] == {"division.confirmed": 1}
    assert [(row["n"], row["status"]) for row in after["events"]] == [(1, "confirmed")]
    assert live.facts(events_since=after["events_change"])["events"] == []


def test_lists_forget_the_oldest(live: LiveState) -> None:
    live.events([division(0, "provisional", frame=n) for n in range(300)])
    for n in range(150):
        live.command(command(f"c{n}"))
        live.ack({"command_id": f"c{n}", "state": "applied"})
    facts = live.facts()
    assert (len(facts["events"]), len(facts["commands"])) == (200, 100)
    assert facts["events"][0]["frame"] == 100
    assert facts["counts"] == {"division.provisional": 300}


def test_cells_that_leave_by_the_dozen_are_counted_and_drive_nothing_out(live: LiveState) -> None:
    told = division(0, "provisional")
    live.events([told])
    leaving = [replace(told, kind="exit", event_id=event_id(FIELD, 5, "exit", n), parent_id=n) for n in range(300)]
    live.events(leaving)
    live.events([replace(one, revision=1, status="confirmed") for one in leaving[-5:]])
    facts = live.facts()
    assert [row["kind"] for row in facts["events"]] == ["division"]
    assert facts["counts"] == {"division.provisional": 1, "exit.provisional": 295, "exit.confirmed": 5}


def test_cells_that_the_picture_moved_off_are_not_counted_as_having_left(live: LiveState) -> None:
    told = replace(division(0, "provisional"), kind="exit")
    outside = [replace(told, event_id=event_id(FIELD, 5, "exit", n), reason="picture_moved") for n in range(250)]
    gone = replace(told, event_id=event_id(FIELD, 5, "exit", 999), reason="at_the_edge")
    live.events([*outside, gone])
    assert live.facts()["counts"] == {"moved_off.provisional": 250, "exit.provisional": 1}
    live.events([replace(one, revision=1, status="confirmed", reason="end_of_stream") for one in (*outside, gone)])
    assert live.facts()["counts"] == {"moved_off.confirmed": 250, "exit.confirmed": 1}


def test_an_event_keeps_pictures_of_before_and_after(live: LiveState) -> None:
    for number in (4, 5):
        live.frame(a_frame(number))
    live.events([division(0, "provisional", frame=5)])
    before, after = live.crops(1)
    assert (before[0, 0], after[0, 0]) == (104, 105)
    assert before.shape == (CROP_PX, CROP_PX)
    assert live.crops(2) == ()


def test_a_command_ends_once(live: LiveState) -> None:
    live.command(command("c1", event="e1"))
    assert live.facts()["commands"][0]["state"] == "sent"
    live.ack({"command_id": "c1", "state": "accepted"})
    live.ack({"command_id": "c1", "state": "applied", "readback": {"exposure_ms": 20.0}, "first_frame": {"frame": 9}})
    live.ack({"command_id": "c1", "state": "failed"})
    live.command(command("c1"))
    (row,) = live.facts()["commands"]
    assert (row["kind"], row["event_id"], row["state"], row["first_frame"]) == ("set_exposure", "e1", "applied", 9)
    assert live.facts()["command_counts"] == {"applied": 1}


def test_an_ack_may_come_first(live: LiveState) -> None:
    live.ack({"command_id": "c1", "state": "refused", "reason": "too much light"})
    live.command(command("c1"))
    (row,) = live.facts()["commands"]
    assert (row["kind"], row["state"], row["reason"]) == ("set_exposure", "refused", "too much light")


def test_numbers(live: LiveState, clock: FakeClock) -> None:
    for number in range(11):
        live.frame(a_frame(number))
        live.tracks(FIELD, number, tracks_of(1, 2))
        live.latency({"segment": 4.0}, float(number))
        clock.advance_ms(100)
    live.tracks(FIELD, 11, tracks_of(1, seen=False))
    live.loss("analyse", "deadline", 2)
    live.loss("analyse", "deadline")
    live.status({"rig": "paused", "interval_ms": 100})
    live.status({"rig": "running"})
    facts = live.facts(FIELD)
    assert facts["field"]["fps"] == pytest.approx(10)
    assert (facts["field"]["cells"], facts["field"]["cells_line"][-2:]) == (0, [2, 0])
    assert facts["latency_ms"]["p50"] == 5
    assert facts["latency_ms"]["stages"] == {"segment": {"p50": 4, "p99": 4}}
    assert facts["losses"] == [["analyse", "deadline", 3]]
    assert facts["status"] == {"rig": "running", "interval_ms": 100}
    assert facts["frame_age_ms"] == 100


def test_listeners_hear_until_they_leave(live: LiveState) -> None:
    heard: list[int] = []

    def listener() -> None:
        heard.append(1)

    live.listen(listener)
    live.frame(a_frame(1))
    live.unlisten(listener)
    live.frame(a_frame(2))
    assert heard == [1]
