"""Answers to sequences beside the plan: by their first frame, or by what kept it from coming, and never by waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.acquire.baseplan import BasePlan
from stream.acquire.desk import Desk
from stream.acquire.guard import Guard
from stream.acquire.recent import Recent
from stream.clock import FakeClock, wall_ns
from stream.command import Ack, Acquire, Action, Cancel, Cause, Command
from stream.config import PlanSettings
from stream.facts.rig import RigFacts
from stream.frame import Frame
from stream.safety import LimitSettings
from stream.stages import Readback, StillGood, always

BURST = Acquire.model_validate({"sequence": {"time_plan": {"interval": 0, "loops": 3}}})
LIMIT_NS = 2_000_000_000


class Beside:
    """A driver that puts sequences in their place and takes them when a test says so."""

    def __init__(self) -> None:
        self.pending: set[str] = set()

    def apply(self, command: Command, still_good: StillGood = always) -> Readback:
        if isinstance(command.action, Cancel):
            left, self.pending = tuple(self.pending), set()
            return Readback({}, takes_frame=False, ends=left)
        self.pending.add(command.command_id)
        return Readback({"frames": 3}, pending=lambda: command.command_id in self.pending)


class Bench:
    """A desk whose commands are applied by the caller, as its thread would."""

    def __init__(self, folder: Path) -> None:
        self.driver, self.facts, self.recent, self.clock = Beside(), RigFacts(folder), Recent(), FakeClock()
        self.answers: dict[str, list[Ack]] = {}
        guard = Guard(LimitSettings(), self.recent)
        self.base = BasePlan(PlanSettings(mode="mda"))
        self.desk = Desk(
            self.driver, guard, self.base, self.facts, self._answer, first_frame_timeout_s=2.0, clock=self.clock
        )
        self.show()

    def ask(self, command_id: str, action: Action) -> None:
        cause = Cause(origin="policy")
        self.desk.receive(Command(command_id=command_id, action=action, cause=cause, issued_wall_ns=wall_ns()))
        self.desk._turn(self.desk._waiting.get_nowait()[2])  # type: ignore[arg-type]

    def state(self, command_id: str) -> tuple[str, str]:
        *before, last = self.answers[command_id]
        assert not any(ack.state.final for ack in before)
        return last.state.value, last.reason

    def show(self, *commands: str) -> None:
        frame = Frame("r", "c", "s", 0, 0, "c:p0", 0, np.zeros((2, 2), np.uint8), exposure_ms=10.0, commands=commands)
        self.recent.took(frame)
        self.desk.took(frame)

    def _answer(self, command: Command, ack: Ack) -> None:
        self.answers.setdefault(command.command_id, []).append(ack)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.facts.close()


def wait(bench: Bench, ns: int) -> None:
    bench.clock.advance_ms(ns / 1e6)
    bench.desk.expire_waits()


def test_a_sequence_may_wait_for_its_turn_and_is_answered_by_its_first_frame(bench: Bench) -> None:
    bench.ask("a", BURST)
    for _ in range(5):
        wait(bench, LIMIT_NS)
        assert bench.state("a")[0] == "accepted"
    bench.show("a")
    assert bench.state("a")[0] == "applied"


def test_a_sequence_of_which_no_frame_came_has_failed(bench: Bench) -> None:
    bench.ask("a", BURST)
    wait(bench, LIMIT_NS)
    bench.driver.pending.clear()
    wait(bench, LIMIT_NS - 1)
    assert bench.state("a")[0] == "accepted"  # its frames may be on their way
    wait(bench, 2)
    assert bench.state("a") == ("failed", "none of its frames came")


def test_a_sequence_that_was_taken_back_is_superseded(bench: Bench) -> None:
    for name in ("shown", "waits"):
        bench.ask(name, BURST)
    bench.show("shown")
    bench.ask("back", Cancel())
    assert bench.state("back")[0] == "applied"
    assert bench.state("shown")[0] == "applied"
    assert bench.state("waits") == ("superseded", "cancelled by back before its first frame")


def test_a_run_that_ends_first_refuses_what_it_never_took(bench: Bench) -> None:
    bench.ask("a", BURST)
    bench.desk.close()
    assert bench.state("a") == ("refused", "the run ended before the command's turn")


def test_the_way_back_takes_sequences_back(bench: Bench) -> None:
    bench.ask("a", BURST)
    (way,) = bench.base.way_back()
    assert isinstance(way.action, Cancel)
    everything: dict[str, Any] = {"action": way.action, "target": way.target}
    bench.base.restored(Command(command_id="b", issued_wall_ns=0, **everything))
    assert bench.base.way_back() == []
