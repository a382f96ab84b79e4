"""The command desk: progress and exactly one final answer, whatever the driver does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.acquire.baseplan import BasePlan
from stream.acquire.desk import Desk
from stream.acquire.guard import Guard
from stream.acquire.recent import Recent
from stream.clock import wall_ns
from stream.command import (
    Ack,
    Action,
    Cause,
    Command,
    MoveStage,
    Pause,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
    Stop,
)
from stream.config import CameraSettings, PlanSettings
from stream.errors import DriverError, Refused
from stream.facts.rig import RigFacts
from stream.frame import Ended, Frame
from stream.safety import LimitSettings
from stream.stages import Readback, StillGood, always


class HandDriver:
    """A driver that a test moves by hand: the smallest true implementation of the seam."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = threading.Event()

    def open(self, settings: CameraSettings, *, run: str, session: str, first_epoch: int = 0) -> None:
        """Nothing to open."""

    def describe(self) -> Mapping[str, Any]:
        return {}

    def start(self, plan: PlanSettings) -> None:
        """Nothing to start."""

    def next(self, timeout_s: float) -> Ended:
        return Ended("by hand")

    def apply(self, command: Command, still_good: StillGood = always) -> Readback:
        still_good()
        self.at_gate.set()
        assert self.gate.wait(10)
        action = command.action
        if isinstance(action, SetInterval):
            raise Refused("this camera cannot be paced")
        if isinstance(action, SetRoi):
            raise DriverError("asked for a ROI, the camera says another")
        if isinstance(action, MoveStage):
            raise ZeroDivisionError("a fault in a driver")
        self.applied.append(command.command_id)
        return Readback({"done": action.kind}, takes_frame=not isinstance(action, Pause | Stop), device_ms=1.0)

    def backlog(self) -> int:
        return 0

    def stop(self) -> None:
        """Nothing to stop."""


class Bench:
    """A desk with a driver by hand, real facts and all answers."""

    def __init__(self, folder: Path, timeout_s: float = 60.0) -> None:
        self.driver, self.recent = HandDriver(), Recent()
        self.facts = RigFacts(folder)
        self.answers: list[Ack] = []
        self._changed = threading.Condition()
        self.base = BasePlan(PlanSettings())
        guard = Guard(LimitSettings(), self.recent)
        self.desk = Desk(self.driver, guard, self.base, self.facts, self._answer, first_frame_timeout_s=timeout_s)
        self.desk.start()

    def _answer(self, command: Command, ack: Ack) -> None:
        with self._changed:
            self.answers.append(ack)
            self._changed.notify_all()

    def ask(self, command_id: str, action: Action, **more: Any) -> None:
        cause = more.pop("cause", Cause(origin="policy"))
        self.desk.receive(Command(command_id=command_id, action=action, cause=cause, issued_wall_ns=wall_ns(), **more))

    def wait(self, what: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(what, 10), self.answers

    def finals(self, command_id: str) -> list[Ack]:
        return [ack for ack in self.answers if ack.command_id == command_id and ack.state.final]

    def final(self, command_id: str) -> Ack:
        self.wait(lambda: bool(self.finals(command_id)))
        return self.finals(command_id)[0]

    def show(self, *command_ids: str) -> Frame:
        frame = Frame("r", "c", "s", 0, 0, "c:p0", 0, np.zeros((2, 2), np.uint8), commands=command_ids)
        self.recent.took(frame)
        self.desk.took(frame)
        return frame


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.driver.gate.set()
    bench.desk.close()
    bench.facts.close()


def test_a_command_is_received_accepted_and_applied_with_its_first_frame(bench: Bench) -> None:
    bench.ask("a", SetExposure(exposure_ms=5))
    bench.wait(lambda: bench.driver.applied == ["a"])
    frame = bench.show("a")
    done = bench.final("a")
    assert [ack.state.value for ack in bench.answers] == ["received", "accepted", "applied"]
    assert done.first_frame == frame.ref
    assert done.readback == {"done": "set_exposure"}
    assert done.timings_ms["device"] == 1.0


FAILURES = {
    "refused": (SetInterval(interval_ms=5), "cannot be paced"),
    "failed": (SetRoi(roi_px=(0, 0, 8, 8)), "says another"),
    "failed by a fault": (MoveStage(x_um=1), "ZeroDivisionError"),
}


@pytest.mark.parametrize(("state", "case"), FAILURES.items(), ids=FAILURES)
def test_what_cannot_be_done_is_answered_with_the_reason(bench: Bench, state: str, case: tuple[Action, str]) -> None:
    action, reason = case
    bench.ask("a", action)
    done = bench.final("a")
    assert done.state == state.split(maxsplit=1)[0]
    assert reason in done.reason
    bench.ask("b", Pause())
    assert bench.final("b").state == "applied"  # the desk lives on


def test_a_repeated_id_is_answered_again_and_not_applied_twice(bench: Bench) -> None:
    bench.ask("a", Pause())
    first = bench.final("a")
    bench.ask("a", Pause())
    bench.wait(lambda: len(bench.finals("a")) == 2)
    assert bench.finals("a")[1].state == first.state
    assert bench.driver.applied == ["a"]


def test_a_repeated_id_in_hand_is_not_queued_twice(bench: Bench) -> None:
    bench.driver.gate.clear()
    bench.ask("a", Pause())
    bench.ask("a", Pause())
    bench.driver.gate.set()
    bench.final("a")
    assert bench.driver.applied == ["a"]


def test_a_newer_command_supersedes_a_waiting_one_of_its_kind(bench: Bench) -> None:
    bench.driver.gate.clear()
    bench.ask("busy", Pause())
    assert bench.driver.at_gate.wait(10)
    bench.ask("old", SetExposure(exposure_ms=5))
    bench.ask("new", SetExposure(exposure_ms=6))
    bench.driver.gate.set()
    assert bench.final("old").state == "superseded"
    bench.wait(lambda: bench.driver.applied == ["busy", "new"])


def test_a_command_for_another_part_supersedes_nothing(bench: Bench) -> None:
    bench.driver.gate.clear()
    bench.ask("busy", Pause())
    assert bench.driver.at_gate.wait(10)
    bench.ask("power", SetLight(power=0.5))
    bench.ask("off", SetLight(on=False))
    bench.ask("other power", SetLight(power=0.25))
    bench.driver.gate.set()
    assert bench.final("power").state == "superseded"
    bench.wait(lambda: bench.driver.applied == ["busy", "off", "other power"])


def test_a_stop_overtakes_what_waits(bench: Bench) -> None:
    bench.driver.gate.clear()
    bench.ask("busy", Pause())
    assert bench.driver.at_gate.wait(10)
    bench.ask("later", SetExposure(exposure_ms=5))
    bench.ask("stop", Stop())
    bench.driver.gate.set()
    assert bench.final("stop").state == "applied"
    assert bench.final("later").state == "refused"
    assert sorted(bench.driver.applied) == ["busy", "stop"]  # neither waits for the other


def test_commands_wait_in_order_of_priority(bench: Bench) -> None:
    bench.driver.gate.clear()
    bench.ask("busy", Pause())
    assert bench.driver.at_gate.wait(10)
    for name, priority in (("low", 0), ("high", 9), ("middle", 5)):
        bench.ask(name, SetExposure(exposure_ms=5), priority=priority, target={"position": priority})
    bench.driver.gate.set()
    bench.wait(lambda: len(bench.driver.applied) == 4)
    assert bench.driver.applied == ["busy", "high", "middle", "low"]


def test_what_no_frame_shows_is_answered_without_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, timeout_s=0.0)
    bench.ask("a", SetExposure(exposure_ms=5))
    bench.wait(lambda: bench.driver.applied == ["a"])
    while not bench.finals("a"):
        bench.desk.expire_waits()
    assert bench.final("a").first_frame is None
    assert bench.final("a").state == "applied"
    bench.desk.close()
    bench.facts.close()


def test_closing_answers_everything_that_is_open(bench: Bench) -> None:
    bench.driver.gate.clear()
    bench.ask("busy", SetExposure(exposure_ms=5))
    assert bench.driver.at_gate.wait(10)
    bench.ask("waiting", SetInterval(interval_ms=5))
    threading.Timer(0.05, bench.driver.gate.set).start()
    bench.desk.close()
    assert bench.final("busy").state == "applied"
    assert bench.final("waiting").state == "refused"


def test_the_end_waits_for_all_that_hang_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.acquire.desk._CLOSE_S", 0.5)
    bench.driver.gate.clear()
    for number in range(8):
        bench.ask(f"stop {number}", Stop(), cause=Cause())
    begun = time.monotonic()
    bench.desk.close()
    assert time.monotonic() - begun < 3
    bench.driver.gate.set()


def test_what_arrives_after_the_end_is_refused(bench: Bench) -> None:
    bench.desk.close()
    bench.ask("late", Pause())
    assert bench.final("late").reason == "the run is over"
    assert bench.driver.applied == []


def test_on_the_base_plan_only_operators_are_heard(bench: Bench) -> None:
    bench.desk.close_to_feedback("the analysis is silent")
    bench.ask("policy", Pause())
    bench.ask("operator", Pause(), cause=Cause())
    assert bench.final("policy").reason == "the analysis is silent"
    assert bench.final("operator").state == "applied"
    bench.desk.close_to_feedback("")
    bench.ask("again", Pause())
    assert bench.final("again").state == "applied"


def test_a_rig_that_restarted_says_unknown(tmp_path: Path) -> None:
    before = Bench(tmp_path)
    before.driver.gate.clear()
    before.ask("a", Pause())
    assert before.driver.at_gate.wait(10)
    after = Bench(tmp_path)  # a second process opens the facts while the first one hangs
    after.ask("a", Pause())
    assert after.final("a").state == "unknown"
    assert after.driver.applied == []
    before.driver.gate.set()
    before.final("a")
    for bench in (before, after):
        bench.desk.close()
        bench.facts.close()


def test_the_way_back_undoes_only_what_was_changed(bench: Bench) -> None:
    frame = bench.show()
    bench.base.took(frame)
    assert bench.base.way_back() == []
    bench.ask("a", SetExposure(exposure_ms=5))
    bench.wait(lambda: bench.driver.applied == ["a"])
    bench.show("a")
    bench.final("a")
    ((back, target),) = bench.base.way_back()
    assert back.kind == "set_exposure"
    bench.base.restored(Command(command_id="back", action=back, issued_wall_ns=0, target=target))
    assert bench.base.way_back() == []


def test_what_an_operator_sets_becomes_the_plan(bench: Bench) -> None:
    bench.base.took(bench.show())
    for name, exposure_ms, cause in (("o", 30.0, Cause()), ("p", 5.0, Cause(origin="policy"))):
        bench.ask(name, SetExposure(exposure_ms=exposure_ms), cause=cause)
        bench.wait(lambda name=name: name in bench.driver.applied)
        bench.show(name)
        bench.final(name)
        expected = [] if name == "o" else [SetExposure(exposure_ms=30.0)]
        assert [way.action for way in bench.base.way_back()] == expected


def test_what_the_hardware_is_still_at_when_the_run_ends_is_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.acquire.desk._CLOSE_S", 0.1)
    bench.driver.gate.clear()
    bench.ask("busy", SetExposure(exposure_ms=5))
    assert bench.driver.at_gate.wait(10)
    bench.ask("waiting", SetInterval(interval_ms=5))
    bench.desk.close()
    assert (bench.final("busy").state, bench.final("waiting").state) == ("unknown", "refused")
    bench.driver.gate.set()
    bench.desk._thread.join(10)
    assert bench.driver.applied == ["busy"]
    assert len(bench.finals("busy")) == 1
