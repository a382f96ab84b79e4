"""Frames become moments: channels, planes, gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.analyse.gather import Gather
from stream.analyse.kept import Kept
from stream.analyse.schedule import Schedule
from stream.config import ChainSettings
from stream.frame import STAGE_MOVING, Frame, FrameRef, Index, Stamps
from stream.metrics import FRAMES_LOST


def frame(number: int, channel: str = "a", z: int = 0, field: str = "c:p0", value: int = 1) -> Frame:
    """A small frame; its pop time is 100 ms a frame."""
    pixels = np.full((4, 5), value, np.uint16)
    stamps = Stamps(t_pop_ns=number * 10**8)
    index = Index(t=number, z=z)
    return Frame("r", "c", "s", 0, number, field, number, pixels, index=index, channel=channel, stamps=stamps)


def lost() -> float:
    return FRAMES_LOST.labels("gather", "no_segment_channel")._value.get()


def test_one_channel_is_a_moment_at_once() -> None:
    gather = Gather(ChainSettings())
    moments = [moment for n in range(3) for moment in gather.add(frame(n))]
    assert [moment.frame.frame for moment in moments] == [0, 1, 2]
    assert [moment.elapsed_s for moment in moments] == pytest.approx([0, 0.1, 0.2])
    assert [moment.missed for moment in moments] == [0, 0, 0]


def test_a_picture_under_which_the_stage_moved_is_no_moment() -> None:
    told: list[tuple[str, int]] = []
    gather = Gather(ChainSettings(), lambda why, ref: told.append((why, ref.frame)))
    frames = [frame(0), replace(frame(1), metadata={STAGE_MOVING: True}), frame(2)]
    moments = [moment for one in frames for moment in gather.add(one)]
    assert [(moment.frame.frame, moment.missed) for moment in moments] == [(0, 0), (2, 1)]
    assert told == [("stage_moving", 1)]


GAPS: dict[str, tuple[int, list[int], list[int]]] = {
    # the step that is known (0: none is), the numbers of the frames, and what each misses
    "a hole": (0, [4, 5, 8], [0, 0, 2]),
    "a microscope counts from the first frame on": (1, [0, 3, 4], [0, 2, 0]),
    "a recording may begin with any step": (0, [0, 3, 4, 6], [0, 0, 0, 1]),
    "every third": (0, [0, 3, 6, 9], [0, 0, 0, 0]),
    "every third, one is missing": (0, [0, 3, 6, 9, 12, 18], [0, 0, 0, 0, 0, 1]),
    "every third, and one between": (0, [0, 3, 6, 7, 9, 12], [0, 0, 0, 0, 1, 2]),
    "a source that begins anew": (1, [7, 8, 0, 1], [0, 0, 0, 0]),
}


@pytest.mark.parametrize(("step", "numbers", "missed"), GAPS.values(), ids=GAPS)
@pytest.mark.parametrize("cut", [2, 4, 6])
def test_missing_time_points_are_passed_on_and_no_later_one_changes_that(
    step: int, numbers: list[int], missed: list[int], cut: int
) -> None:
    gather = Gather(ChainSettings(), schedule=Schedule(step))
    moments = [moment for n in numbers[:cut] for moment in gather.add(frame(n))]
    assert [moment.missed for moment in moments] == missed[:cut]


def test_the_step_outlives_an_analysis_that_died() -> None:
    before, after = Gather(ChainSettings()), Gather(ChainSettings())
    for number in (0, 3, 6):
        before.add(frame(number))
    assert (before.step_of("c:p0"), after.step_of("c:p0")) == (3, 0)
    step = before.step_of("c:p0")
    after.take_up(Kept(FrameRef("r", "c", "s", 0, 6, "c:p0", 6), "rig", 10**9, 0.6, step, (), None, b""))
    moments = [moment for number in (12, 15) for moment in after.add(frame(number))]
    assert [moment.missed for moment in moments] == [1, 0]


def test_a_time_point_that_is_lost_shows_the_step_too() -> None:
    gather = Gather(ChainSettings(segment_channel="a"))
    moments = [m for n, channel in ((0, "a"), (1, "b"), (2, "a")) for m in gather.add(frame(n, channel))]
    assert [moment.missed for moment in moments] == [0, 1]


def test_channels_of_a_time_point_come_together() -> None:
    gather = Gather(ChainSettings(segment_channel="a", measure_channels=("a", "b")))
    assert gather.add(frame(0, "b", value=7)) == []
    (moment,) = gather.add(frame(0, "a", value=3))
    assert moment.frame.channel == "a"
    assert {name: int(pixels[0, 0]) for name, pixels in moment.channels.items()} == {"a": 3, "b": 7}


def test_a_missing_measured_channel_is_none_when_the_next_time_point_begins() -> None:
    gather = Gather(ChainSettings(segment_channel="a", measure_channels=("a", "b")))
    gather.add(frame(0, "a"))
    (moment,) = gather.add(frame(1, "a"))
    assert moment.frame.frame == 0
    assert {name: pixels is not None for name, pixels in moment.channels.items()} == {"a": True, "b": False}


@pytest.mark.parametrize("other", ["b", "c"], ids=["measured", "neither"])
def test_a_time_point_without_the_segment_channel_is_a_counted_loss(other: str) -> None:
    told: list[tuple[str, int]] = []
    settings = ChainSettings(segment_channel="a", measure_channels=("a", "b"))
    gather = Gather(settings, lambda reason, ref: told.append((reason, ref.frame)))
    before = lost()
    gather.add(frame(0, other))
    assert gather.add(frame(1, other)) == []
    assert lost() == before + 1
    assert told == [("no_segment_channel", 0)]


def test_other_channels_are_neither_moments_nor_losses() -> None:
    gather = Gather(ChainSettings(segment_channel="a"))
    before = lost()
    moments = [moment for n in range(3) for channel in "abc" for moment in gather.add(frame(n, channel))]
    assert [moment.frame.channel for moment in moments] == ["a", "a", "a"]
    assert lost() == before


PROJECTIONS = {"max": 9, "mean": 5, 1: 2}


@pytest.mark.parametrize(("z", "value"), PROJECTIONS.items(), ids=map(str, PROJECTIONS))
def test_planes_are_chosen_or_projected(z: int, value: int) -> None:
    gather = Gather(ChainSettings(z=z, planes=3))
    moments = [m for plane, v in ((0, 4), (1, 2), (2, 9)) for m in gather.add(frame(0, z=plane, value=v))]
    assert [int(moment.frame.pixels[0, 0]) for moment in moments] == [value]


def test_fields_do_not_mix() -> None:
    gather = Gather(ChainSettings(segment_channel="a", measure_channels=("a", "b")))
    gather.add(frame(0, "a", field="c:p0"))
    gather.add(frame(0, "a", field="c:p1"))
    (first,) = gather.add(frame(0, "b", field="c:p1"))
    (second,) = gather.add(frame(0, "b", field="c:p0"))
    assert (first.frame.field, second.frame.field) == ("c:p1", "c:p0")


def test_what_is_open_comes_out_at_the_end() -> None:
    gather = Gather(ChainSettings(segment_channel="a", measure_channels=("a", "b")))
    gather.add(frame(0, "a"))
    assert [moment.frame.frame for moment in gather.flush()] == [0]
    assert gather.flush() == []


@pytest.mark.parametrize(("host", "expected"), [("rig", 7.5 + 2.0), ("another", 7.5)])
def test_time_goes_on_after_an_earlier_analysis_where_the_clock_can_tell(host: str, expected: float) -> None:
    gather = Gather(ChainSettings())
    for field, elapsed_s in (("c:p1", 7.5), ("c:p0", 7.0)):
        gather.take_up(Kept(FrameRef("r", "c", "s", 0, 1, field, 1), "rig", 10**9, elapsed_s, 1, (), None, b""))
    first = frame(4)
    (moment,) = gather.add(replace(first, stamps=replace(first.stamps, t_pop_ns=3 * 10**9, host=host)))
    assert (moment.elapsed_s, moment.missed) == (expected, 2)
    (moment,) = gather.add(replace(frame(5), stamps=replace(first.stamps, t_pop_ns=4 * 10**9, host=host)))
    assert moment.elapsed_s == expected + 1


def test_the_channel_that_was_segmented_stays_the_one() -> None:
    gather = Gather(ChainSettings(), segment_channel="a")
    assert gather.add(frame(0, "b")) == []
    assert [moment.frame.channel for moment in gather.add(frame(0, "a"))] == ["a"]
    assert gather.segment_channel == "a"


def shaped(number: int, channel: str, side_px: int) -> Frame:
    return replace(frame(number, channel), pixels=np.ones((side_px, 5), np.uint16), roi_px=(0, 0, 5, side_px))


def test_a_measured_channel_of_another_shape_is_none() -> None:
    gather = Gather(ChainSettings(segment_channel="a", measure_channels=("a", "b")))
    gather.add(shaped(0, "a", 4))
    (moment,) = gather.add(shaped(0, "b", 3))
    assert {name: pixels is not None for name, pixels in moment.channels.items()} == {"a": True, "b": False}
