"""Which command goes before which: who may take whose place, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.acquire.precedence import priority, supersedes
from stream.command import Action, Cause, Command, MoveStage, SetExposure, SetLight
from stream.config import Configuration
from stream.safety import LimitSettings
from tests.cases.hand_rig import Table

OPERATOR, RIG, FEEDBACK = Cause(), Cause(origin="rig"), Cause(origin="policy")


def command(action: Action, cause: Cause = FEEDBACK, urgency: int = 0) -> Command:
    return Command(command_id="x", action=action, cause=cause, issued_wall_ns=0, priority=urgency)


OFF, BRIGHT = SetLight(on=False), SetLight(power=1.0, on=True)
TAKES: dict[str, tuple[Command, Command, bool]] = {
    "feedback its own": (command(BRIGHT), command(OFF), True),
    "one policy another's": (command(BRIGHT, Cause(origin="other")), command(OFF), True),
    "an operator feedback's": (command(BRIGHT, OPERATOR), command(OFF), True),
    "an operator's own": (command(BRIGHT, OPERATOR), command(OFF, OPERATOR), True),
    "feedback never an operator's": (command(BRIGHT, urgency=10**7), command(OFF, OPERATOR), False),
    "feedback never the rig's": (command(BRIGHT, urgency=10**7), command(OFF, RIG, 1000), False),
    "an operator never the rig's": (command(BRIGHT, OPERATOR, 10**7), command(OFF, RIG, 1000), False),
    "the rig never an operator's": (command(BRIGHT, RIG, 1000), command(OFF, OPERATOR), False),
    "a lower priority none": (command(BRIGHT), command(OFF, urgency=1), False),
    "another part none": (command(SetLight(power=0.1)), command(OFF), False),
}


@pytest.mark.parametrize(("newer", "older", "takes"), TAKES.values(), ids=TAKES)
def test_who_may_take_whose_place(newer: Command, older: Command, takes: bool) -> None:
    assert supersedes(newer, older) is takes


def test_whatever_it_says_feedback_comes_after_operators_and_they_after_the_rig() -> None:
    asked = [command(OFF, cause, 10**7) for cause in (FEEDBACK, OPERATOR, RIG)]
    assert [priority(one) for one in asked] == [100, 999, 1000]
    assert priority(command(OFF, urgency=-3)) == -3


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    """A rig whose stage still moves while the test asks for more."""
    limits = LimitSettings(allow=("move_stage", "set_exposure"), exposure_ms=(1, 100), x_um=(-10, 10))
    table = Table(tmp_path, Configuration(limits=limits))
    table.take()
    table.driver.gate.clear()
    table.ask("busy", MoveStage(x_um=1.0))
    assert table.driver.at_gate.wait(20)
    yield table
    table.close()


def finish(table: Table) -> list[str]:
    """Let the stage arrive; return what was applied besides."""
    table.driver.gate.set()
    table.desk.settle()
    return [name for name in table.driver.applied if name != "busy"]


def test_what_is_refused_takes_nobodys_place(table: Table) -> None:
    table.ask("off", SetLight(on=False), cause=OPERATOR)
    table.ask("bright", SetLight(power=1.0, on=True))
    table.ask("fine", SetExposure(exposure_ms=5.0))
    table.ask("too long", SetExposure(exposure_ms=5000.0))
    assert sorted(finish(table)) == ["fine", "off"]
    assert (table.final("bright").state, table.final("too long").state) == ("refused", "refused")


def test_the_newest_that_may_be_applied_takes_the_place_of_those_before(table: Table) -> None:
    for exposure_ms in (5.0, 6.0, 5000.0):
        table.ask(f"{exposure_ms:g}", SetExposure(exposure_ms=exposure_ms))
    assert finish(table) == ["6"]
    assert [table.finals(name)[0].state for name in ("5", "5000")] == ["superseded", "refused"]


def test_a_newer_one_that_went_first_is_not_undone_by_an_older_one(table: Table) -> None:
    table.ask("older", SetExposure(exposure_ms=5.0))
    table.ask("newer", SetExposure(exposure_ms=6.0), priority=7)
    assert finish(table) == ["newer"]
    assert table.final("older").state == "superseded"


def test_feedback_does_not_go_before_operators(table: Table) -> None:
    table.ask("feedback", SetExposure(exposure_ms=5.0), priority=10**7, target={"position": 0})
    table.ask("operator", SetExposure(exposure_ms=6.0), cause=OPERATOR, priority=200)
    assert finish(table) == ["operator", "feedback"]
