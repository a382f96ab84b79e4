"""What a visit consists of: useq's own events, sorted by position and time point."""

from __future__ import annotations

from typing import Any

import pytest
from useq import MDASequence

from drivers.micromanager.course import Course, asides
from stream.config import PlanSettings
from stream.errors import Refused

STAGE = (10.0, 20.0, 30.0)
FOV = (100.0, 50.0)


def course(**protocol: Any) -> Course:
    return Course(PlanSettings.model_validate({"protocol": protocol}), STAGE, FOV)


def events(found: Course, position: int, t: int) -> list[tuple[Any, ...]]:
    return [
        (s.event.channel and s.event.channel.config, s.event.x_pos, s.event.y_pos, s.event.z_pos, type(s.event.action))
        for part in found.parts(position, t)
        for s in part.items
    ]


PROTOCOLS: dict[str, dict[str, Any]] = {
    "channels and a stack": {"channels": ["a", "b"], "z_plan": {"range": 2, "step": 1}},
    "tiles": {"grid_plan": {"rows": 2, "columns": 3, "overlap": 10}},
    "now and then": {"channels": ["a", {"config": "b", "acquire_every": 3}, {"config": "c", "acquire_every": 2}]},
    "one plane of a channel": {
        "channels": ["a", {"config": "b", "do_stack": False, "z_offset": 0.5}],
        "z_plan": {"above": 2, "below": 2, "step": 1},
    },
    "positions with sequences of their own": {
        "channels": ["a"],
        "stage_positions": [
            {"x": 0, "y": 0, "z": 0, "name": "one"},
            {"x": 5, "y": 6, "z": 7, "sequence": {"z_plan": {"range": 2, "step": 1}}},
            {"x": 9, "y": 9, "z": 9, "sequence": {"grid_plan": {"rows": 1, "columns": 2}, "channels": ["d"]}},
        ],
    },
    "autofocus at each position": {"stage_positions": [[0, 0, 0], [1, 1, 1]], "autofocus_plan": {"axes": ["p"]}},
    "autofocus at each time": {"channels": ["a", "b"], "autofocus_plan": {"axes": ["t"]}},
    "channel by channel": {
        "axis_order": "tcpz",
        "channels": ["a", "b"],
        "stage_positions": [[0, 0, 0], [1, 1, 1]],
        "z_plan": {"range": 2, "step": 1},
    },
    "position by position": {"axis_order": "ptc", "channels": ["a", "b"], "stage_positions": [[0, 0, 0], [1, 1, 1]]},
}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_all_visits_together_are_what_useq_lays_out(protocol: dict[str, Any]) -> None:
    loops = 14
    found = course(**protocol, time_plan={"interval": 1, "loops": loops})
    wanted = list(found.sequence.replace(time_plan={"interval": 1, "loops": loops}).iter_events())
    by_visit: dict[tuple[int, int], list[Any]] = {}
    for event in wanted:
        place = (event.index.get("p", 0), event.index.get("t", 0))
        by_visit.setdefault(place, []).append(
            (event.channel and event.channel.config, event.x_pos, event.y_pos, event.z_pos, type(event.action))
        )
    assert {p for p, _ in by_visit} <= set(found.spots)
    for p in found.spots:
        for t in range(loops):
            assert events(found, p, t) == by_visit.get((p, t), []), (p, t)
        images = [e for (q, _), visit in by_visit.items() if q == p for e in visit if e[-1].__name__ == "AcquireImage"]
        assert found.images(p, loops) == len(images)


def test_what_is_left_open_is_where_the_stage_is() -> None:
    found = course(stage_positions=[{"x": 1, "y": 2}], z_plan={"relative": [0, 1]})
    assert [event[1:4] for event in events(found, 0, 0)] == [(1, 2, 30), (1, 2, 31)]
    found = course(grid_plan={"rows": 1, "columns": 2})
    assert [event[1:4] for event in events(found, 0, 0)] == [(-40, 20, 30), (60, 20, 30)]
    assert course(channels=["a"]).spots[0].planned_um is None


def test_parts_are_what_nothing_of_another_position_comes_between() -> None:
    plan: dict[str, Any] = {"channels": ["a", "b"], "stage_positions": [[0, 0], [1, 1]]}
    assert [len(part.items) for part in course(**plan).parts(0, 0)] == [2]
    by_channel = course(**plan, axis_order="tcp")
    assert [(part.order, len(part.items)) for part in by_channel.parts(1, 0)] == [((0, 1), 1), ((1, 1), 1)]


def test_a_position_more_has_the_protocols_planes_and_its_own_number() -> None:
    found = course(stage_positions=[[0, 0, 0], [1, 1, 1]], z_plan={"relative": [0, 2]}, channels=["a"])
    number = found.add((7.0, 8.0, 9.0))
    assert number == 2
    assert [event[1:4] for event in events(found, 2, 5)] == [(7, 8, 9), (7, 8, 11)]
    assert {shot.index.p for part in found.parts(2, 0) for shot in part.items} == {2}


FIXED = {
    "an absolute grid": ({"grid_plan": {"top": 0, "bottom": 9, "left": 0, "right": 9}}, (0.0, 0.0, 1.0), "x"),
    "absolute planes": ({"stage_positions": [[0, 0, 0]], "z_plan": {"absolute": [1, 2]}}, (0.0, 0.0, 1.0), "z"),
}


@pytest.mark.parametrize(("protocol", "to", "axis"), FIXED.values(), ids=FIXED)
def test_absolute_places_are_not_moved(protocol: dict[str, Any], to: tuple[float, ...], axis: str) -> None:
    found = course(**protocol)
    place = found.spots[0].planned_um
    assert place is not None
    with pytest.raises(Refused, match=f"absolute places in {axis}"):
        found.move(0, (place[0] + (axis == "x"), place[1], place[2] + (axis == "z")))


def test_a_position_with_absolute_tiles_lies_at_its_first_one() -> None:
    """It lay at the origin, where a move of its focus then drove the stage."""
    found = course(grid_plan={"top": 500, "bottom": 410, "left": 300, "right": 390})
    assert found.spots[0].planned_um == pytest.approx((350, 475, 30))


def test_sequences_beside_the_plan_count_their_own_time_points() -> None:
    sequence = MDASequence.model_validate(
        {"stage_positions": [(1, 2, 3)], "time_plan": {"interval": 0.5, "loops": 2}, "z_plan": {"range": 2, "step": 1}}
    )
    shots = asides(sequence, "look", 4)
    assert [(s.index.t, s.index.p, s.index.z, s.aside) for s in shots] == [
        (t, 4, z, "look") for t in range(2) for z in range(3)
    ]
    assert [s.event.min_start_time for s in shots] == [0.0] * 3 + [0.5] * 3
