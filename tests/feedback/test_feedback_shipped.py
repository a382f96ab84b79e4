"""The shipped policies for whole nights, without a microscope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feedback_cases import event

from stream.command import Recentre, SetInterval, SetLight, Stimulate
from stream.config import load
from stream.event import TICK, Context, Event
from stream.feedback.load import load_policy
from stream.feedback.rules import RulesPolicy
from stream.stages import Policy, Wish

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def tick(at_s: float, field: str = "Camera:p0", **context: Any) -> Event:
    return event(kind=TICK, parent=0, at_s=at_s, field=field, position_um=(0.0, 0.0), context=Context(**context))


def asked(the: Policy, *events: Event) -> list[list[Wish]]:
    state, answers = the.start(), []
    for one in events:
        state, wishes = the.decide(state, one)
        answers.append(list(wishes))
    return answers


def paces(answers: list[list[Wish]]) -> list[list[float | None]]:
    return [[w.action.interval_ms for w in wishes if isinstance(w.action, SetInterval)] for wishes in answers]


def test_catch_mitosis_is_fast_at_one_position_from_the_first_sign_to_young_nuclei() -> None:
    the = RulesPolicy.read(EXAMPLES / "policies" / "catch_mitosis.toml")
    answers = asked(
        the,
        tick(0.0),
        tick(1.5, dividing=1),
        tick(1.6, "Camera:p1"),
        event("provisional", at_s=2.0, context=Context(dividing=2)),
        tick(2.2, dividing=2),
        event("confirmed", at_s=2.6),
        tick(2.6),
        tick(3.0),
        tick(3.2),
    )
    assert paces(answers) == [[], [200.0], [], [200.0], [], [], [], [], [None]]
    assert all(w.position == "event" for wishes in answers for w in wishes if isinstance(w.action, SetInterval))
    assert [w.action.kind for w in answers[3]] == ["set_interval", "acquire"]


def test_catch_mitosis_needs_no_network() -> None:
    the = RulesPolicy.read(EXAMPLES / "policies" / "catch_mitosis.toml")
    warned = event("provisional", kind="mitosis", at_s=1.0)
    assert paces(asked(the, tick(0.0), warned, tick(1.2), tick(2.0))) == [[], [200.0], [], [None]]


def test_spare_the_light_is_slow_and_dim_until_something_divides() -> None:
    the = RulesPolicy.read(EXAMPLES / "policies" / "spare_the_light.toml")
    answers = asked(the, tick(0.0), tick(4.0), tick(5.0), tick(6.0, dividing=1), tick(6.2, dividing=1), tick(11.0))
    lights = [[w.action.power for w in wishes if isinstance(w.action, SetLight)] for wishes in answers]
    assert paces(answers) == [[], [1000.0], [], [None], [], [1000.0]]
    assert lights == [[], [0.25], [], [0.5], [], [0.25]]


def test_spare_the_light_spares_a_quiet_position_and_not_one_where_something_divides() -> None:
    the = RulesPolicy.read(EXAMPLES / "policies" / "spare_the_light.toml")
    quiet, busy = "Camera:p0", "Camera:p1"
    times_s = (0.0, 3.0, 4.0, 5.0)
    told = [one for t in times_s for one in (tick(t, busy, dividing=1), tick(t, quiet))]
    answers = asked(the, *told, tick(6.0, busy), tick(8.0, busy), tick(8.1, quiet))
    power = 0.5
    for one, wishes in zip(told, answers, strict=False):
        for wish in wishes:
            if isinstance(wish.action, SetLight) and wish.action.power is not None:
                power = wish.action.power
            else:
                assert (one.field, wish.action.kind, wish.position) == (quiet, "set_interval", "event")
    assert power == 0.5  # dimmed where the one fell quiet, and back where the other still divides
    assert paces(answers[len(told) :]) == [[1000.0], [], []]


def test_stimulate_one_daughter_lights_the_first_one_once() -> None:
    the = RulesPolicy.read(EXAMPLES / "policies" / "stimulate_one_daughter.toml")
    now = Context(cells_yx_px=((40.0, 50.0), (60.0, 70.0)))
    answers = asked(the, event("provisional", context=now), event(at_s=1.0, context=now), event(at_s=1.1, context=now))
    assert [len(wishes) for wishes in answers] == [0, 1, 0]
    (wish,) = answers[1]
    assert isinstance(wish.action, Stimulate)
    rows, columns = zip(*wish.action.mask_yx_px[0], strict=True)
    assert (min(rows) + max(rows), min(columns) + max(columns)) == (80, 100)


def test_follow_lineage_goes_after_the_daughters_and_nobody_else() -> None:
    _, the = load_policy("follow_lineage.py:FollowLineage", EXAMPLES / "policies")
    near, far = ((8, (5.0, 0.0)), (9, (9.0, 0.0))), ((8, (30.0, 0.0)), (9, (40.0, 8.0)), (5, (-90.0, 0.0)))
    answers = asked(
        the,
        tick(0.0, places_um=far),
        event(parent=7, daughter_ids=(8, 9), at_s=1.0),
        tick(4.0, places_um=near),
        tick(5.0, places_um=far),
        tick(5.5, places_um=far),
        tick(9.0, "Camera:p1", places_um=far),
        event(parent=5, daughter_ids=(10, 11), at_s=9.0),
        event(parent=9, daughter_ids=(12, 13), at_s=10.0, position_um=(7.0, 7.0)),
    )
    moves = [[w.action for w in wishes] for wishes in answers]
    assert moves == [
        [], [Recentre(target_um=(3.0, -4.0))], [], [Recentre(target_um=(35.0, 4.0))], [], [], [],
        [Recentre(target_um=(7.0, 7.0))],
    ]  # fmt: skip


def test_follow_lineage_gives_up_a_family_that_is_out_of_sight_for_long() -> None:
    _, the = load_policy("follow_lineage.py:FollowLineage", EXAMPLES / "policies")
    founded = event(parent=7, daughter_ids=(8, 9), at_s=0.0)
    other = event(parent=20, daughter_ids=(21, 22), at_s=90.0)
    far = tick(95.0, places_um=((8, (90.0, 0.0)), (21, (40.0, 0.0)), (22, (40.0, 0.0))))
    gone = [tick(1.0 + t, places_um=((20, (5.0, 0.0)),)) for t in range(20)]
    back = tick(50.0, places_um=((9, (5.0, 0.0)),))

    def moves(*events: Event) -> list[list[Wish]]:
        return [[w.action for w in wishes] for wishes in asked(the, founded, *events, other, far)][-2:]

    assert moves(*gone) == [[Recentre(target_um=(3.0, -4.0))], [Recentre(target_um=(40.0, 0.0))]]
    assert moves(*gone[:-1], back, gone[0]) == [[], [Recentre(target_um=(90.0, 0.0))]]


def test_follow_divider_follows_the_living_and_begins_anew_after_the_last() -> None:
    _, the = load_policy("follow_divider.py:FollowDivider", EXAMPLES / "policies")
    events = [
        event(parent=7, daughter_ids=(8, 9)),
        event(kind="death", parent=8, daughter_ids=()),
        event(parent=20, daughter_ids=(21, 22)),  # of another family
        event(parent=9, daughter_ids=(10, 11)),
        event("provisional", kind="exit", parent=10, daughter_ids=()),
        event(kind="exit", parent=10, daughter_ids=()),
        event(kind="death", parent=11, daughter_ids=()),
        event(parent=21, daughter_ids=(23, 24), field="Camera:p1"),
    ]
    assert [len(wishes) for wishes in asked(the, *events)] == [1, 0, 0, 1, 0, 0, 0, 1]
    state, sizes = the.start(), []
    for one in events:
        state, _ = the.decide(state, one)
        sizes.append(len(state[1]) if state else 0)
    assert sizes == [2, 1, 1, 2, 2, 1, 0, 2]


@pytest.mark.parametrize(
    "name", ["catch_mitosis", "follow_lineage", "spare_the_light", "stimulate_one_daughter", "virtual"]
)
def test_every_rehearsal_ships_with_policies_that_load(name: str) -> None:
    config = load(EXAMPLES / f"{name}.toml")
    assert [load_policy(spec, EXAMPLES)[0] for spec in config.feedback.policies]
