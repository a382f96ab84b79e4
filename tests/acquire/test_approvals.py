"""Commands that wait for an operator's word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.command import Cause, Decision, MoveStage, Pause, SetExposure, Stop
from stream.config import Configuration
from stream.safety import LimitSettings
from tests.cases.hand_rig import Table

MOVE = MoveStage(x_um=5)


def table_of(folder: Path, **limits: Any) -> Table:
    table = Table(folder, Configuration(limits=LimitSettings(**{"approve": ("move_stage",), **limits})))
    table.take()
    return table


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    made = table_of(tmp_path)
    yield made
    made.close()


def say(table: Table, command_id: str, approve: bool) -> str:
    said = table.desk.decide(Decision(command_id=command_id, approve=approve, by="Ada"))
    table.desk.settle()
    return said


def test_it_waits_is_listed_and_applied_when_approved(table: Table) -> None:
    table.ask("a", MOVE)
    table.desk.settle()
    assert table.answers[-1].state == "accepted"
    assert table.answers[-1].reason == "waits for approval"
    (row,) = table.desk.approvals()
    assert (row["command_id"], row["kind"], row["action"], row["left_s"]) == ("a", "move_stage", {"x_um": 5.0}, 60.0)
    assert table.driver.applied == []
    assert say(table, "a", True) == "approved"
    table.take()
    assert table.final("a").state == "applied"
    assert [ack.reason for ack in table.answers if ack.state == "accepted"] == ["waits for approval", "approved by Ada"]
    assert table.desk.approvals() == []


def test_no_is_no_and_only_once(table: Table) -> None:
    table.ask("a", MOVE)
    table.desk.settle()
    assert say(table, "a", False) == "denied"
    assert table.final("a").reason == "denied by Ada"
    assert "no command 'a' waits" in say(table, "a", True)
    assert table.driver.applied == []


def test_silence_is_no(table: Table) -> None:
    table.ask("a", MOVE)
    table.desk.settle()
    table.wait(59_999)
    assert table.finals("a") == []
    table.wait(2)
    assert table.final("a").state == "denied"


def test_operators_and_other_kinds_do_not_wait(table: Table) -> None:
    assert table.said("o", MOVE, cause=Cause()).state == "applied"
    assert table.said("p", SetExposure(exposure_ms=5)).state == "applied"


def test_all_are_all_but_those_that_only_make_things_safer(tmp_path: Path) -> None:
    table = table_of(tmp_path, approve=("all",))
    table.ask("a", SetExposure(exposure_ms=5))
    table.desk.settle()
    assert [row["command_id"] for row in table.desk.approvals()] == ["a"]
    assert table.said("p", Pause()).state == "applied"
    table.close()
    assert table.final("a").state == "refused", "the end of the run answers what waits"


def test_limits_are_checked_before_and_after(tmp_path: Path) -> None:
    table = table_of(tmp_path, x_um=(-10, 10), max_move_um=6)
    assert table.said("far", MoveStage(x_um=20)).state == "refused"
    table.ask("a", MOVE)
    table.desk.settle()
    table.driver.stage_um = (-9.0, 0.0, 0.0)  # somebody turned the knob
    table.take()
    assert say(table, "a", True) == "approved"
    assert "longer than max_move_um" in table.final("a").reason, "what was short when asked is too long now"
    table.close()


@pytest.mark.parametrize(("option", "state"), [(None, "expired"), (10_000.0, "applied")])
def test_the_age_of_the_data_holds_when_it_is_applied(tmp_path: Path, option: float | None, state: str) -> None:
    table = table_of(tmp_path, max_age_ms=500.0, approved_max_age_ms=option)
    seen = table.where.newest
    assert seen is not None
    table.ask("a", MOVE, cause=Cause(origin="policy", frame=seen.ref))
    table.desk.settle()
    table.clock.advance_ms(1000)
    say(table, "a", True)
    table.take()
    assert table.final("a").state == state
    table.close()


def test_a_newer_one_supersedes_what_waits(table: Table) -> None:
    table.ask("old", MOVE)
    table.desk.settle()
    table.ask("new", MoveStage(x_um=6))
    table.desk.settle()
    assert table.final("old").state == "superseded"
    assert [row["command_id"] for row in table.desk.approvals()] == ["new"]


def test_a_lost_analysis_and_a_stop_end_the_waiting(table: Table) -> None:
    table.ask("a", MOVE)
    table.desk.settle()
    table.desk.close_to_feedback("the analysis is silent")
    assert table.final("a").reason == "the analysis is silent"
    table.desk.close_to_feedback("")
    table.ask("b", MOVE)
    table.desk.settle()
    table.ask("stop", Stop(), cause=Cause())
    table.desk.settle()
    say(table, "b", True)
    assert table.final("b").state == "refused"
    assert "stopped" in table.final("b").reason
