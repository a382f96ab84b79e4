"""Light that no frame tells of: lost images, decimated ones, stimulations that failed, and pauses."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.acquire.rig import Rig
from stream.command import Action, Command, Pause, Resume, SetExposure, SetLight, Stimulate
from stream.config import Configuration, PlanSettings, RunSettings
from stream.errors import DriverError, Refused
from stream.facts.rig import RigFacts
from stream.frame import Ended, Frame, Gap
from stream.safety import DoseSettings
from stream.stages import Readback
from stream.wire.control import ControlServer
from stream.wire.publish import Publisher
from tests.cases.hand_rig import HandDriver, Table

FIELD = "cam:p0"
MASK = (((0, 0), (0, 2), (2, 2)),)


class Played(HandDriver):
    """A rig whose camera gives what a test wrote down."""

    def play(self, *items: Frame | Gap) -> None:
        self.items: list[Frame | Gap] = list(items)

    def describe(self) -> Mapping[str, Any]:
        return {**super().describe(), "decimate": 10}

    def next(self, timeout_s: float) -> Frame | Gap | Ended:
        return self.items.pop(0) if self.items else Ended("played")


def frame(exposure_ms: float = 100.0) -> Frame:
    return Frame("r", "cam", "s", 0, 0, FIELD, 0, np.zeros((2, 2), np.uint8), exposure_ms=exposure_ms)


def gap(missing: int, reason: str, field: str = FIELD) -> Gap:
    return Gap("cam", field, "s", 0, 0, missing, reason)


def played(folder: Path, *items: Frame | Gap, between: str = "auto", **plan: Any) -> tuple[float, float, str]:
    """Play items through a rig; return what the ledger and the facts say of the field, in s, and its level."""
    config = Configuration(
        plan=PlanSettings.model_validate({"mode": "mda", "exposure_ms": 100.0, "light_power": 1.0} | plan),
        dose=DoseSettings.model_validate({"budget_full_power_s": 10.0, "at_budget": "dark", "between_frames": between}),
        run=RunSettings(wait_for=()),
    )
    driver = Played(lambda: 0)
    driver.play(*items)
    facts = RigFacts(folder)
    publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire")
    rig = Rig(config, driver, facts, publisher, ControlServer("tcp://127.0.0.1:0"))
    rig.listen()
    try:
        assert rig.begin()
        rig.run(threading.Event())
        told = rig._dose.told()["fields"][FIELD]
        facts.flush()
        return told["full_power_s"], facts.dose()[FIELD].full_power_ms / 1e3, told["level"]
    finally:
        rig.close("the test ended")
        facts.close()


@pytest.mark.parametrize("reason", ["queue", "wrong_state", "corrupt", "snap_failed", "overflow"])
def test_what_was_exposed_and_did_not_come_has_lit_the_sample(tmp_path: Path, reason: str) -> None:
    told_s, kept_s, level = played(tmp_path, frame(), gap(50, reason), gap(0, "restart"))
    assert (told_s, kept_s) == (pytest.approx(5.1), pytest.approx(5.1))
    assert level == "free"


def test_a_field_that_gives_nothing_but_gaps_comes_to_its_budget(tmp_path: Path) -> None:
    told_s, _, level = played(tmp_path, *(gap(1, "wrong_state") for _ in range(99)))
    assert told_s == pytest.approx(9.9)
    assert level == "spent"


def test_images_that_decimation_leaves_out_have_lit_the_sample(tmp_path: Path) -> None:
    told_s, kept_s, _ = played(tmp_path, frame(10.0), gap(2, "queue"), mode="stream", between="dark", exposure_ms=10.0)
    assert (told_s, kept_s) == (pytest.approx(0.3), pytest.approx(0.3))


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    table = Table(tmp_path, Configuration(dose=DoseSettings(budget_full_power_s=1.0)))
    table.take()
    yield table
    table.close()


def spent_s(table: Table) -> float:
    return float(table.dose.told()["fields"][FIELD]["full_power_s"])


FAULTS: dict[str, tuple[Exception, float]] = {
    "a fault after the light": (DriverError("the stage did not come back"), 0.4),
    "a fault of any other kind": (ZeroDivisionError("a fault in a driver"), 0.4),
    "a rig that cannot": (Refused("no modulator"), 0.0),
}


@pytest.mark.parametrize(("fault", "cost_s"), FAULTS.values(), ids=FAULTS)
def test_a_stimulation_that_fails_may_have_lit_the_sample(table: Table, fault: Exception, cost_s: float) -> None:
    before_s = spent_s(table)
    table.driver.faults["stimulate"] = fault
    table.ask("s", Stimulate(mask_yx_px=MASK, duration_ms=400.0))
    table.desk.settle()
    assert table.final("s").state == ("failed" if cost_s else "refused")
    assert spent_s(table) - before_s == pytest.approx(cost_s)
    table.facts.flush()
    assert table.facts.dose()[FIELD].full_power_ms == pytest.approx(1e3 * spent_s(table))


def test_a_lost_frame_counts_as_the_exposure_that_was_asked_last(table: Table) -> None:
    table.ask("longer", SetExposure(exposure_ms=80.0))
    table.desk.settle()
    before_s = spent_s(table)
    table.meter.missed(gap(1, "wrong_state"))
    assert spent_s(table) - before_s == pytest.approx(0.040)  # at half power


PAUSES: dict[str, tuple[dict[str, Any], list[Action], float]] = {
    "a rig that says nothing": ({}, [], 0.0),
    "a rig that closes its light": ({"dark": True}, [], 0.0),
    "a rig that cannot": ({"dark": False}, [], 1.5),
    "a light that is asked for meanwhile": ({"dark": True}, [SetLight(power=0.5, on=True)], 0.0),
}


@pytest.mark.parametrize(("said", "meanwhile", "cost_s"), PAUSES.values(), ids=PAUSES)
def test_a_pause_counts_unless_it_is_dark(
    tmp_path: Path, said: dict[str, Any], meanwhile: list[Action], cost_s: float
) -> None:
    table = Table(tmp_path, stays_open=True)
    table.take()

    def applied(action: Action, **values: Any) -> None:
        command = Command(command_id=action.kind, action=action, issued_wall_ns=0)
        table.meter.applied(command, Readback(values), table.clock())

    before_s = spent_s(table)
    applied(Pause(), **said)
    for action in meanwhile:
        applied(action)
    table.wait(3000)
    assert spent_s(table) - before_s == pytest.approx(cost_s)
    applied(Resume())
    table.wait(1000)
    assert spent_s(table) - before_s == pytest.approx(cost_s + 0.5)
    table.close()
