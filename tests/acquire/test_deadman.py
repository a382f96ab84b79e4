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

    def ready(self, instance: str = "a") -> bool:
        return self.dead.ready(instance, self.clock())

    def alive(self, decided: int | None) -> None:
        ref = None if decided is None else self.frames[decided].ref
        self.dead.alive(ref, self.clock())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_rig_without_analysis_is_left_alone(rig: Rig) -> None:
    rig.take()
    rig.clock.advance_ms(60_000)
    assert rig.dead.fault(rig.clock()) is None


def test_silence_trips(rig: Rig) -> None:
    rig.ready()
    rig.clock.advance_ms(1999)
    assert rig.dead.fault(rig.clock()) is None
    rig.clock.advance_ms(2)
    assert rig.dead.fault(rig.clock()) == "silent"


def test_signs_of_life_without_decisions_trip(rig: Rig) -> None:
    rig.ready()
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
    rig.ready()
    said = []
    for step in range(200):
        rig.take()
        rig.clock.advance_ms(100)
        late = step - 20 - 2 * (step // 10 % 2)
        rig.alive(max(late, 0) if late >= 0 else None)
        said.append(rig.dead.fault(rig.clock()))
    assert said.count(None) == said.index("undecided")


def test_a_slow_plan_is_no_fault(rig: Rig) -> None:
    rig.ready()
    for number in range(3):
        rig.take()
        rig.alive(number)
        for _ in range(600):
            rig.clock.advance_ms(100)
            rig.alive(number)
            assert rig.dead.fault(rig.clock()) is None


def test_a_restarted_analysis_does_not_answer_for_older_frames(rig: Rig) -> None:
    rig.ready()
    rig.take()
    rig.clock.advance_ms(5000)
    assert rig.dead.fault(rig.clock()) == "silent"
    rig.ready()
    for _ in range(20):
        rig.clock.advance_ms(100)
        rig.alive(None)
    assert rig.dead.fault(rig.clock()) is None


def test_frames_that_fell_out_of_memory_still_count(rig: Rig) -> None:
    rig.ready()
    for _ in range(150):
        rig.take()
        rig.clock.advance_ms(20)
        rig.alive(None)
    assert rig.dead.fault(rig.clock()) == "undecided"


ANOTHER = {
    "the first one": ("a", [False]),
    "a link that comes back": ("aaa", [False, False, False]),
    "one that begins anew": ("ab", [False, True]),
    "one that begins anew and loses its link": ("abb", [False, True, False]),
    "one that begins anew twice": ("abc", [False, True, True]),
}


@pytest.mark.parametrize(("instances", "another"), ANOTHER.values(), ids=ANOTHER)
def test_another_analysis_is_known_by_its_instance_whatever_it_has_decided(
    instances: str, another: list[bool], rig: Rig
) -> None:
    rig.take()
    said = []
    for instance in instances:
        said.append(rig.ready(instance))
        rig.alive(0)
    assert said == another
