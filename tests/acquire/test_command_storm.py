"""Random storms of commands: never outside limits, never over budget, one final answer each, nothing in shadow."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from useq import MDASequence

from stream import command as c
from stream.acquire.ways import crosses, inside
from stream.config import Configuration, PlanSettings
from stream.safety import DoseSettings, LimitSettings
from tests.cases.hand_rig import Table

ZONE = (20.0, 40.0, -10.0, 60.0)
LIMITS: dict[str, Any] = {
    "x_um": (-100, 100), "y_um": (-100, 100), "z_um": (-5, 5), "forbidden_um": [ZONE], "max_move_um": 150,
    "exposure_ms": (1, 100), "interval_ms": (10, 10_000), "light_power": (0, 0.8), "stimulate_ms": (1, 200),
    "rate_per_s": 5, "cooldown_s": {"acquire": 1.0}, "max_frames": 6, "max_positions": 3, "approve_timeout_s": 5,
}  # fmt: skip
BUDGET_S = 0.3
OPEN_BUDGET_S = 2.0
"""More where the shutter stays open: a second of it is kept back for closing."""

um = st.floats(-130, 130, allow_nan=False)
ms = st.floats(0.5, 130, allow_nan=False)
sequences = st.builds(
    lambda n, step, exposure: MDASequence(
        channels=[{"config": "A", "exposure": exposure}], z_plan={"range": n * step, "step": step}
    ),
    st.integers(1, 8), st.floats(0.5, 3), ms,
)  # fmt: skip
actions = st.one_of(
    st.builds(c.SetExposure, exposure_ms=ms),
    st.builds(c.SetInterval, interval_ms=st.one_of(st.none(), st.floats(0, 20_000))),
    st.builds(c.SetLight, power=st.one_of(st.none(), st.floats(0, 1)), on=st.sampled_from([None, None, True, False])),
    st.builds(c.MoveStage, x_um=um, y_um=um, z_um=st.one_of(st.none(), st.floats(-8, 8))),
    st.builds(c.Recentre, target_um=st.tuples(um, um)),
    st.builds(c.AddPosition, x_um=um, y_um=um),
    st.builds(c.Acquire, sequence=sequences, at_um=st.one_of(st.none(), st.tuples(um, um))),
    st.builds(c.Stimulate, mask_yx_px=st.just((((0, 0), (0, 3), (3, 3)),)), duration_ms=st.floats(1, 250)),
    st.sampled_from([c.Pause(), c.Resume(), c.Resume()]),
)
causes = st.sampled_from(["policy", "policy", "policy", "operator"])
steps = st.one_of(
    st.tuples(st.just("ask"), st.tuples(actions, causes, st.integers(0, 3), st.integers(0, 30))),
    st.tuples(st.just("frames"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.floats(1, 400)),
    st.tuples(st.just("decide"), st.tuples(st.integers(0, 30), st.booleans())),
)


def storm(table: Table, plan: list[tuple[str, Any]]) -> None:
    """Play a storm; ids are reused now and then."""
    table.take()
    for kind, what in plan:
        if kind == "ask":
            action, origin, priority, name = what
            table.ask(f"c{name}", action, cause=c.Cause(origin=origin), priority=priority)
        elif kind == "frames":
            for _ in range(what):
                table.clock.advance_ms(table.driver.exposure_ms)
                table.take()
        elif kind == "wait":
            table.wait(what)
        else:
            table.desk.decide(c.Decision(command_id=f"c{what[0]}", approve=what[1]))
        table.desk.settle()
    table.close()


def judge(table: Table, folder: Path) -> None:
    """Look at what the hardware really did, and at what is on disk."""
    driver, limits = table.driver, table.config.limits
    budget_ms = 1e3 * (table.config.dose.budget_full_power_s or 0.0)
    for start, end in driver.ways_um:
        for value, box in zip(end, (limits.x_um, limits.y_um, limits.z_um), strict=True):
            assert box is not None
            assert box[0] <= value <= box[1]
        assert not inside(end[:2], ZONE)
        assert not crosses(start[:2], end[:2], ZONE)
    assert all(limits.exposure_ms[0] <= value <= limits.exposure_ms[1] for value in driver.exposures_ms)
    assert all(limits.light_power[0] <= value <= limits.light_power[1] for value in driver.powers)
    assert driver.positions <= limits.max_positions
    assert max(driver.light_ms.values(), default=0.0) <= budget_ms + 1e-6
    told = table.dose.told()["fields"]["cam:p0"]["full_power_s"] * 1e3
    assert told >= driver.light_ms.get("cam:p0", 0.0) - 1e-3, "the ledger may overstate light, never understate it"
    with closing(sqlite3.connect(folder / "rig.sqlite")) as facts:
        finals = dict(facts.execute("SELECT command_id, sum(final) FROM transitions GROUP BY command_id"))
        last = dict(facts.execute("SELECT command_id, final FROM transitions ORDER BY id"))
    assert finals == dict.fromkeys(table.sent, 1)
    assert set(last.values()) <= {1}, "nothing follows a final state"
    assert len(driver.applied) == len(set(driver.applied)), "no id is applied twice"


def configured(budget_s: float = BUDGET_S, **limits: Any) -> Configuration:
    dose = DoseSettings(
        warn_full_power_s=0.2 * budget_s, throttle_full_power_s=0.6 * budget_s, budget_full_power_s=budget_s
    )
    return Configuration(
        limits=LimitSettings(**LIMITS | limits), dose=dose, plan=PlanSettings(exposure_ms=20, light_power=0.5)
    )


WORLDS = {
    "pulsed light": (configured(), False),
    "open shutter": (configured(OPEN_BUDGET_S), True),
    "some wait for approval": (configured(approve=["acquire", "move_stage", "set_light"]), False),
}
quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("world", WORLDS)
def test_a_storm_stays_within_limits_and_budget(world: str) -> None:
    config, stays_open = WORLDS[world]

    @quick
    @given(st.lists(steps, max_size=40))
    def weather(plan: list[tuple[str, Any]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            table = Table(Path(name), config, stays_open=stays_open)
            storm(table, plan)
            judge(table, Path(name))

    weather()


@quick
@given(st.lists(steps, max_size=30))
def test_nothing_of_feedback_is_applied_in_shadow(plan: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        table = Table(Path(name), configured(shadow=True))
        storm(table, plan)
        judge(table, Path(name))
        by_operator = {"pause", "resume"}
        with closing(sqlite3.connect(Path(name) / "rig.sqlite")) as facts:
            rows = facts.execute(
                "SELECT kind, origin FROM commands JOIN transitions USING (command_id) WHERE state = 'applied'"
            ).fetchall()
        assert all(origin == "rig" or (origin == "operator" and kind in by_operator) for kind, origin in rows)


def test_the_storms_do_blow() -> None:
    """The same machinery, by hand: most kinds get through, so that the storms above can fail."""
    with tempfile.TemporaryDirectory() as name:
        table = Table(Path(name), configured(rate_per_s=1000))
        go = [c.MoveStage(x_um=10), c.SetExposure(exposure_ms=5), c.SetLight(power=0.2), c.AddPosition(x_um=0, y_um=0)]
        go += [c.Acquire(sequence=MDASequence(z_plan={"range": 2, "step": 1})), c.Recentre(target_um=(0, 0))]
        asks = [("ask", (action, "policy", 0, n)) for n, action in enumerate(go)]
        storm(table, list(itertools.chain.from_iterable((ask, ("frames", 1)) for ask in asks)))
        judge(table, Path(name))
        assert len(table.driver.applied) == len(go), [ack for ack in table.answers if ack.state.final]
