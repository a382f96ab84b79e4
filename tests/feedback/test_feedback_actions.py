"""Actions that take more from the event than its place: its position, a sequence there, a daughter."""

from __future__ import annotations

import tomllib

import pytest
from feedback_cases import event

from stream.command import Acquire, Stimulate
from stream.errors import ConfigError
from stream.event import Context, Point
from stream.feedback.rules import RulesPolicy
from stream.stages import Wish


def rule(do: str) -> RulesPolicy:
    return RulesPolicy.from_data(tomllib.loads(f'[[rule]]\nname = "r"\non = "division"\n[[rule.do]]\n{do}'), "p.toml")


def wishes(do: str, **values: object) -> list[Wish]:
    the = rule(do)
    return list(the.decide(the.start(), event(**values))[1])


@pytest.mark.parametrize(
    ("said", "position"),
    [('position = "event"', "event"), ('position = "all"', "all"), ("position = 3", 3), ("", None)],
)
def test_an_action_may_be_for_one_position(said: str, position: object) -> None:
    (wish,) = wishes(f'kind = "set_interval"\ninterval_ms = 100\n{said}')
    assert wish.position == position


def test_a_sequence_is_taken_where_it_happened() -> None:
    (wish,) = wishes(
        'kind = "acquire"\nat_um = "event.position_um"\n'
        "sequence = {z_plan = {range = 4, step = 2}, channels = [{config = 'nuclei'}]}"
    )
    assert isinstance(wish.action, Acquire)
    assert wish.action.at_um == (3.0, -4.0)
    assert len(list(wish.action.sequence)) == 3


HERE, THERE = (50.0, 60.0), (70.0, 80.0)
DISCS = {
    "the first daughter, where she is now": ("event.daughter", (HERE, THERE), [(50, 60)]),
    "the first, her sister hidden": ("event.daughter", (HERE, None), [(50, 60)]),
    "both": ("event.daughters", (HERE, THERE), [(50, 60), (70, 80)]),
    "both, one of them hidden": ("event.daughters", (None, THERE), [(70, 80)]),
}


@pytest.mark.parametrize(("mask", "seen", "centres"), DISCS.values(), ids=DISCS)
def test_discs_lie_about_the_daughters_in_the_newest_frame(
    mask: str, seen: tuple[Point | None, ...], centres: list[tuple[int, int]]
) -> None:
    now = Context(cells_yx_px=seen)
    (wish,) = wishes(f'kind = "stimulate"\nmask = "{mask}"\nradius_px = 5\nduration_ms = 20', context=now)
    assert isinstance(wish.action, Stimulate)
    for polygon, (y, x) in zip(wish.action.mask_yx_px, centres, strict=True):
        rows, columns = {row for row, _ in polygon}, {column for _, column in polygon}
        assert (min(rows), max(rows), min(columns), max(columns)) == (y - 5, y + 5, x - 5, x + 5)


HIDDEN: dict[str, tuple[str, tuple[Point | None, ...], tuple[int, ...]]] = {
    "the first daughter: her sister is not lit for her": ("event.daughter", (None, THERE), (8, 9)),
    "neither: nobody is lit where they were born": ("event.daughter", (None, None), (8, 9)),
    "both": ("event.daughters", (None, None), (8, 9)),
    "a cell that does not divide": ("event.cell", (None,), ()),
}


@pytest.mark.parametrize(("mask", "seen", "daughter_ids"), HIDDEN.values(), ids=HIDDEN)
def test_who_is_not_in_sight_is_not_lit(
    mask: str, seen: tuple[Point | None, ...], daughter_ids: tuple[int, ...]
) -> None:
    now = Context(cells_yx_px=seen)
    do = f'kind = "stimulate"\nmask = "{mask}"\nduration_ms = 20'
    assert wishes(do, context=now, daughter_ids=daughter_ids) == []


def test_a_rule_that_found_nobody_to_light_does_not_rest() -> None:
    the = RulesPolicy.from_data(
        tomllib.loads(
            '[[rule]]\nname = "r"\non = "division"\ncooldown_s = 10\n'
            'do = [{kind = "stimulate", mask = "event.daughter", duration_ms = 20}]'
        )
    )
    state, _ = the.decide(the.start(), event(context=Context(cells_yx_px=(None, THERE))))
    _, (wish,) = the.decide(state, event(parent=5, at_s=1.0, context=Context(cells_yx_px=(HERE, None))))
    assert isinstance(wish.action, Stimulate)


def test_without_a_context_a_disc_lies_where_the_daughter_was_born() -> None:
    (wish,) = wishes('kind = "stimulate"\nmask = "event.daughter"\nradius_px = 1\nduration_ms = 20')
    assert isinstance(wish.action, Stimulate)
    assert {column for _, column in wish.action.mask_yx_px[0]} == {0, 1, 2}


def test_cells_that_are_not_there_are_not_lit() -> None:
    assert wishes('kind = "stimulate"\nmask = "event.daughter"\nduration_ms = 20', daughter_ids=()) == []


REFUSED = {
    "unknown cell": ('kind = "stimulate"\nmask = "event.sister"\nduration_ms = 1', "did you mean"),
    "no radius": ('kind = "stimulate"\nmask = "event.daughter"\nradius_px = 0\nduration_ms = 1', "radius_px"),
    "both a mask and polygons": (
        'kind = "stimulate"\nmask = "event.daughter"\nmask_yx_px = [[[0, 0], [0, 1], [1, 0]]]\nduration_ms = 1',
        "give either mask or mask_yx_px",
    ),
    "unknown position": ('kind = "pause"\nposition = "here"', "position"),
    "a misspelt sequence": (
        'kind = "acquire"\nsequence = { z_plan = { rang = 8.0, step = 4.0 } }',
        "unknown key 'z_plan.rang'; did you mean 'range'?",
    ),
    "no sequence": ('kind = "acquire"\nat_um = "event.position_um"', "sequence"),
}


@pytest.mark.parametrize(("do", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_when_it_is_read(do: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rule(do)
