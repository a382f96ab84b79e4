"""The rig waits for an analysis that not only says it is ready but listens."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from drivers.virtual.driver import VirtualDriver
from stream.acquire.rig import Rig
from stream.command import SetLight
from stream.config import Configuration, RunSettings
from stream.errors import ConfigError, DriverError
from stream.facts.rig import RigFacts
from stream.wire.control import ControlClient, ControlServer
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber
from tests.cases.rig_bench import rig_bench


def test_an_analysis_is_ready_when_it_listens(tmp_path: Path) -> None:
    config = Configuration(run=RunSettings(wait_for=("analyse",), ready_timeout_s=0.5))
    publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire")
    server = ControlServer("tcp://127.0.0.1:0")
    facts = RigFacts(tmp_path)
    rig = Rig(config, VirtualDriver(), facts, publisher, server)
    rig.listen()
    client = ControlClient(server.address, name="analyse")
    frames = Subscriber(publisher.address, ["frame/"], name="analyse")
    try:
        client.ready()
        assert rig.wait_ready(threading.Event()) == {"analyse"}
        while not publisher.consumers:
            frames.next(0.1)
        assert rig.wait_ready(threading.Event()) == set()
    finally:
        frames.close()
        client.close()
        rig.close("the test ended")
        facts.close()


BUDGET: dict[str, Any] = {"budget_full_power_s": 0.1}


def had_its_light(folder: Path) -> None:
    """Leave the facts of a run whose field has had all but the last frames of its light."""
    facts = RigFacts(folder)
    facts.light("cam:p0", 95.0)
    facts.close()


def test_a_rig_that_starts_again_after_its_budget_starts_in_the_dark(tmp_path: Path) -> None:
    had_its_light(tmp_path)
    with rig_bench(tmp_path, dose=BUDGET) as rig:
        rig.wait(lambda: rig.taken() > 5)
        assert rig.driver.power == 0.0
        assert rig.driver.light_ms.get("cam:p0", 0.0) == 0.0
        refused = rig.ask(SetLight(power=0.1), "operator")
        assert (refused.state, "of its budget" in refused.reason) == ("refused", True)


def test_or_not_at_all(tmp_path: Path) -> None:
    had_its_light(tmp_path)
    with (
        pytest.raises(DriverError, match="the light budget of cam:p0 is spent"),
        rig_bench(tmp_path, dose=BUDGET | {"at_budget": "stop"}),
    ):
        raise AssertionError("it began")


def test_a_plan_that_leads_beyond_the_limits_from_where_the_stage_stands_does_not_begin(tmp_path: Path) -> None:
    camera = {"driver": "virtual", "options": {"seed": 3, "cells": 3, "size_px": [64, 64], "truth_dir": None}}
    plan = {"protocol": {"z_plan": {"range": 4, "step": 2}}}
    with (
        pytest.raises(ConfigError, match="z -2 µm is outside"),
        rig_bench(tmp_path, VirtualDriver(), camera=camera, plan=plan, limits={"z_um": [-1, 1]}),
    ):
        pass
