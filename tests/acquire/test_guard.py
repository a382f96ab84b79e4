"""What feedback may do to a rig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream.acquire.guard import Guard
from stream.acquire.recent import Recent
from stream.acquire.whereabouts import Whereabouts
from stream.clock import wall_ns
from stream.command import (
    Acquire,
    Action,
    AddPosition,
    Cause,
    Command,
    DropPosition,
    MoveStage,
    Recentre,
    SetExposure,
    SetInterval,
    SetLight,
    Stimulate,
    Stop,
)
from stream.config import PlanSettings
from stream.frame import Frame, FrameRef, Stamps
from stream.safety import LimitSettings
from stream.stages import Readback

LIMITS = LimitSettings(
    allow=("set_exposure", "set_interval", "set_light", "move_stage", "recentre"),
    exposure_ms=(1, 100),
    interval_ms=(10, 1000),
    light_power=(0, 0.5),
    x_um=(-100, 100),
    y_um=(-100, 100),
    z_um=(-5, 5),
    max_move_um=80,
    max_age_ms=500,
    rate_per_s=3,
)


def frame(seq: int, popped_ms: float) -> Frame:
    """A frame of a rig that was popped at a given time."""
    stamps = Stamps(t_pop_ns=round(popped_ms * 1e6))
    return Frame("r", "c", "s", 0, seq, "c:p0", seq, np.zeros((5, 5), np.uint8), stamps=stamps)


def command(action: Action, ref: FrameRef | None = None, origin: str = "policy", **more: object) -> Command:
    """A command of a policy about a frame."""
    fields = {"issued_wall_ns": wall_ns(), "cause": Cause(frame=ref, origin=origin), **more}
    return Command(command_id="x", action=action, **fields)


def guard_of(limits: LimitSettings, **dose: object) -> Guard:
    """A guard that has seen a frame with the stage at the origin."""
    recent, where = Recent(), Whereabouts()
    recent.took(frame(0, 1000.0))
    where.took(frame(0, 1000.0))
    return Guard(limits, recent, where, **dose)


@pytest.fixture
def guard() -> Guard:
    return guard_of(LIMITS)


ALLOWED = [
    SetExposure(exposure_ms=1),
    SetExposure(exposure_ms=100),
    SetInterval(interval_ms=10),
    SetLight(power=0.5),
    SetLight(on=False),
    MoveStage(x_um=80),
    MoveStage(z_um=-5),
    Recentre(target_um=(40, -40)),
    Stop(),
]
REFUSED = {
    "exposure 101": SetExposure(exposure_ms=101),
    "exposure 0.5": SetExposure(exposure_ms=0.5),
    "interval 5": SetInterval(interval_ms=5),
    "light power 0.6": SetLight(power=0.6),
    "x 101": MoveStage(x_um=101),
    "z 6": MoveStage(z_um=6),
    "longer than max_move_um": MoveStage(x_um=70, y_um=70),
    "y -200": Recentre(target_um=(0, -200)),
}


@pytest.mark.parametrize("action", ALLOWED, ids=str)
def test_what_is_within_limits_goes(guard: Guard, action: Action) -> None:
    assert guard.check(command(action), 0) is None


@pytest.mark.parametrize(("said", "action"), REFUSED.items(), ids=REFUSED)
def test_what_is_outside_is_refused_with_the_value(guard: Guard, said: str, action: Action) -> None:
    verdict = guard.check(command(action), 0)
    assert verdict is not None
    assert verdict.state == "refused"
    assert said in verdict.reason


def test_old_data_expire_by_the_rigs_own_clock(guard: Guard) -> None:
    on_time = command(SetExposure(exposure_ms=5), frame(0, 0).ref)
    assert guard.check(on_time, round(1500e6)) is None
    late = guard.check(on_time, round(1501e6))
    assert late is not None
    assert late.state == "expired"
    assert "501 ms old" in late.reason


def test_a_commands_own_age_limit_can_only_be_stricter(guard: Guard) -> None:
    strict = command(SetExposure(exposure_ms=5), frame(0, 0).ref, max_age_ms=100.0)
    generous = command(SetExposure(exposure_ms=5), frame(0, 0).ref, max_age_ms=9999.0)
    at = round(1300e6)
    assert guard.check(strict, at) is not None
    assert guard.check(generous, at) is None
    assert guard.check(generous, round(1600e6)) is not None


def test_a_frame_of_the_future_is_refused(guard: Guard) -> None:
    verdict = guard.check(command(SetExposure(exposure_ms=5), frame(99, 0).ref), 0)
    assert verdict is not None
    assert verdict.state == "refused"
    assert "has not taken" in verdict.reason


def test_a_command_issued_in_the_future_is_refused(guard: Guard) -> None:
    ahead = command(SetExposure(exposure_ms=5), issued_wall_ns=wall_ns() + 3600 * 10**9)
    verdict = guard.check(ahead, 0)
    assert verdict is not None
    assert "in the future" in verdict.reason


def test_kinds_that_are_not_allowed_are_refused_for_policies_only() -> None:
    guard = Guard(LimitSettings(allow=("recentre",)), Recent())
    move = MoveStage(x_um=1)
    assert guard.check(command(move), 0) is not None
    assert guard.check(command(move, origin="operator"), 0) is None
    assert guard.check(command(Stop()), 0) is None


def test_the_rate_is_limited_over_a_sliding_second(guard: Guard) -> None:
    asked = [guard.check(command(SetExposure(exposure_ms=5)), t * 10**8) for t in range(12)]
    assert [verdict is None for verdict in asked] == [True] * 3 + [False] * 8 + [True]


def passes(guard: Guard, action: Action, times_s: Sequence[float], origin: str = "policy") -> list[bool]:
    return [guard.check(command(action, origin=origin), round(t * 1e9)) is None for t in times_s]


MOVE = MoveStage(x_um=1)
PACES: dict[str, tuple[dict[str, Any], list[float], list[bool]]] = {
    "one in two seconds": (
        {"rates_per_s": {"move_stage": 0.5}},
        [0, 1, 1.9, 2.1, 3],
        [True, False, False, True, False],
    ),
    "two a second": ({"rates_per_s": {"move_stage": 2}}, [0, 0.1, 0.2, 1.05, 1.15], [True, True, False, True, True]),
    "a cooldown": ({"cooldown_s": {"move_stage": 10}}, [0, 5, 9.9, 10, 15], [True, False, False, True, False]),
    "of another kind": ({"cooldown_s": {"acquire": 10}}, [0, 1], [True, True]),
}


@pytest.mark.parametrize("case", PACES)
def test_kinds_have_rates_and_cooldowns_of_their_own(case: str) -> None:
    limits, times_s, expected = PACES[case]
    assert passes(guard_of(LimitSettings(**limits)), MOVE, times_s) == expected
    assert all(passes(guard_of(LimitSettings(**limits)), MOVE, times_s, origin="operator")), "operators are not paced"


def test_what_is_refused_for_another_reason_does_not_count_as_a_turn() -> None:
    guard = guard_of(LimitSettings(cooldown_s={"move_stage": 10.0}, x_um=(0, 5)))
    assert guard.check(command(MoveStage(x_um=9)), 0) is not None
    assert guard.check(command(MOVE), 1) is None


def test_a_second_look_after_approval_counts_no_turn() -> None:
    guard = guard_of(LimitSettings(cooldown_s={"move_stage": 10.0}))
    assert guard.check(command(MOVE), 0) is None
    assert guard.check(command(MOVE), 1, approved=True) is None


def test_positions_are_counted() -> None:
    guard = guard_of(LimitSettings(max_positions=2))
    more = command(AddPosition(x_um=1, y_um=1))
    assert guard.check(more, 0) is None
    guard.applied(more, Readback({}))
    verdict = guard.check(more, 0)
    assert verdict is not None
    assert "max_positions is 2" in verdict.reason
    guard.applied(command(DropPosition()), Readback({}))
    assert guard.check(more, 0) is None


AFFINE_UM = ((0.65, 0.0), (0.0, 0.65))
GRIDS = {
    "beyond the box": ({"rows": 3, "columns": 3}, {"x_um": (-50, 50), "y_um": (-50, 50)}, "x -332.8 µm is outside"),
    "too many frames": ({"width": 3000, "height": 3000, "fov_width": 3000, "fov_height": 3000}, {"max_frames": 5},
                        "max_frames = 5"),
    "too much light": ({"rows": 3, "columns": 3}, {"max_acquire_light_ms": 50}, "light at full power of 90 ms"),
    "nothing": ({"rows": 3, "columns": 3, "fov_width": 900, "fov_height": 900}, {"x_um": (-333, 333)}, None),
}  # fmt: skip


@pytest.mark.parametrize(("grid", "limits", "says"), GRIDS.values(), ids=GRIDS)
def test_a_grid_is_judged_with_the_image_that_it_will_be_taken_with(
    grid: dict[str, Any], limits: dict[str, Any], says: str | None
) -> None:
    recent, where = Recent(), Whereabouts()
    wide = replace(frame(0, 0), pixels=np.zeros((512, 512), np.uint8), roi_px=(0, 0, 512, 512), sensor_px=(512, 512),
                   affine_um=AFFINE_UM, exposure_ms=10.0)  # fmt: skip
    where.took(wide)
    verdict = Guard(LimitSettings(**limits), recent, where).check(command(Acquire(sequence={"grid_plan": grid})), 0)
    assert says in verdict.reason if verdict is not None else says is None


def test_a_stimulation_takes_the_stage_no_way_that_is_forbidden() -> None:
    """The mask was drawn on a frame on the other side of a zone: the stage would go there, and come back."""
    guard = guard_of(LimitSettings(forbidden_um=[(40, 60, -10, 10)]))
    there, here = replace(frame(1, 1000), stage_um=(100.0, 0.0, 0.0)), frame(0, 1000)
    guard._recent.took(there)
    mask = Stimulate(mask_yx_px=(((0, 0), (0, 3), (3, 3)),), duration_ms=5)
    assert guard.check(command(mask, here.ref), round(1000e6)) is None
    verdict = guard.check(command(mask, there.ref), round(1000e6))
    assert verdict is not None
    assert "crosses the forbidden zone" in verdict.reason
    unknown = guard.check(command(mask, frame(9, 0).ref, origin="operator", max_age_ms=None), round(1000e6))
    assert unknown is not None
    assert "has not taken" in unknown.reason


def test_a_plan_is_judged_where_the_stage_stands_as_it_begins() -> None:
    plan = PlanSettings.model_validate({"protocol": {"z_plan": {"range": 4, "step": 2}}})
    guard = Guard(LimitSettings(z_um=(-5, 5)), Recent(), plan=plan)
    assert guard.begin({}) is None
    assert guard.begin({"stage_um": (0.0, 0.0, 3.0)}) is None
    assert "z 6 µm is outside" in str(guard.begin({"stage_um": (0.0, 0.0, 4.0)}))
