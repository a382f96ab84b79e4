"""What the rig does when the analysis is lost and when it is back: dark, lit again, paused, and by whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream.acquire.baseplan import BasePlan
from stream.acquire.dose import DoseLedger
from stream.acquire.lost import Lost
from stream.acquire.pausing import Pausing
from stream.clock import FakeClock
from stream.command import Action, Cause, Command, Pause, Resume, SetInterval, SetLight, Target
from stream.config import PlanSettings
from stream.frame import Frame, Stamps
from stream.safety import DoseSettings, LimitSettings

SECOND = 10**9


class Bench:
    """A rig that does what ``Lost`` orders, at once."""

    def __init__(self, budget_s: float | None = None, **limits: Any) -> None:
        self.clock = FakeClock()
        self.base = BasePlan(PlanSettings())
        self.dose = DoseLedger(DoseSettings(budget_full_power_s=budget_s), {}, 1.0)
        self.orders: list[str] = []
        self.asked: list[str] = []
        self.heard = True
        """Whether feedback is."""
        self.hangs = False
        """Whether the hardware leaves orders unanswered."""
        self.pausing = Pausing()
        settings = LimitSettings.model_validate(limits)
        self.lost = Lost(settings, self.base, self.dose, self.pausing, self._order, self._close, _tell)

    def _close(self, reason: str) -> None:
        self.heard = not reason

    def _order(self, action: Action, command_id: str, reason: str, target: Target | None = None) -> None:
        self.asked.append(command_id)
        self.orders.append(action.kind + {True: " on", False: " off", None: ""}[getattr(action, "on", None)])
        if not self.hangs:
            self.applied(action, "rig", command_id)

    def applied(self, action: Action, origin: str = "operator", command_id: str = "x") -> None:
        """Have the hardware do something, as the rig tells of it."""
        command = Command(command_id=command_id, action=action, cause=Cause(origin=origin), issued_wall_ns=0)
        self.dose.asked(command)
        self.dose.answered(command, {"on": action.on} if isinstance(action, SetLight) else {})
        self.pausing.applied(command)
        if origin == "rig":
            self.base.restored(command)
        self.lost.settled(command, True, self.clock())

    def take(self, position: int = 0, exposure_ms: float = 10.0) -> None:
        stamps = Stamps(t_pop_ns=self.clock())
        name, pixels = f"c:p{position}", np.zeros((2, 2), np.uint8)
        self.dose.took(Frame("r", "c", "s", 0, 0, name, 0, pixels, exposure_ms=exposure_ms, stamps=stamps))

    def feedback(self, action: Action) -> None:
        """Have feedback change something."""
        command = Command(command_id="f", action=action, cause=Cause(origin="policy"), issued_wall_ns=0)
        self.base.changed(command)
        self.applied(action, "policy", "f")

    def loses(self) -> None:
        self.orders.clear()
        self.lost.watch("silent", self.clock())

    def finds(self) -> None:
        self.lost.watch(None, self.clock())


def _tell(fact: str, data: Any) -> None:
    """Nobody listens."""


def test_the_light_closes_and_comes_back() -> None:
    bench = Bench()
    bench.loses()
    assert bench.orders == ["set_light off", "set_light on"]
    assert bench.dose.on


def test_a_position_that_was_left_does_not_keep_the_others_dark() -> None:
    bench = Bench(budget_s=1.0)
    bench.take(0, exposure_ms=999.0)
    bench.take(1)
    bench.dose.leaves("c:p0")
    bench.loses()
    assert bench.orders == ["set_light off", "set_light on"]


def test_a_light_that_stayed_closed_for_a_spent_position_opens_when_that_is_left() -> None:
    bench = Bench(budget_s=1.0)
    bench.take(0, exposure_ms=999.0)
    bench.loses()
    assert bench.orders == ["set_light off"]
    bench.dose.leaves("c:p0")
    bench.clock.advance_ms(3000)
    bench.lost.watch("silent", bench.clock())
    assert bench.orders == ["set_light off", "set_light on"]


def test_a_rig_that_waits_in_the_dark_goes_on_lit() -> None:
    bench = Bench(when_lost="pause")
    bench.loses()
    bench.finds()
    assert bench.orders == ["set_light off", "pause", "set_light on", "resume"]
    assert bench.pausing.by == ""


@pytest.mark.parametrize("when_lost", ["pause", "base"])
def test_what_an_operator_paused_stays_paused_and_dark_until_an_operator_resumes_it(when_lost: str) -> None:
    bench = Bench(when_lost=when_lost)
    bench.applied(Pause())
    bench.loses()
    bench.finds()
    assert bench.orders == ["set_light off"]
    assert bench.pausing.by == "operator"
    bench.applied(Resume())
    assert bench.orders == ["set_light off", "set_light on"]


def test_a_second_loss_in_a_pause_forgets_nothing() -> None:
    bench = Bench(when_lost="pause")
    bench.applied(Pause())
    for _ in range(2):
        bench.loses()
        bench.finds()
    bench.applied(Resume())
    assert bench.orders == ["set_light on"]


def test_an_operator_who_pauses_while_the_rig_waits_takes_over() -> None:
    bench = Bench(when_lost="pause")
    bench.loses()
    bench.applied(Pause())
    bench.finds()
    assert bench.orders == ["set_light off", "pause"]
    bench.applied(Resume())
    assert bench.orders == ["set_light off", "pause", "set_light on"]


def test_an_operator_who_resumes_while_the_rig_waits_gets_light_when_the_analysis_is_back() -> None:
    bench = Bench(when_lost="pause")
    bench.loses()
    bench.applied(Resume())
    assert bench.orders == ["set_light off", "pause"]
    bench.finds()
    assert bench.orders == ["set_light off", "pause", "set_light on"]


def test_a_light_that_an_operator_put_out_stays_out() -> None:
    bench = Bench(when_lost="pause")
    bench.loses()
    bench.applied(SetLight(on=False))
    bench.finds()
    assert bench.orders == ["set_light off", "pause", "resume"]


def test_the_way_back_does_not_end_an_operators_pause() -> None:
    """Feedback paused first, and an operator saw to it that it stays so."""
    bench = Bench()
    for origin in ("policy", "operator"):
        pause = Command(command_id=origin, action=Pause(), cause=Cause(origin=origin), issued_wall_ns=0)
        bench.pausing.applied(pause)
    bench.base.changed(pause)
    bench.loses()
    assert "resume" not in bench.orders


@pytest.mark.parametrize("when_lost", ["base", "pause", "stop"])
def test_another_analysis_begins_on_the_plan_whatever_a_lost_one_costs(when_lost: str) -> None:
    """It is back before the one before it counts as lost; nothing is darkened, paused or ended for that."""
    bench = Bench(when_lost=when_lost)
    bench.feedback(SetInterval(interval_ms=10))
    bench.feedback(SetLight(power=0.9))
    bench.lost.restarted()
    bench.finds()
    assert bench.orders == ["set_interval", "set_light on"]
    bench.finds()
    assert bench.heard
    assert not bench.lost.on


def test_another_analysis_is_heard_when_the_way_back_is_answered() -> None:
    bench = Bench()
    bench.feedback(SetInterval(interval_ms=10))
    bench.hangs = True
    bench.lost.restarted()
    for _ in range(3):
        bench.finds()
        assert (bench.orders, bench.heard, bench.lost.on) == (["set_interval"], False, True)
    order = Command(command_id=bench.asked[-1], action=SetInterval(), cause=Cause(origin="rig"), issued_wall_ns=0)
    bench.lost.settled(order, False, bench.clock())
    bench.finds()
    assert (bench.orders, bench.heard, bench.lost.on) == (["set_interval"], True, False)


def test_a_rig_that_waits_for_an_analysis_goes_on_as_planned_where_another_one_comes() -> None:
    bench = Bench(when_lost="pause")
    bench.feedback(SetInterval(interval_ms=10))
    bench.loses()
    bench.lost.restarted()
    bench.lost.watch("silent", bench.clock())
    assert bench.orders == ["set_light off", "pause"], "it is not trusted yet"
    bench.finds()
    bench.finds()
    assert bench.orders == ["set_light off", "pause", "set_interval", "set_light on", "resume"]


def test_an_analysis_that_is_lost_again_before_the_rig_is_on_its_plan_costs_the_light() -> None:
    bench = Bench(when_lost="pause")
    bench.lost.restarted()
    bench.finds()
    bench.loses()
    assert bench.orders == ["set_light off", "pause"]


def test_another_analysis_leaves_an_operators_pause_and_settings_alone() -> None:
    bench = Bench()
    bench.feedback(SetLight(power=0.9))
    bench.base.ordered(Command(command_id="o", action=SetLight(power=0.7), issued_wall_ns=0))
    bench.applied(Pause())
    bench.lost.restarted()
    bench.finds()
    assert bench.orders == []
    assert bench.pausing.by == "operator"
