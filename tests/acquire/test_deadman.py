"""The dead-man: what counts as an analysis that decides."""

from __future__ import annotations

import numpy as np
import pytest

from stream.acquire.deadman import DeadMan
from stream.acquire.recent import Recent
from stream.clock import FakeClock
from stream.frame import Frame, Stamps

SECOND = 10**9


class Rig:
    """A recent memory, a dead-man of 2 s and a clock."""

    def __init__(self) -> None:
        self.clock, self.recent = FakeClock(), Recent(keep=100)
        self.dead = DeadMan(2 * SECOND, self.recent)
        self.frames: list[Frame] = []

    def take(self) -> Frame:
        seq = len(self.frames)
        stamps = Stamps(t_pop_ns=self.clock())
        frame = Frame("r", "c", "s", 0, seq, "c:p0", seq, np.zeros((2, 2), np.uint8), stamps=stamps)
        self.frames.append(frame)
        self.recent.took(frame)
        return frame

    def alive(self, decided: int | None) -> bool:
        ref = None if decided is None else self.frames[decided].ref
        return self.dead.alive(ref, self.clock())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_rig_without_analysis_is_left_alone(rig: Rig) -> None:
    rig.take()
    rig.clock.advance_ms(60_000)
    assert rig.dead.fault(rig.clock()) is None


def test_silence_trips(rig: Rig) -> None:
    rig.dead.ready(rig.clock())
    rig.clock.advance_ms(1999)
    assert rig.dead.fault(rig.clock()) is None
    rig.clock.advance_ms(2)
    assert rig.dead.fault(rig.clock()) == "silent"


def test_signs_of_life_without_decisions_trip(rig: Rig) -> None:
    rig.dead.ready(rig.clock())
    rig.take()
    for _ in range(21):
        rig.clock.advance_ms(100)
        rig.alive(None)
    assert rig.dead.fault(rig.clock()) == "undecided"
    rig.alive(0)
    assert rig.dead.fault(rig.clock()) == "undecided", "one decision does not make it trustworthy"
    for _ in range(20):
        rig.clock.advance_ms(100)
        rig.alive(0)
    assert rig.dead.fault(rig.clock()) is None


def test_an_analysis_that_cannot_keep_up_does_not_switch_the_rig_to_and_fro(rig: Rig) -> None:
    """It decides every frame, each 2.0 to 2.2 s late: the rig leaves its policies once and stays on its plan."""
    rig.dead.ready(rig.clock())
    said = []
    for step in range(200):
        rig.take()
        rig.clock.advance_ms(100)
        late = step - 20 - 2 * (step // 10 % 2)
        rig.alive(max(late, 0) if late >= 0 else None)
        said.append(rig.dead.fault(rig.clock()))
    assert said.count(None) == said.index("undecided")


def test_a_slow_plan_is_no_fault(rig: Rig) -> None:
    rig.dead.ready(rig.clock())
    for number in range(3):
        rig.take()
        rig.alive(number)
        for _ in range(600):
            rig.clock.advance_ms(100)
            rig.alive(number)
            assert rig.dead.fault(rig.clock()) is None


def test_a_restarted_analysis_does_not_answer_for_older_frames(rig: Rig) -> None:
    rig.dead.ready(rig.clock())
    rig.take()
    rig.clock.advance_ms(5000)
    assert rig.dead.fault(rig.clock()) == "silent"
    rig.dead.ready(rig.clock())
    for _ in range(20):
        rig.clock.advance_ms(100)
        rig.alive(None)
    assert rig.dead.fault(rig.clock()) is None


def test_frames_that_fell_out_of_memory_still_count(rig: Rig) -> None:
    rig.dead.ready(rig.clock())
    for _ in range(150):
        rig.take()
        rig.clock.advance_ms(20)
        rig.alive(None)
    assert rig.dead.fault(rig.clock()) == "undecided"


ANOTHER: dict[str, tuple[list[int | None], list[bool]]] = {
    "the first one": ([None, None, 0, 1], [False] * 4),
    "one that begins anew": ([None, 0, None, None, 1], [False, False, True, False, False]),
    "one that begins anew twice": ([0, None, 1, None], [False, True, False, True]),
    "one that was there before the rig": ([0, 1], [False, False]),
}


@pytest.mark.parametrize(("decided", "another"), ANOTHER.values(), ids=ANOTHER)
def test_an_analysis_that_has_decided_nothing_any_more_is_another_one(
    decided: list[int | None], another: list[bool], rig: Rig
) -> None:
    rig.take()
    rig.take()
    assert [rig.alive(number) for number in decided] == another


def test_a_link_that_comes_back_brings_no_other_analysis(rig: Rig) -> None:
    """It reports ready again."""
    rig.take()
    for _ in range(2):
        rig.dead.ready(rig.clock())
        assert not rig.alive(0)
