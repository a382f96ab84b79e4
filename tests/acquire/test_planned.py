"""Configurations that contradict themselves are refused before anything is opened, and the doctor says the same."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from stream.acquire import node
from stream.acquire.planned import contradictions
from stream.config import Configuration
from stream.doctor import advice
from stream.errors import ConfigError
from stream.settings import parse
from stream.surroundings import Surroundings

POSSIBLE: dict[str, Any] = {
    "plan": {"exposure_ms": 100, "interval_ms": 200, "light_power": 0.5, "channels": ["a", "b"]},
    "limits": {"exposure_ms": [1, 100], "interval_ms": [200, 1000], "light_power": [0, 0.5], "x_um": [-10, 10]},
    "watch": {"metrics": False},
}


def config(**tables: dict[str, Any]) -> Configuration:
    return parse(
        Configuration,
        {name: {**POSSIBLE.get(name, {}), **tables.get(name, {})} for name in {*POSSIBLE, *tables}},
        "test",
    )


def test_what_lies_on_the_limits_is_possible() -> None:
    assert not list(contradictions(config(plan={"positions_um": [[10, 0, 0]]}, chain={"segment_channel": "b"})))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"plan": {"exposure_ms": 101}}, r"exposure_ms 101 ms is outside the limits 1 to 100 ms.*could not go back"),
        ({"plan": {"interval_ms": 100}}, r"interval_ms 100 ms is outside the limits 200 to 1000 ms"),
        ({"plan": {"light_power": 0.6}}, r"light_power 0.6 of full power is outside the limits 0 to 0.5"),
        ({"plan": {"positions_um": [[0, 0, 0], [11, 0, 0]]}}, r"\[plan\] leads where \[limits\] lets nothing go: x 11"),
        ({"limits": {"forbidden_um": [[4, 6, 4, 6]]}, "plan": {"positions_um": [[5, 5, 0]]}}, "lets nothing go"),
        (
            {"chain": {"segment_channel": "c"}},
            r"waits for the channel 'c', which \[plan\] channels does not take: a, b",
        ),
        ({"chain": {"measure_channels": ["a", "c"]}}, "waits for the channel 'c'"),
    ],
)
def test_a_contradiction_is_refused_and_is_a_problem(
    tables: dict[str, dict[str, Any]], said: str, tmp_path: Path
) -> None:
    impossible = config(**tables)
    (problem,) = contradictions(impossible)
    assert re.search(said, problem)
    assert problem in advice.problems(impossible, None)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        node.run(impossible, Surroundings(tmp_path, lambda *_: None, threading.Event(), tmp_path))
    assert not list(tmp_path.iterdir())
