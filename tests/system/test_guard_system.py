"""The rig protects the sample when the analysis hangs and its heartbeats go on."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.command import SetExposure
from tests.system.conftest import BackgroundRun
from tests.system.test_faults_system import FAST, ask

Begin = Callable[..., BackgroundRun]
CASES = Path(__file__).parents[1] / "cases"
RIGS_OWN = "SELECT kind, command FROM commands WHERE origin = 'rig' ORDER BY id"


def rigs_own(run: BackgroundRun) -> list[tuple[str, Any]]:
    """What the rig asked of itself: kind, and on or off where it is the light."""
    rows = run.query("rig.sqlite", RIGS_OWN)
    return [(kind, json.loads(command)["action"].get("on")) for kind, command in rows]


def applied(run: BackgroundRun, kind: str) -> int:
    sql = "SELECT count(*) FROM transitions JOIN commands USING (command_id) WHERE state = 'applied' AND kind = ?"
    return int(run.query("rig.sqlite", sql, kind)[0][0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
def test_a_stage_that_never_comes_back_leaves_the_rig_waiting_in_the_dark(begin: Begin) -> None:
    chain = {"divide": f"{CASES / 'stuck.py'}:Sticks"}
    limits = {"alive_timeout_s": 3.0, "when_lost": "pause"}
    run = begin("democam.toml", {**FAST, "limits": limits, "chain": chain})
    run.wait(lambda: applied(run, "pause"), 60)
    assert rigs_own(run) == [("set_light", False), ("pause", None)]
    answer = ask(run, SetExposure(exposure_ms=50), origin="policy")
    assert answer.state == "refused"
    assert "the analysis is undecided" in answer.reason
    taken = run.taken()
    assert ask(run, SetExposure(exposure_ms=30)).state == "applied", "an operator is always heard"
    assert run.taken() == taken
    run.stop.set()
    run.wait(lambda: run.query("rig.sqlite", "SELECT 1 FROM meta WHERE key = 'ended'"))
    os.kill(run.pid("analyse"), signal.SIGKILL)  # the supervisor would be more patient
    run.end()
