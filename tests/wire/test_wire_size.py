"""A sequence that would take long to read is refused unread."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from stream.errors import Malformed
from stream.wire.link import note
from stream.wire.requests import read_request
from stream.wire.size import require_readable


def said(sequence: Any) -> str:
    return json.dumps({"command_id": "x", "issued_wall_ns": 1, "action": {"kind": "acquire", "sequence": sequence}})


def wells(points: Any, selected: Any = ((0,), (0,)), plate: Any = "96-well") -> dict[str, Any]:
    return {
        "stage_positions": {
            "plate": plate, "a1_center_xy": [0, 0], "selected_wells": selected, "well_points_plan": points,
        }
    }  # fmt: skip


ALL_WELLS = [[row for row in range(8) for _ in range(12)], [column for _ in range(8) for column in range(12)]]
TOO_LARGE = {
    "random points of a well": wells({"num_points": 4000, "random_seed": 1}),
    "as text": wells({"num_points": "4e3", "random_seed": 1}),
    "nobody knows how many": wells({"num_points": float("nan")}),
    "a number beyond numbers": wells({"num_points": 10**400}),
    "many wells": wells({"rows": 11, "columns": 11}, ALL_WELLS),
    "random points of many wells": wells({"num_points": 60, "random_seed": 1}, ALL_WELLS),
    "random points without room": wells({"num_points": 9, "random_seed": 1, "allow_overlap": False}, ALL_WELLS),
    "wells by rows": wells({"rows": 20, "columns": 20}, [0, 1, 2]),
    "wells by rows times columns": wells({"rows": 20, "columns": 20}, [[[0], [1]], [0, 1, 2, 3]]),
    "a plate of many wells": wells({}, plate={"rows": 10**6, "columns": 10**6, "well_spacing": 9, "well_size": 3}),
    "random tiles": {"grid_plan": {"num_points": 1000, "max_width": 9, "max_height": 9}},
    "a position's own": {"stage_positions": [{"x": 0, "y": 0, "sequence": wells({"num_points": 4000})}]},
    "many together": {"stage_positions": [{"sequence": wells({"num_points": 100})} for _ in range(5)]},
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_takes_long_to_read_is_refused_at_once(case: str) -> None:
    began = time.perf_counter()
    with pytest.raises(Malformed, match=r"its sequence has .* at most"):
        read_request(b"me", note("command", {"name": "x", "id": "7", "command": said(TOO_LARGE[case])}))
    assert time.perf_counter() - began < 0.5


def test_no_spelling_gets_around_it() -> None:
    with pytest.raises(Malformed, match="at most"):
        require_readable(said(wells({"num_points": 4000})).replace('"sequence"', '"\\u0073equence"'))


SMALL = {
    "a plate": wells({"rows": 3, "columns": 3}, ALL_WELLS),
    "random points": wells({"num_points": 130, "random_seed": 1}),
    "tiles, for the guard to refuse": {"grid_plan": {"rows": 10**6, "columns": 10**6}},
    "a long time, for the guard to refuse": {"time_plan": {"interval": 1, "loops": 10**9}},
}


@pytest.mark.parametrize("case", SMALL)
def test_what_takes_no_time_is_read(case: str) -> None:
    request = read_request(b"me", note("command", {"name": "x", "id": "7", "command": said(SMALL[case])}))
    assert request.request_id == "7"


@pytest.mark.parametrize("text", ['{"sequence"', '"sequence"' + "[" * 100_000, '{"sequence": ' + "9" * 5000 + "}"])
def test_what_cannot_be_sized_is_not_read(text: str) -> None:
    with pytest.raises(Malformed, match="not a command"):
        require_readable(text)


@pytest.mark.parametrize("text", ["{", "[]", '{"sequence": 1}', '[{"sequence": "x"}]'])
def test_other_faults_are_left_to_the_reader(text: str) -> None:
    require_readable(text)
