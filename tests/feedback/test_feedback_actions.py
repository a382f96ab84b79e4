"""Actions that take more from the event than its place: its position, a sequence there, a daughter."""

from __future__ import annotations

import tomllib

import pytest
from feedback_cases import event

from stream.command import Acquire, Stimulate
from stream.errors import ConfigError
from stream.event import Context
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


DISCS = {
    "the first daughter, where she is now": ("event.daughter", [(50, 60)]),
    "both": ("event.daughters", [(50, 60), (70, 80)]),
}


@pytest.mark.parametrize(("mask", "centres"), DISCS.values(), ids=DISCS)
def test_discs_lie_about_the_daughters_in_the_newest_frame(mask: str, centres: list[tuple[int, int]]) -> None:
    now = Context(cells_yx_px=((50.0, 60.0), (70.0, 80.0)))
    (wish,) = wishes(f'kind = "stimulate"\nmask = "{mask}"\nradius_px = 5\nduration_ms = 20', context=now)
    assert isinstance(wish.action, Stimulate)
    for polygon, (y, x) in zip(wish.action.mask_yx_px, centres, strict=True):
        rows, columns = {row for row, _ in polygon}, {column for _, column in polygon}
        assert (min(rows), max(rows), min(columns), max(columns)) == (y - 5, y + 5, x - 5, x + 5)


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
