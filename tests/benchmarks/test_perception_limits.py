"""When the figures of the development sequences fail, and what is shown of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.perception import CEILINGS, FLOORS, HELA, PSC, Case, calibrated, missed, unbelievable
from benchmarks.perception_table import COLUMNS, DIVISION_SHOWN, ON_CARD, table
from stream.score.asof import Outcomes
from stream.score.folder import Words
from stream.score.reliability import TITLES

NUCLEI = Case("nuclei", HELA)
GOOD = {**NUCLEI.floors, **NUCLEI.ceilings}
MISSED: dict[str, tuple[dict[str, float | None], list[str]]] = {
    "all as asked": ({}, []),
    "a floor": ({"division_f1": 0.5}, ["nuclei on Fluo-N2DL-HeLa/02: division_f1 0.500 is below 0.915"]),
    "a ceiling": ({"retract_rate": 0.5}, ["nuclei on Fluo-N2DL-HeLa/02: retract_rate 0.500 is above 0.03"]),
    "better than asked": ({"CT": 1.0, "ece": 0.0}, []),
    "not measured": ({"ece": None}, ["nuclei on Fluo-N2DL-HeLa/02: ece none is above 0.08"]),
}


@pytest.mark.parametrize(("changed", "expected"), MISSED.values(), ids=MISSED.keys())
def test_what_is_missed_is_named(changed: dict[str, Any], expected: list[str]) -> None:
    assert missed(NUCLEI, {**GOOD, **changed}) == expected


@pytest.mark.parametrize("model", ["nuclei", "nuclei-fast", "phase", "phase-fast"])
def test_every_shipped_network_has_the_limits_of_divisions(model: str) -> None:
    key = (model, HELA if model.startswith("nuclei") else PSC, None)
    assert FLOORS[key].keys() >= {"division_f1", "f1_asof_1", "f1_asof_3", "CHOTA", "CT", "TRA", "DET"}
    assert CEILINGS[key].keys() == {"retract_rate", "false_confirmed_per_1000", "ece"}


def test_pooled_confidences_must_be_believable() -> None:
    assert unbelievable({}) == []
    assert unbelievable({"first word": {"all": {"ece": 0.07}}, "warning": {}}) == []
    assert unbelievable({"confirmed": {"all": {"ece": 0.2}}}) == ["confirmed, pooled: ece 0.200 is above 0.07"]


def test_false_confirmations_are_shown_everywhere() -> None:
    assert {"false_confirmed_per_1000"} <= set(DIVISION_SHOWN) & set(ON_CARD) & set(COLUMNS)
    head, _, row = table([{"model": "nuclei", "false_confirmed_per_1000": 1.25}]).splitlines()
    place = [cell.strip() for cell in head.split("|")].index("false_confirmed_per_1000")
    assert row.split("|")[place].strip() == "1.250"


def test_confidences_are_pooled_by_what_states_them() -> None:
    sure: Outcomes = (np.array([0.9, 0.9]), np.ones(2))
    unsure: Outcomes = (np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    nothing: Outcomes = (np.zeros(0), np.zeros(0))
    silent: dict[Words, Outcomes] = dict.fromkeys(TITLES, nothing)
    pooled = calibrated(
        {
            "a": {"a movie": {**silent, "first word": sure, "confirmed": sure}},
            "b": {"a movie": {**silent, "first word": unsure}},
        }
    )
    assert pooled["first word"]["a"]["brier"] == pytest.approx(0.01)
    assert pooled["first word"]["all"]["events"] == 4
    assert pooled["first word"]["all"]["brier"] == pytest.approx((0.01 + 0.25) / 2)
    assert pooled["first word"]["all"]["brier_of_best_constant"] == pytest.approx(3 / 16)
    assert pooled["confirmed"].keys() == {"a", "all"}
    assert all(pooled[words] == {} for words in ("warning", "exit", "death"))
