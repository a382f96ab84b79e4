"""What has had its light gets no more of it under another name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream.acquire.dose import DoseLedger
from stream.acquire.guard import Guard
from stream.acquire.recent import Recent
from stream.acquire.whereabouts import Whereabouts
from stream.clock import wall_ns
from stream.command import Acquire, Action, AddPosition, Cause, Command, MoveStage, Recentre, Stimulate, Target
from stream.config import PlanSettings
from stream.frame import Frame, Index, Stamps, field_name
from stream.safety import DoseSettings, LimitSettings

PLACES = ((0.0, 0.0, 0.0), (500.0, 0.0, 0.0), (90.0, 0.0, 0.0))
PLAN = PlanSettings(mode="mda", positions_um=PLACES)
MASK = Stimulate(mask_yx_px=(((0, 0), (0, 3), (3, 3)),), duration_ms=5)


def frame(p: int, seq: int = 0) -> Frame:
    return Frame(
        "r", "c", "s", 0, seq, field_name("c", p), seq, np.zeros((100, 100), np.uint8), index=Index(p=p),
        stage_um=PLACES[p], exposure_ms=10.0, stamps=Stamps(t_pop_ns=10**9),
    )  # fmt: skip


def burst(at_um: tuple[float, float] | None = None, **plans: Any) -> Acquire:
    return Acquire.model_validate({"sequence": {"time_plan": {"interval": 0, "loops": 2}} | plans, "at_um": at_um})


def guarded(left: bool) -> Guard:
    """A guard of three positions, the first of which has had its light."""
    dose, recent, where = DoseLedger(DoseSettings(budget_full_power_s=1.0), {}, 1.0), Recent(), Whereabouts()
    guard = Guard(LimitSettings(), recent, where, dose, PLAN)
    guard.begin({"stage_um": (0.0, 0.0, 0.0)})
    for n in range(98):
        dose.took(frame(0, n))
    for p in (0, 2, 1):
        seen = frame(p, 100 + p)
        recent.took(seen)
        where.took(seen)
    dose.took(frame(1, 101))
    if left:
        dose.leaves("c:p0")
    return guard


CASES: dict[str, tuple[Action, int | None, int | None, bool]] = {
    "a new position there": (AddPosition(x_um=0, y_um=0), 1, None, True),
    "a new position that shows a part of it": (AddPosition(x_um=-60, y_um=99), None, None, True),
    "a new position beside it": (AddPosition(x_um=0, y_um=100), None, None, False),
    "a sequence of another": (burst(at_um=(0.0, 0.0)), 1, None, True),
    "a sequence with a place of its own": (burst(stage_positions=[{"x": 9, "y": 9}]), None, None, True),
    "a sequence at another's own place": (burst(), 1, None, False),
    "a sequence at the place of a near one, as planned": (burst(), 2, None, False),
    "another that is moved there": (MoveStage(x_um=10, y_um=0), 1, None, True),
    "another that is centred there": (Recentre(target_um=(0, 0)), 1, None, True),
    "a near one that is focused": (MoveStage(z_um=1), 2, None, False),
    "a near one that is brought nearer": (MoveStage(x_um=80), 2, None, True),
    "a mask that was drawn there": (MASK, 1, 0, True),
    "a mask elsewhere": (MASK, 1, 1, False),
}


@pytest.mark.parametrize("left", [True, False], ids=["left", "spent"])
@pytest.mark.parametrize("case", CASES)
def test_cells_that_had_their_light_get_no_more_of_it_for_another_field(case: str, left: bool) -> None:
    action, position, drawn_on, refused = CASES[case]
    cause = Cause(frame=None if drawn_on is None else frame(drawn_on, 100 + drawn_on).ref)
    asked = Command(
        command_id="x", action=action, issued_wall_ns=wall_ns(), cause=cause, target=Target(position=position)
    )
    verdict = guarded(left).check(asked, 10**9)
    assert (verdict is not None) == refused, verdict
    assert verdict is None or "c:p0, which has had its light budget" in verdict.reason


def test_a_field_that_goes_on_in_the_dark_may_be_followed() -> None:
    move = Command(
        command_id="x", action=MoveStage(x_um=5), issued_wall_ns=wall_ns(), cause=Cause(), target=Target(position=0)
    )
    assert guarded(left=False).check(move, 10**9) is None


def test_a_tile_that_had_its_light_is_where_it_lies() -> None:
    """The tiles beside it keep theirs."""
    tiles = {"stage_positions": [[0, 0, 0], [500, 0, 0]], "grid_plan": {"rows": 1, "columns": 2}}
    dose, where = DoseLedger(DoseSettings(budget_full_power_s=1.0), {}, 1.0), Whereabouts()
    guard = Guard(LimitSettings(), Recent(), where, dose, PlanSettings.model_validate({"protocol": tiles}))
    guard.begin({"stage_um": (0.0, 0.0, 0.0), "roi_px": (0, 0, 100, 100), "affine_um": ((1.0, 0.0), (0.0, 1.0))})
    second = replace(frame(0), field="c:p0g1", index=Index(g=1), stage_um=(50.0, 0.0, 0.0))
    for _ in range(98):
        dose.took(second)
    where.took(frame(1))

    def passes(x_um: float, y_um: float) -> bool:
        look = burst(stage_positions=[{"x": x_um, "y": y_um}])
        return guard.check(Command(command_id="x", action=look, issued_wall_ns=wall_ns()), 10**9) is None

    assert not passes(60.0, 40.0)
    assert passes(-60.0, 40.0)
