"""The desk on a real core: a storm of commands, and a stop while the thread that owns the core is busy."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.micromanager.driver import MicroManagerDriver
from stream import command as c
from stream.acquire.ways import inside
from tests.cases.rig_bench import RigBench, rig_bench

ZONE = (20.0, 40.0, -10.0, 60.0)
LIMITS: dict[str, Any] = {
    "x_um": (-100, 100), "y_um": (-100, 100), "z_um": (-5, 5), "forbidden_um": [ZONE], "exposure_ms": (2, 30),
    "rate_per_s": 1000.0,
}  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[RigBench]:
    camera = {"driver": "micromanager", "options": {"properties": {"Camera.Mode": "Fluorescent Beads"}}}
    plan = {"exposure_ms": 10.0, "interval_ms": 10.0}
    with rig_bench(tmp_path, MicroManagerDriver(), camera=camera, plan=plan, limits=LIMITS) as bench:
        yield bench


def wild(dice: random.Random) -> c.Action:
    """Return any action, within limits or not."""
    x, y = dice.uniform(-130, 130), dice.uniform(-130, 130)
    return dice.choice([
        c.MoveStage(x_um=x, y_um=y), c.MoveStage(z_um=dice.uniform(-8, 8)), c.Recentre(target_um=(x, y)),
        c.SetExposure(exposure_ms=dice.uniform(1, 40)), c.SetLight(on=dice.random() < 0.5), c.SetLight(power=0.3),
        c.SetRoi(roi_px=(0, 0, 256, 256)), c.SetRoi(), c.SetBinning(binning=2), c.SetInterval(interval_ms=50),
        c.DropPosition(), c.Pause(), c.Resume(),
    ])  # fmt: skip


def test_a_storm_on_a_real_core(rig: RigBench) -> None:
    dice = random.Random(5)
    sent = [rig.command(wild(dice), dice.choice(["policy", "operator"])) for _ in range(60)]
    for command in (*sent, rig.command(c.Resume(), "operator")):
        rig.client("operator").submit(command)
    rig.wait(lambda: rig.rows("SELECT count(*) FROM transitions WHERE final")[0][0] >= 61)
    finals = rig.rows("SELECT command_id, sum(final) FROM transitions GROUP BY command_id")
    assert dict(finals) == {row[0]: 1 for row in finals}
    for x_um, y_um, z_um in rig.rows("SELECT x_um, y_um, z_um FROM frames"):
        assert not inside((x_um, y_um), ZONE)
        assert max(abs(x_um), abs(y_um)) <= 100.1
        assert abs(z_um) <= 5.1
    exposures = [value for (value,) in rig.rows("SELECT DISTINCT exposure_ms FROM frames")]
    assert 2 <= min(exposures) <= max(exposures) <= 30
    applied = rig.rows("SELECT kind FROM commands JOIN transitions USING (command_id) WHERE state = 'applied'")
    assert len(applied) > 15, "the storm did blow"


def test_the_light_closes_while_the_owner_of_the_core_is_busy(rig: RigBench) -> None:
    core, gate, busy = rig.driver._rig.core, threading.Event(), threading.Event()

    def hang() -> None:
        busy.set()
        gate.wait(30)

    assert core.getShutterOpen()
    rig.driver._owner.post(hang)
    assert busy.wait(20)
    try:
        stop = rig.send(c.Stop(), "operator")
        rig.wait(lambda: not core.getShutterOpen())
        assert not rig.rows("SELECT 1 FROM transitions WHERE final AND command_id = ?", stop)
    finally:
        gate.set()
    assert rig.final(stop).state == "applied"
    rig.wait(rig.ended)
