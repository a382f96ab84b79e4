"""Protocols on the DemoCamera, and commands that edit them while they run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymmcore_plus import CMMCorePlus

from drivers.micromanager.load import load_core
from drivers.micromanager.options import MicroManagerOptions
from stream import command as c
from stream.acquire.guard import Guard
from stream.acquire.recent import Recent
from stream.acquire.whereabouts import Whereabouts
from stream.config import PlanSettings
from stream.errors import ConfigError, Refused
from stream.frame import Frame, Gap
from stream.safety import LimitSettings

TWO = [[0.0, 0.0, 0.0], [60.0, -20.0, 1.0]]


def frames_of(bench: Any, field: str | None = None) -> list[Frame]:
    return [item for item in bench.seen if isinstance(item, Frame) and field in (None, item.field)]


def numbers(frames: list[Frame]) -> list[tuple[int, ...]]:
    return [(f.index.t, f.index.p, f.index.c, f.index.z, f.index.g) for f in frames]


def acquire(sequence: dict[str, Any], **more: Any) -> c.Acquire:
    return c.Acquire.model_validate({"sequence": sequence} | more)


def start(bench: Any, **protocol: Any) -> None:
    bench.driver.start(PlanSettings.model_validate({"protocol": protocol, "exposure_ms": 2.0}))


def test_a_protocol_is_taken_as_it_is_written(bench: Any) -> None:
    start(
        bench,
        channels=[{"config": "DAPI", "exposure": 3}, {"config": "FITC", "acquire_every": 2}],
        stage_positions=[
            {"x": 0, "y": 0, "z": 0},
            {"x": 40, "y": 0, "z": 1, "sequence": {"z_plan": {"relative": [0, 2]}}},
        ],
        time_plan={"interval": 0.02, "loops": 2},
    )
    planned = bench.driver.describe()["plan"]
    assert (planned["frames"], planned["time_points"], planned["duration_s"]) == (9, 2, 0.02)
    assert bench.rest().reason == "plan complete"
    frames = frames_of(bench)
    assert numbers(frames) == [
        (0, 0, 0, 0, 0), (0, 0, 1, 0, 0), (0, 1, 0, 0, 0), (0, 1, 0, 1, 0), (0, 1, 1, 0, 0), (0, 1, 1, 1, 0),
        (1, 0, 0, 0, 0), (1, 1, 0, 0, 0), (1, 1, 0, 1, 0),
    ]  # fmt: skip
    for frame in frames:
        assert frame.stage_um == pytest.approx((40.0 * frame.index.p, 0.0, frame.index.p + 2 * frame.index.z), abs=0.02)
        assert (frame.channel, frame.exposure_ms) == (("DAPI", 3.0), ("FITC", 2.0))[frame.index.c]
        assert (frame.field, frame.frame) == (f"Camera:p{frame.index.p}", frame.index.t)
        assert frame.metadata["late_ms"] >= 0
        assert frame.metadata["due_ns"] <= frame.stamps.t_pop_ns


def test_tiles_of_a_grid_are_fields_that_lie_side_by_side(bench: Any) -> None:
    start(bench, grid_plan={"rows": 1, "columns": 2, "overlap": 50}, time_plan={"interval": 0, "loops": 1})
    left, right = bench.frames(2)
    assert (left.field, right.field) == ("Camera:p0", "Camera:p0g1")
    assert numbers([left, right]) == [(0, 0, 0, 0, 0), (0, 0, 0, 0, 1)]
    shift_px = round((right.stage_um[0] - left.stage_um[0]) / left.pixel_um)
    assert shift_px == pytest.approx(left.pixels.shape[1] / 2, abs=1)
    a, b = left.pixels[:, shift_px:].astype(float), right.pixels[:, :-shift_px].astype(float)
    np.testing.assert_allclose(a, b, atol=0.25 * a.max())


def test_autofocus_is_done_where_the_protocol_says(bench: Any) -> None:
    focused: list[int] = []
    original = bench.core.fullFocus
    bench.core.fullFocus = lambda: (focused.append(1), original())
    start(bench, stage_positions=TWO, autofocus_plan={"axes": ["p"]}, time_plan={"interval": 0, "loops": 2})
    bench.rest()
    assert len(frames_of(bench)) == 4
    assert len(focused) == 4


def test_what_an_autofocus_found_outlives_the_run_of_events_that_found_it(bench: Any) -> None:
    bench.core.fullFocus = lambda: bench.core.setZPosition(bench.core.getZPosition() + 1.5)
    start(
        bench, stage_positions=[[0, 0, 2]], autofocus_plan={"axes": ["p"]}, time_plan={"interval": 0.01, "loops": 900}
    )
    bench.frames(3)
    for on in (False, True):  # the light is switched between two runs
        command_id, _ = bench.apply(c.SetLight(on=on))
        bench.showing(command_id)
    bench.frames(2)
    assert {round(f.stage_um[2], 2) for f in frames_of(bench)} == {3.5}
    assert bench.gaps("wrong_state") == []


def test_one_position_goes_fast_and_comes_back(bench: Any) -> None:
    start(bench, stage_positions=TWO, time_plan={"interval": 0.3, "loops": 40})
    bench.frames(2)
    _, readback = bench.apply(c.SetInterval(interval_ms=20), position=1)
    assert readback.values == {"interval_ms": 20.0}
    fast = [f for f in bench.frames(12) if f.index.p == 1]
    assert len(fast) >= 8
    command_id, readback = bench.apply(c.SetInterval(), position=1)
    assert readback.values == {"interval_ms": 300.0}
    bench.showing(command_id)
    assert [f.frame for f in frames_of(bench, "Camera:p1")] == list(range(len(frames_of(bench, "Camera:p1"))))
    command_id, _ = bench.apply(c.SetExposure(exposure_ms=6.0), position=1)
    assert bench.showing(command_id).index.p == 1
    assert {(f.index.p, f.exposure_ms) for f in bench.frames(2)} == {(0, 2.0), (1, 6.0)}
    with pytest.raises(Refused, match="visits no position 7; it visits 0, 1"):
        bench.apply(c.SetInterval(interval_ms=5), position=7)


def test_one_channel_is_exposed_otherwise(bench: Any) -> None:
    start(bench, channels=["DAPI", "FITC"], time_plan={"interval": 0, "loops": 500})
    bench.frames(2)
    command_id, readback = bench.apply(c.SetExposure(exposure_ms=7.0), channel="FITC")
    assert readback.values == {"exposure_ms": 7.0}
    assert bench.showing(command_id).channel == "FITC"
    assert {(f.channel, f.exposure_ms) for f in bench.frames(4)} == {("DAPI", 2.0), ("FITC", 7.0)}
    with pytest.raises(Refused, match="the plan takes no channel 'Cy5'"):
        bench.apply(c.SetExposure(exposure_ms=7.0), channel="Cy5")


def test_positions_are_added_dropped_and_brought_back(bench: Any) -> None:
    start(bench, stage_positions=TWO, time_plan={"interval": 0.02, "loops": 500})
    bench.frames(2)
    command_id, readback = bench.apply(c.AddPosition(x_um=90.0, y_um=0.0))
    assert readback.values == {"position": 2, "position_um": (90.0, 0.0, 1.0)}
    frame = bench.showing(command_id)
    assert (frame.field, frame.frame, frame.stage_um) == ("Camera:p2", 0, pytest.approx((90.0, 0.0, 1.0), abs=0.02))
    bench.apply(c.DropPosition(), position=2)
    command_id, _ = bench.apply(c.DropPosition(), position=0)
    with pytest.raises(Refused, match="the only position left; pause or stop"):
        bench.apply(c.DropPosition(), position=1)
    bench.showing(command_id)
    assert {f.index.p for f in bench.frames(4)[1:]} == {1}
    before = len(frames_of(bench, "Camera:p0"))
    command_id, readback = bench.apply(c.AddPosition(x_um=0.0, y_um=5.0), position=0)
    assert readback.values == {"position": 0, "position_um": (0.0, 5.0, 0.0)}
    frame = bench.showing(command_id)
    assert (frame.field, frame.frame) == ("Camera:p0", before)


def test_a_position_that_is_left_at_once_takes_no_more_of_its_stack(bench: Any) -> None:
    stack = {"range": 18, "step": 2}
    start(bench, stage_positions=TWO, z_plan=stack, axis_order="tpz", time_plan={"interval": 0, "loops": 500})
    bench.frames(3)
    bench.apply(c.DropPosition(at_once=True), position=0)
    taken = [(f.index.p, f.index.z) for f in bench.frames(12)]
    left = [z for p, z in taken if p == 0]
    assert len(left) <= 2, "what is in the camera may still come"
    assert [z for p, z in taken if p == 1] == [*range(10)][: 12 - len(left)] + [*range(12)][: max(0, 2 - len(left))]


def test_a_burst_beside_the_plan_is_taken_in_one_go_and_takes_no_number_of_the_plan(bench: Any) -> None:
    start(bench, stage_positions=TWO, time_plan={"interval": 0.05, "loops": 500})
    bench.frames(3)
    burst = acquire({"time_plan": {"interval": 0, "loops": 8}}, sequenced=True)
    command_id, readback = bench.apply(burst, position=1)
    field = f"Camera:p1/{command_id}"
    said = readback.values
    assert (said["frames"], said["parts"], said["sequenced"], said["field"]) == (8, 1, True, field)
    assert said["burst_ms"] >= 16.0
    first = bench.showing(command_id)
    assert said["burst_measured_ms"] > 0
    taken = [first, *bench.frames(7)]
    assert [(f.field, f.frame) for f in taken] == [(field, n) for n in range(8)]
    for frame in taken:
        assert (frame.metadata["command"], frame.metadata["burst"]) == (command_id, 8)
        assert frame.stage_um == pytest.approx(TWO[1], abs=0.02)
    assert readback.pending is not None
    assert not readback.pending()
    bench.frames(4)
    for field in ("Camera:p0", "Camera:p1"):
        plan = frames_of(bench, field)
        assert [f.frame for f in plan] == list(range(len(plan)))
        assert all("command" not in f.metadata for f in plan)
    every = frames_of(bench)
    assert [f.seq for f in every] == list(range(len(every)))


def test_a_long_burst_is_taken_in_parts_with_the_core_free_between(bench: Any) -> None:
    plan = {"protocol": {"time_plan": {"interval": 100, "loops": 2}}, "exposure_ms": 10.0, "max_burst_ms": 50.0}
    bench.driver.start(PlanSettings.model_validate(plan))
    bench.frames(1)
    _, readback = bench.apply(acquire({"time_plan": {"interval": 0, "loops": 12}}, sequenced=True))
    assert (readback.values["frames"], readback.values["parts"]) == (12, 3)
    assert readback.values["burst_ms"] <= 50.0
    bench.frames(1)
    bench.apply(c.SetLight(on=True))
    frames = bench.frames(11)
    assert [f.frame for f in frames] == list(range(1, 12))
    assert {f.metadata["burst"] for f in frames} <= {2, 3, 4, 5}


def test_a_stack_at_a_place_returns_to_the_plan(bench: Any) -> None:
    bench.start(mode="mda", interval_ms=20.0)
    bench.frames(2)
    command_id, readback = bench.apply(
        acquire(
            {"z_plan": {"relative": [-2, 0, 2]}, "channels": [{"config": "Cy5", "exposure": 9}]}, at_um=(25.0, -10.0)
        )
    )
    assert readback.values["sequenced"] is False
    bench.showing(command_id)
    bench.frames(12)
    stack = frames_of(bench, f"Camera:p0/{command_id}")
    assert [f.index.z for f in stack] == [0, 1, 2]
    for frame in stack:
        middle = frame.to_stage_um((np.array(frame.pixels.shape)[None] - 1) / 2)[0]
        assert middle == pytest.approx((25.0, -10.0), abs=0.02)
        assert frame.stage_um[2] == pytest.approx(2 * frame.index.z - 2, abs=0.02)
        assert (frame.channel, frame.exposure_ms) == ("Cy5", 9.0)
    for frame in frames_of(bench, "Camera:p0"):
        assert frame.stage_um == pytest.approx((0.0, 0.0, 0.0), abs=0.02)
        assert (frame.channel, frame.exposure_ms) == ("DAPI", 5.0)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "nowhere": ({}, {}, "the plan has 2 positions; say which"),
    "a channel that is not there": ({"channels": ["GFP"]}, {"position": 0}, "no channel 'GFP'"),
    "two places": ({"stage_positions": [(1, 2)]}, {"position": 0}, "has stage_positions of its own; leave out"),
    "time within planes": (
        {"axis_order": "zt", "time_plan": {"interval": 1, "loops": 2}, "z_plan": {"range": 2, "step": 1}},
        {"position": 0},
        "time must come before z",
    ),
    "a night of its own": ({"time_plan": {"interval": 0, "loops": 20_000}}, {"position": 0}, "at most 10000 beside"),
}


def test_a_sequence_that_cannot_be_taken_says_why(bench: Any) -> None:
    start(bench, stage_positions=TWO, time_plan={"interval": 0.5, "loops": 10})
    bench.frames(1)
    for sequence, target, said in REFUSED.values():
        with pytest.raises(Refused, match=said):
            bench.apply(acquire(sequence), **target)
    assert bench.frames(2)[-1].field == "Camera:p0"


def test_what_feedback_asked_beside_the_plan_can_be_taken_back(bench: Any) -> None:
    start(bench, time_plan={"interval": 0.1, "loops": 500})
    bench.frames(1)
    slow = acquire({"time_plan": {"interval": 0.05, "loops": 200}})
    mine, yours = (
        c.Command(command_id=o, action=slow, issued_wall_ns=0, cause=c.Cause(origin=o)) for o in ("policy", "operator")
    )
    pending = {command.command_id: bench.driver.apply(command).pending for command in (mine, yours)}
    bench.showing("policy")
    _, readback = bench.apply(c.Cancel())
    assert list(readback.values["cancelled"]) == list(readback.ends) == ["policy"]
    assert not readback.takes_frame
    assert [pending[name]() for name in ("policy", "operator")] == [False, True]
    bench.showing("operator")
    _, readback = bench.apply(c.Cancel(command_id="operator"))
    assert list(readback.ends) == ["operator"]
    count = len(frames_of(bench))
    bench.frames(3)
    assert {f.field for f in frames_of(bench)[count + 1 :]} == {"Camera:p0"}


def test_a_pause_holds_what_is_beside_the_plan_too(bench: Any) -> None:
    start(bench, time_plan={"interval": 0.02, "loops": 500})
    bench.frames(1)
    bench.apply(c.Pause())
    while bench.driver.backlog():
        bench.frames(1)
    command_id, _ = bench.apply(acquire({"time_plan": {"interval": 0, "loops": 2}}))
    assert bench.driver.next(0.1) is None
    bench.apply(c.Resume())
    assert bench.showing(command_id).field == f"Camera:p0/{command_id}"


def test_a_burst_that_the_protocol_plans_goes_to_the_hardware_in_one_go(bench: Any) -> None:
    start(bench, time_plan=[{"interval": 0.02, "loops": 2}, {"interval": 0, "loops": 7}])
    bench.rest()
    frames = frames_of(bench)
    assert [f.frame for f in frames] == list(range(8))
    assert [f.metadata.get("burst", 1) for f in frames] == [1] + [7] * 7


class DyingCore(CMMCorePlus):
    """A real core whose first hardware sequence does not start."""

    died = False

    def startSequenceAcquisition(self, *args: Any, **kwargs: Any) -> None:
        if not self.died:
            self.died = True
            raise RuntimeError("the camera is not ready")
        super().startSequenceAcquisition(*args, **kwargs)


def test_a_burst_that_dies_costs_its_frames_and_not_the_plan(bench_of: Any, monkeypatch: Any) -> None:
    def make(options: MicroManagerOptions) -> CMMCorePlus:
        monkeypatch.setattr("drivers.micromanager.load.CMMCorePlus", DyingCore)
        return load_core(options)

    bench = bench_of(core_of=make, backoff_ms=1)
    start(bench, time_plan={"interval": 0.02, "loops": 500})
    bench.frames(1)
    command_id, readback = bench.apply(acquire({"time_plan": {"interval": 0, "loops": 4}}, sequenced=True))
    gap = bench.until(lambda item: isinstance(item, Gap))
    assert (gap.field, gap.missing, gap.reason) == (f"Camera:p0/{command_id}", 4, "snap_failed")
    bench.frames(2)
    assert readback.pending is not None
    assert not readback.pending()
    numbered = [f.frame for f in frames_of(bench, "Camera:p0")]
    assert numbered == list(range(len(numbered)))


LACKING = {
    "an autofocus that is not there": ({"autofocus_plan": {"axes": ["t"]}}, "no autofocus device"),
    "a channel that is not there": ({"channels": ["GFP"]}, "no channel 'GFP'"),
}


@pytest.mark.parametrize(("protocol", "said"), LACKING.values(), ids=LACKING)
def test_a_protocol_that_the_rig_cannot_take_stops_the_start(bench: Any, protocol: Any, said: str) -> None:
    bench.core.setAutoFocusDevice("")
    bench.driver._rig.autofocus.label = ""
    with pytest.raises(ConfigError, match=f"the plan is not possible on this rig: .*{said}"):
        start(bench, **protocol)


def test_a_stream_says_which_mode_can(bench: Any) -> None:
    bench.start(mode="stream")
    for action in (c.AddPosition(x_um=0, y_um=0), c.DropPosition(), acquire({}), c.Cancel()):
        with pytest.raises(
            Refused, match=r"a stream takes nothing beside itself; use .plan. mode = 'mda' or a protocol"
        ):
            bench.apply(action)
    with pytest.raises(Refused, match=r"a stream stays at one position; use .plan. mode = 'mda'"):
        bench.apply(c.SetInterval(interval_ms=5), position=1)


BESIDE = {
    "tiles at a place": (
        {"grid_plan": {"rows": 1, "columns": 2}, "z_plan": {"relative": [0, 2]}}, {"at_um": (10.0, -5.0)},
    ),
    "a width in tiles of another size": ({"grid_plan": {"width": 400, "height": 100, "fov_width": 9}}, {}),
    "positions without a focus": ({"stage_positions": [{"x": 50, "y": -20}], "z_plan": {"relative": [0, 2]}}, {}),
    "a position's own tiles": (
        {"stage_positions": [{"x": 5, "y": 6, "sequence": {"grid_plan": {"rows": 2, "columns": 1}}}]}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sequence", "more"), BESIDE.values(), ids=BESIDE)
def test_the_stage_goes_where_the_guard_was_told(bench: Any, sequence: dict[str, Any], more: dict[str, Any]) -> None:
    """Guard and driver lay a sequence out alike: every frame lies where it was judged, in order."""
    start(bench, stage_positions=TWO, time_plan={"interval": 0.05, "loops": 1000})
    where = Whereabouts()
    guard = Guard(LimitSettings(), Recent(), where, plan=PlanSettings(mode="mda", positions_um=TWO))
    assert guard.begin(bench.driver.describe()) is None
    for frame in bench.frames(2):
        where.took(frame)
    target = {} if "stage_positions" in sequence else {"position": 1}
    action = acquire(sequence, **more)
    judged = guard.outline(c.Command(command_id="x", action=action, issued_wall_ns=0, target=c.Target(**target)))
    assert judged is not None
    name, _ = bench.apply(action, **target)

    def taken() -> list[tuple[float, float, float]]:
        return [frame.stage_um for frame in frames_of(bench) if frame.metadata.get("command") == name]

    bench.until(lambda item: len(taken()) == judged.frames)
    np.testing.assert_allclose(taken(), judged.stops_um, atol=0.05)
