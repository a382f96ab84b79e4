"""What a command is asked once more when the hardware is free for it: that wait may be long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.command import Cause, MoveStage, Pause, Resume, Stimulate, Stop
from stream.config import Configuration
from stream.safety import DoseSettings, LimitSettings
from tests.cases.hand_rig import Table

MASK = (((0, 0), (0, 2), (2, 2)),)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    limits = LimitSettings(max_age_ms=1000.0, approve=("recentre",), approved_max_age_ms=60_000.0)
    table = Table(tmp_path, Configuration(limits=limits, dose=DoseSettings(budget_full_power_s=100.0)))
    table.take()
    yield table
    table.close()


def newest(table: Table) -> Cause:
    frame = table.where.newest
    assert frame is not None
    return Cause(origin="policy", frame=frame.ref)


def waits(table: Table, meanwhile: Callable[[], object]) -> tuple[str, str]:
    """Let a move wait for the frame boundary; return how it ended."""
    table.driver.gate.clear()
    table.driver.at_gate.clear()
    table.ask("move", MoveStage(x_um=7.0), cause=newest(table))
    assert table.driver.at_gate.wait(20)
    meanwhile()
    table.driver.gate.set()
    table.desk.settle()
    table.take()
    answer = table.final("move")
    assert (table.driver.stage_um[0] == 7.0) is (answer.state == "applied")
    return answer.state.value, answer.reason


def test_data_that_grew_too_old_at_the_frame_boundary_move_nothing(table: Table) -> None:
    state, reason = waits(table, lambda: table.clock.advance_ms(3000))
    assert (state, "decided on data 3000 ms old; the limit is 1000 ms" in reason) == ("expired", True)


def test_data_that_are_young_enough_do(table: Table) -> None:
    assert waits(table, lambda: table.clock.advance_ms(900))[0] == "applied"


def test_feedback_that_is_not_heard_any_more_is_not_applied(table: Table) -> None:
    assert waits(table, lambda: table.desk.close_to_feedback("the analysis is silent")) == (
        "refused", "the analysis is silent",
    )  # fmt: skip


def test_a_stop_is_in_time_for_what_waits_at_the_boundary(table: Table) -> None:
    def stop() -> None:
        table.ask("stop", Stop())
        assert table.driver.darkened.wait(20)

    assert waits(table, stop)[0] == "refused"


def test_a_stimulation_that_expired_has_lit_nothing(table: Table) -> None:
    before = table.dose.told()
    table.driver.gate.clear()
    table.driver.at_gate.clear()
    table.ask("lit", Stimulate(mask_yx_px=MASK, duration_ms=100.0), cause=newest(table))
    assert table.driver.at_gate.wait(20)
    table.clock.advance_ms(3000)
    table.driver.gate.set()
    table.desk.settle()
    assert table.final("lit").state == "expired"
    assert table.dose.told() == before


def test_what_an_operator_paused_only_an_operator_resumes(table: Table) -> None:
    table.ask("pause", Pause(), cause=Cause())
    for origin in ("policy", "rig"):
        table.ask(origin, Resume(), cause=Cause(origin=origin))
        assert "only an operator resumes it" in table.final(origin).reason
    assert table.driver.paused
    table.ask("resume", Resume(), cause=Cause())
    table.desk.settle()
    assert not table.driver.paused


def test_feedback_may_not_resume_what_the_limits_do_not_let_it(tmp_path: Path) -> None:
    table = Table(tmp_path, Configuration(limits=LimitSettings(allow=())))
    table.take()
    table.ask("pause", Pause())
    table.ask("resume", Resume())
    assert "allow does not name resume" in table.final("resume").reason
    assert table.final("pause").state == "applied"
    table.close()
