"""What a sequence would do, before it is done."""

from __future__ import annotations

from typing import Any

import pytest
from useq import MDASequence

from drivers.micromanager.course import asides
from stream.acquire.outline import outline
from stream.errors import Refused
from stream.layout import laid_out

BASE = (10.0, 20.0, 3.0)


def test_a_stack_in_two_channels() -> None:
    sequence = MDASequence(
        channels=[{"config": "A", "exposure": 5}, {"config": "B", "exposure": 30}], z_plan={"range": 4, "step": 2}
    )
    found = outline(sequence, BASE, 10.0, 100)
    assert (found.frames, found.shortest_ms, found.longest_ms, found.light_ms) == (6, 5, 30, 105)
    assert {z for *_, z in found.stops_um} == {1.0, 3.0, 5.0}
    assert {(x, y) for x, y, _ in found.stops_um} == {(10.0, 20.0)}


def test_a_burst_takes_its_time_and_the_exposure_that_is_set() -> None:
    found = outline(MDASequence(time_plan={"interval": 0.5, "loops": 4}), BASE, 10.0, 100)
    assert (found.frames, found.light_ms, found.duration_ms) == (4, 40.0, 1510.0)


FOV = (100.0, 50.0)
PLACES = {
    "a grid, in images whatever it says": (
        {"grid_plan": {"rows": 1, "columns": 2, "fov_width": 10, "fov_height": 10}},
        {(-40.0, 20.0, 3.0), (60.0, 20.0, 3.0)},
    ),
    "a width, in images": (
        {"grid_plan": {"width": 150, "height": 40}},
        {(-40.0, 20.0, 3.0), (60.0, 20.0, 3.0)},
    ),
    "absolute positions": ({"stage_positions": [(70, 80, 1)]}, {(70.0, 80.0, 1.0)}),
    "positions that leave an axis open": (
        {"stage_positions": [{"x": 70, "y": 80}], "z_plan": {"range": 2, "step": 1}},
        {(70.0, 80.0, 2.0), (70.0, 80.0, 3.0), (70.0, 80.0, 4.0)},
    ),
    "a position's own tiles": (
        {"stage_positions": [{"x": 70, "y": 80, "sequence": {"grid_plan": {"rows": 2, "columns": 1}}}]},
        {(70.0, 105.0, 3.0), (70.0, 55.0, 3.0)},
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_every_place_is_named_as_the_driver_lays_it_out(case: str) -> None:
    plans, expected = PLACES[case]
    sequence = MDASequence(**plans)
    assert set(outline(sequence, BASE, 10.0, 100, FOV).stops_um) == expected
    shots = asides(laid_out(sequence, BASE, FOV), "look", 0)
    assert {(shot.event.x_pos, shot.event.y_pos, shot.event.z_pos) for shot in shots} == expected


VAGUE = {
    "tiles of unknown size": ({"grid_plan": {"rows": 2, "columns": 2}}, None, "how large an image is"),
    "no number": ({"stage_positions": [(float("nan"), 0, 0)]}, FOV, "which is no place"),
    "no end": ({"z_plan": {"absolute": [float("inf")]}}, FOV, "which is no place"),
    "points by chance": ({"grid_plan": {"num_points": 3, "max_width": 9, "max_height": 9}}, FOV, "random_seed"),
    "points by chance in wells": (
        {"stage_positions": {
            "plate": "96-well", "a1_center_xy": [0, 0], "selected_wells": [[0], [0]],
            "well_points_plan": {"num_points": 3},
        }}, FOV, "random_seed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("plans", "fov_um", "says"), VAGUE.values(), ids=VAGUE)
def test_what_cannot_be_known_before_is_refused(plans: dict[str, Any], fov_um: Any, says: str) -> None:
    with pytest.raises(Refused, match=says):
        outline(MDASequence(**plans), BASE, 10.0, 100, fov_um)


def test_absolute_planes_are_absolute() -> None:
    found = outline(MDASequence(z_plan={"absolute": [1, 2]}), BASE, 10.0, 100)
    assert {z for *_, z in found.stops_um} == {1.0, 2.0}


def test_a_shutter_that_stays_open_is_light_all_the_time() -> None:
    plans = {"time_plan": {"interval": 0.5, "loops": 3}, "keep_shutter_open_across": ("t",)}
    assert outline(MDASequence(**plans), BASE, 10.0, 100).light_ms == 1010.0


ENDLESS = {
    "frames": {"time_plan": {"interval": 0, "loops": 10**9}},
    "phases": {"time_plan": [{"interval": 0, "loops": 10**9}, {"interval": 1, "loops": 2}]},
    "a duration": {"time_plan": {"interval": 1e-6, "duration": 1e6}},
    "planes": {"z_plan": {"range": 1e9, "step": 1e-3}},
    "tiles": {"grid_plan": {"rows": 10**6, "columns": 10**6}},
    "tiles of a width": {"grid_plan": {"width": 3000, "height": 3000, "fov_width": 3000, "fov_height": 3000}},
    "a position's own planes": {"stage_positions": [{"sequence": {"z_plan": {"range": 1e9, "step": 1e-3}}}]},
    "just one too many": {"time_plan": {"interval": 0, "loops": 6}},
    "all left out": {
        "channels": [{"config": "A", "acquire_every": 10**6}],
        "time_plan": {"interval": 0, "loops": 2000},
        "z_plan": {"range": 1000, "step": 1},
    },
}


@pytest.mark.parametrize("case", ENDLESS)
def test_what_is_too_long_is_refused_before_it_is_laid_out(case: str) -> None:
    with pytest.raises(Refused, match="max_frames = 5"):
        outline(MDASequence(**ENDLESS[case]), BASE, 10.0, 5, FOV)


def test_device_properties_are_not_for_feedback() -> None:
    class Sly(MDASequence):
        def __iter__(self):  # type: ignore[no-untyped-def]
            for event in super().__iter__():
                yield event.replace(properties=[("LED", "Power", 100)])

    with pytest.raises(Refused, match="sets device properties"):
        outline(Sly(time_plan={"interval": 0, "loops": 2}), BASE, 10.0, 5)
