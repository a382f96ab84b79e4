"""Where the stage may go, by what the newest frames say of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.acquire.travel import Travel
from stream.acquire.visits import Visits
from stream.acquire.ways import crosses, inside
from stream.acquire.whereabouts import Whereabouts
from stream.clock import wall_ns
from stream.command import Acquire, Action, AddPosition, Cause, Command, MoveStage, Recentre, SetRoi, Target
from stream.config import PlanSettings
from stream.errors import Refused
from stream.frame import Frame, Index
from stream.safety import LimitSettings
from stream.stages import Readback

ZONE = (20.0, 40.0, -10.0, 10.0)
LIMITS = LimitSettings(x_um=(-100, 100), y_um=(-100, 100), z_um=(-5, 5), forbidden_um=(ZONE,))


def frame(stage_um: tuple[float, float, float] = (0.0, 0.0, 0.0), p: int = 0, commands: tuple[str, ...] = ()) -> Frame:
    return Frame(
        "r", "c", "s", 0, 0, f"c:p{p}", 0, np.zeros((5, 5), np.uint8), index=Index(p=p), stage_um=stage_um,
        commands=commands,
    )  # fmt: skip


def command(action: Action, position: int | None = None) -> Command:
    return Command(
        command_id="x", action=action, cause=Cause(), issued_wall_ns=wall_ns(), target=Target(position=position)
    )


def travel(*frames: Frame, limits: LimitSettings = LIMITS) -> Travel:
    where = Whereabouts()
    for one in frames or (frame(),):
        where.took(one)
    return Travel(limits, where)


WAYS = {
    "beside it": (MoveStage(x_um=19.9), None),
    "onto its edge": (MoveStage(x_um=20.0), "is in the forbidden zone"),
    "through it": (MoveStage(x_um=60), "crosses"),
    "around it, up": (MoveStage(y_um=50), None),
    "only the focus": (MoveStage(z_um=3), None),
    "a new place in it": (AddPosition(x_um=30, y_um=0), "is in the forbidden zone"),
    "a new place behind it": (AddPosition(x_um=60, y_um=0), "crosses"),
    "a new place elsewhere": (AddPosition(x_um=0, y_um=60), None),
    "out of the box": (MoveStage(y_um=-101), "y -101 µm is outside"),
}


@pytest.mark.parametrize("case", WAYS)
def test_zones_hold_for_the_goal_and_the_way(case: str) -> None:
    action, says = WAYS[case]
    found = travel().refuses(command(action))
    assert (found is None) if says is None else (says in str(found))


def test_out_of_a_zone_the_stage_may_always_go() -> None:
    inside_it = travel(frame((30.0, 0.0, 0.0)))
    assert inside_it.refuses(command(MoveStage(x_um=0))) is None
    assert inside_it.refuses(command(MoveStage(x_um=31))) is not None


def test_the_ways_between_places_of_the_plan_count() -> None:
    """Position 1 lies behind the zone: seen from there, a move of position 0 past it would cross."""
    two = travel(frame((60.0, 0.0, 0.0), p=1), frame((0.0, 50.0, 0.0), p=0))
    assert two.refuses(command(MoveStage(x_um=0.0, y_um=40.0), position=0)) is None
    assert "crosses" in str(two.refuses(command(MoveStage(x_um=0.0, y_um=0.0), position=0)))


def test_a_recentring_is_judged_by_the_stage_point_that_it_leads_to() -> None:
    """With an ROI in a corner of the sensor the stage goes elsewhere than to the target."""
    corner = replace(frame(), pixels=np.zeros((100, 100), np.uint8), roi_px=(0, 0, 100, 100), sensor_px=(200, 200))
    assert travel(corner).refuses(command(Recentre(target_um=(-20.0, -50.0)))) is not None  # stage (30, 0)
    assert travel(corner).refuses(command(Recentre(target_um=(30.0, 0.0)))) is None  # stage (80, 50), past the zone
    assert "is in" in str(travel().refuses(command(Recentre(target_um=(30.0, 0.0)))))


def test_a_new_geometry_is_not_guessed() -> None:
    where = Whereabouts()
    where.took(frame())
    where.applied(command(SetRoi(roi_px=(0, 0, 2, 2))), Readback({"roi_px": (0, 0, 2, 2)}))
    with pytest.raises(Refused, match="no frame shows yet"):
        where.stage_for((0.0, 0.0))
    where.took(frame(commands=("x",)))
    assert where.stage_for((3.0, 4.0)) == (3.0, 4.0)


def test_a_move_counts_before_its_first_frame() -> None:
    where = Whereabouts()
    where.took(frame())
    where.applied(command(MoveStage(x_um=60)), Readback({"stage_um": (60.0, 0.0, 0.0)}))
    where.took(frame())  # it was on its way already
    assert where.at_um == (60.0, 0.0, 0.0)
    assert "crosses" in str(Travel(LIMITS, where).refuses(command(MoveStage(x_um=0))))
    where.took(frame((60.0, 0.0, 0.0), commands=("x",)))
    where.took(frame((61.0, 0.0, 0.0)))
    assert where.at_um == (61.0, 0.0, 0.0)


def test_without_a_frame_nobody_knows() -> None:
    blind = Travel(LIMITS, Whereabouts())
    assert "no frame shows yet" in str(blind.refuses(command(MoveStage(x_um=1))))
    with pytest.raises(Refused, match="no frame shows yet"):
        blind.refuses(command(Recentre(target_um=(0, 0))))


def test_the_plan_itself_is_checked() -> None:
    def problem(*places: tuple[float, float, float]) -> str | None:
        return Travel(LIMITS, Whereabouts()).visits(Visits(PlanSettings(positions_um=places)))

    assert problem((0, 0, 0), (0, 60, 0)) is None
    assert "is in the forbidden zone" in str(problem((30, 0, 0)))
    assert "crosses" in str(problem((0, 0, 0), (60, 0, 0)))
    assert "x 200 µm is outside" in str(problem((200, 0, 0)))


number = st.floats(-50, 50, allow_nan=False).map(lambda v: round(v, 3))


@settings(max_examples=200, deadline=None)
@given(st.tuples(number, number), st.tuples(number, number))
def test_a_way_crosses_where_one_of_its_points_lies_inside(
    start: tuple[float, float], goal: tuple[float, float]
) -> None:
    points = [
        (start[0] + (goal[0] - start[0]) * t, start[1] + (goal[1] - start[1]) * t) for t in np.linspace(0, 1, 400)
    ]
    if any(inside(point, ZONE) for point in points):
        assert crosses(start, goal, ZONE)
    wider = (ZONE[0] - 1, ZONE[1] + 1, ZONE[2] - 1, ZONE[3] + 1)
    if crosses(start, goal, ZONE):
        assert any(inside(point, wider) for point in points)


def test_an_acquire_is_judged_where_it_brings_the_stage() -> None:
    from useq import MDASequence

    one = MDASequence(z_plan={"range": 2, "step": 1})
    assert "is in" in str(travel().refuses(command(Acquire(sequence=one, at_um=(30.0, 0.0)))))


STACK = {"stage_positions": [[0, 0, 0], [50, 50, 0]], "z_plan": {"range": 4, "step": 2}}
TILES = {"stage_positions": [[0, 0, 0]], "grid_plan": {"rows": 1, "columns": 3}}
ELSEWHERE = {"x": 0, "y": 50, "z": 0, "sequence": {"z_plan": {"relative": [0, 7]}}}
FOV = (15.0, 10.0)
PLANS = {
    "all in order": (STACK, (0, 0, 0), None),
    "a place without a focus": ({"stage_positions": [{"x": 500, "y": 0}, {"x": 0, "y": 0}]}, None, "x 500 µm is out"),
    "planes": (STACK | {"z_plan": {"range": 12, "step": 6}}, None, "z -6 µm is outside"),
    "a position's own planes": ({"stage_positions": [ELSEWHERE]}, None, "z 7 µm is outside"),
    "planes around where the stage is": ({"z_plan": {"range": 4, "step": 2}}, (0, 0, 4), "z 6 µm is outside"),
    "planes around nobody knows what": ({"z_plan": {"range": 4, "step": 2}}, None, None),
    "no number": ({"stage_positions": [[float("nan"), 0, 0]]}, (0, 0, 0), "no place"),
    "tiles in a zone": ({**TILES, "stage_positions": [[10, 0, 0]]}, (0, 0, 0), "(25, 0) µm is in the forbidden zone"),
    "a tile beyond the box": ({**TILES, "stage_positions": [[90, 0, 0]]}, (99, 0, 0), "x 105 µm is outside"),
    "absolute tiles": ({"grid_plan": {"top": 4, "bottom": 0, "left": 0, "right": 130}}, (0, 0, 0), "x 112.5 µm is out"),
    "the way between two tiles": ({**TILES, "stage_positions": [[45, 20, 0], [45, -20, 0]]}, (0, 0, 0), "crosses"),
    "the way from where the stage is": ({"stage_positions": [[60, 0, 0]]}, (0, 0, 0), "crosses"),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "at_um", "says"), PLANS.values(), ids=PLANS)
def test_planes_and_tiles_of_the_plan_are_checked(protocol: dict[str, Any], at_um: Any, says: str | None) -> None:
    plan = PlanSettings.model_validate({"protocol": protocol})
    found = Travel(LIMITS, Whereabouts()).visits(Visits(plan, at_um, FOV if at_um else None))
    assert says in str(found) if says else found is None


def planned(protocol: dict[str, Any], limits: LimitSettings = LIMITS) -> Travel:
    """A rig whose plan begins, and whose first frame has come."""
    where = Whereabouts()
    where.plan(Visits(PlanSettings.model_validate({"protocol": protocol}), (0.0, 0.0, 0.0), FOV))
    x_um, y_um, z_um = protocol["stage_positions"][0]
    where.took(frame((x_um, y_um, z_um), p=0))
    return Travel(limits, where)


TOGETHER: dict[str, tuple[dict[str, Any], Action, int | None, str | None]] = {
    "a stack with its planes": (STACK, MoveStage(z_um=4), 0, "z 6 µm is outside"),
    "a stack as far as it may": (STACK, MoveStage(z_um=3), 0, None),
    "a new stack": (STACK, AddPosition(x_um=0, y_um=60, z_um=-4), None, "z -6 µm is outside"),
    "a new stack at the nearest focus": (
        {**STACK, "stage_positions": [[0, 0, 0], [50, 50, -4]]}, AddPosition(x_um=50, y_um=60), None, "z -6 µm is out",
    ),
    "a new stack at a position's focus": (
        {**STACK, "stage_positions": [[0, 0, 0], [50, 50, -4]]}, AddPosition(x_um=50, y_um=60), 0, None,
    ),
    "a position with planes of its own": (
        {"stage_positions": [[0, 0, 0], ELSEWHERE]}, MoveStage(z_um=-1), 1, "z 6 µm is outside",
    ),
    "another without": ({"stage_positions": [[0, 0, 0], ELSEWHERE]}, MoveStage(z_um=-1), 0, None),
    "tiles beyond the box": (TILES, Recentre(target_um=(0, 95)), 0, None),
    "tiles beyond the box on one side": (TILES, MoveStage(x_um=-90), 0, "x -105 µm is outside"),
    "tiles in a zone": (TILES, Recentre(target_um=(10, 0)), 0, "(25, 0) µm is in the forbidden zone"),
    "new tiles in a zone": (TILES, AddPosition(x_um=10, y_um=0), None, "(25, 0) µm is in the forbidden zone"),
    "past a zone but for a tile": (TILES, MoveStage(x_um=60, y_um=31), 0, "crosses"),
    "past a zone with every tile": (TILES, MoveStage(x_um=60, y_um=39), 0, None),
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "action", "position", "says"), TOGETHER.values(), ids=TOGETHER)
def test_a_position_moves_with_its_planes_and_tiles(
    protocol: dict[str, Any], action: Action, position: int | None, says: str | None
) -> None:
    found = planned(protocol).refuses(command(action, position))
    assert says in str(found) if says else found is None


def test_a_frame_of_a_stack_does_not_move_its_position() -> None:
    """A plane is not the place; what the plan leaves open is reckoned from the plane that was seen."""
    stack = PlanSettings.model_validate({"protocol": {"z_plan": {"range": 4, "step": 2}}})
    told, guessed = Whereabouts(), Whereabouts()
    told.plan(Visits(stack, (1.0, 2.0, 3.0)))
    guessed.plan(Visits(stack))
    top = replace(frame((1.0, 2.0, 5.0)), index=Index(z=2))
    for where in (told, guessed):
        where.took(top)
        assert where.places() == {0: (1.0, 2.0, 3.0)}
        assert where.origin(0) == (1.0, 2.0, 3.0)


def test_a_new_position_counts_before_its_first_frame() -> None:
    """Seen from the stage both are free; from one to the other the plan would drive through the zone."""
    where = Whereabouts()
    where.took(frame((30.0, 90.0, 0.0)))
    one, other = AddPosition(x_um=0, y_um=0), AddPosition(x_um=60, y_um=0)
    assert Travel(LIMITS, where).refuses(command(other)) is None
    where.placed(command(one), Readback({"position": 1, "position_um": (0.0, 0.0, 0.0)}))
    assert "crosses" in str(Travel(LIMITS, where).refuses(command(other)))


def test_a_sequence_is_seen_from_every_place_of_the_plan() -> None:
    """The schedule puts its shots between any two visits."""
    two = travel(frame((0.0, 0.0, 0.0), p=1), frame((60.0, -50.0, 0.0), p=0))
    assert two.stops([(60.0, 0.0, 0.0)]) is not None
    assert two.stops([(60.0, -40.0, 0.0), (0.0, -40.0, 0.0)]) is None
    assert "crosses" in str(two.stops([(60.0, 20.0, 0.0)])), "from the other position"
    assert "crosses" in str(two.stops([(20.0, -40.0, 0.0), (50.0, 20.0, 0.0)])), "from one stop to the next"


def test_a_sequence_leads_no_farther_than_a_move_may() -> None:
    short = LimitSettings(max_move_um=30)
    two = travel(frame((100.0, 0.0, 0.0), p=1), frame(), limits=short)
    assert two.stops([(20.0, 0.0, 0.0), (110.0, 0.0, 0.0)]) is None
    assert "farther than max_move_um" in str(two.stops([(50.0, 0.0, 0.0)]))


def test_two_sequences_beside_the_plan_meet() -> None:
    """Their shots take turns: from a stop of one the stage may go to a stop of the other."""
    where, waits = Whereabouts(), [True]
    where.took(frame((30.0, 90.0, 0.0)))
    where.beside(lambda: waits[0], [(0.0, 0.0, 0.0)])
    assert "crosses" in str(Travel(LIMITS, where).stops([(60.0, 0.0, 0.0)]))
    waits[0] = False
    assert Travel(LIMITS, where).stops([(60.0, 0.0, 0.0)]) is None
