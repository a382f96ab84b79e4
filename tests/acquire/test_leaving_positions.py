"""A position that has had its light is left at once; the others keep theirs, also after a restart of the rig."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.virtual.driver import VirtualDriver
from stream import command as c
from stream.acquire.dose import DoseLedger
from stream.acquire.spending import Spending
from stream.config import Configuration
from stream.facts.rig import RigFacts
from stream.settings import parse
from tests.cases.rig_bench import RigBench, rig_bench

CAMERA = {
    "driver": "virtual",
    "options": {"seed": 3, "cells": 3, "fields": 2, "size_px": [96, 96], "pixel_um": 0.65, "truth_dir": None},
}
PLACES = [[-31.0, 0.0, 0.0], [31.0, 0.0, 0.0]]
PLAN = {
    "mode": "mda", "interval_ms": 400.0, "exposure_ms": 5.0, "light_power": 0.5, "positions_um": PLACES,
    "channels": ["nuclei", "cytoplasm"],
}  # fmt: skip
BUDGET_S = 0.1
Start = Callable[[], AbstractContextManager[RigBench]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @contextmanager
    def begin() -> Iterator[RigBench]:
        dose = {"budget_full_power_s": BUDGET_S}
        with rig_bench(tmp_path, VirtualDriver(), camera=CAMERA, plan=PLAN, dose=dose) as rig:
            yield rig

    return begin


def lit(rig: RigBench, field: str) -> list[tuple[int, float]]:
    """Number and power of the lit frames of a field."""
    return rig.rows("SELECT id, light_power FROM frames WHERE field = ? AND light_power > 0 ORDER BY id", field)


def field_of(rig: RigBench, position: int) -> str:
    rows = rig.rows("SELECT DISTINCT field FROM frames WHERE field LIKE ?", f"%:p{position}")
    assert len(rows) == 1
    return str(rows[0][0])


def own(rig: RigBench) -> list[tuple[Any, ...]]:
    """What the rig did of its own accord."""
    return rig.rows(
        "SELECT kind, t.state FROM commands "
        "JOIN transitions AS t USING (command_id) WHERE origin = 'rig' AND t.final ORDER BY t.id"
    )


def test_the_others_keep_their_light(start: Start) -> None:
    with start() as rig:
        rig.wait(lambda: rig.taken() > 4)
        assert rig.ask(c.SetInterval(interval_ms=20), "operator", target=c.Target(position=0)).state == "applied"
        rig.wait(lambda: own(rig))
        first, second = field_of(rig, 0), field_of(rig, 1)
        rig.wait(lambda: lit(rig, second)[-1][0] > lit(rig, first)[-1][0] + 4)
        assert own(rig) == [("drop_position", "applied")]
        spent_s = rig.status()["dose"]["fields"][first]["full_power_s"]
        assert 0.5 * BUDGET_S < spent_s <= BUDGET_S
        refused = rig.ask(c.AddPosition(x_um=-31.0, y_um=0.0), "operator", target=c.Target(position=0))
        assert (refused.state, "had its light budget" in refused.reason) == ("refused", True)
        rig.wait(lambda: ("set_light", "applied") in own(rig))
        assert own(rig)[1:] == [("drop_position", "refused"), ("set_light", "applied")], "the last one goes dark"
        spent_s = rig.status()["dose"]["fields"][second]["full_power_s"]
        assert 0.5 * BUDGET_S < spent_s <= BUDGET_S


def test_two_tiles_of_a_position_leave_it_once() -> None:
    config = parse(Configuration, {"plan": PLAN, "dose": {"budget_full_power_s": BUDGET_S}}, "test")
    ledger, ordered = DoseLedger(config.dose, {}, 0.5), list[tuple[str, int | None]]()

    def order(action: c.Action, command_id: str, reason: str, target: c.Target | None = None) -> None:
        ordered.append((action.kind, target.position if target else None))

    spending = Spending(config, ledger, order, lambda name, data: None)
    spending.begun_dark(["Camera:p0g1", "Camera:p0g2", "Camera:p1"])
    assert ordered == [("drop_position", 0), ("drop_position", 1)]
    assert all(ledger.is_left(field) for field in ("Camera:p0g1", "Camera:p0g2", "Camera:p1"))


def test_after_a_restart_only_what_has_light_left_is_lit(start: Start, tmp_path: Path) -> None:
    with start() as rig:
        rig.wait(lambda: rig.taken() > 4)
        field, other = field_of(rig, 0), field_of(rig, 1)
    facts = RigFacts(tmp_path)
    facts.light(field, 1e3 * BUDGET_S)
    facts.close()
    with start() as rig:
        newest = rig.rows("SELECT max(id) FROM frames")[0][0]
        rig.wait(lambda: ("set_light", "applied") in own(rig))
        rig.wait(lambda: lit(rig, other)[-1][0] > newest + 4)
        assert [number for number, _ in lit(rig, field) if number > newest] == []
        assert own(rig)[:2] == [("drop_position", "applied"), ("set_light", "applied")]
