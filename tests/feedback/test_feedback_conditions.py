"""What conditions hold for: the context of an event, the quiet before it, the clock."""

from __future__ import annotations

import copy
import tomllib
from math import nan

import pytest
from feedback_cases import event

from stream.errors import ConfigError
from stream.event import TICK, Context, Event
from stream.feedback.rules import RulesPolicy
from stream.stages import Policy

ON = 'on = "division.confirmed"'
KNOWN = Context(
    area_mm2=0.5,
    mean_counts=(200.0, 900.0),
    states=(0.1, 0.3, 0.8, nan),
    in_state=(90, 2, 4, 0),
    dividing=3,
    pending=1,
    generation=2,
    age_s=50.0,
    exposed_ms=400.0,
)


def policy(text: str) -> RulesPolicy:
    return RulesPolicy.from_data(tomllib.loads(text), "p.toml")


def rule(conditions: str) -> RulesPolicy:
    return policy(f'[[rule]]\nname = "r"\n{conditions}\ndo = [{{kind = "pause"}}]\n')


def tick(at_s: float, field: str = "Camera:p0", dividing: int = 0) -> Event:
    return event(kind=TICK, parent=0, at_s=at_s, field=field, context=Context(area_mm2=1.0, dividing=dividing))


def fired(the: Policy, *events: Event) -> list[int]:
    """Return how many wishes follow each event."""
    state, answers = the.start(), []
    for one in events:
        state, wishes = the.decide(state, one)
        answers.append(len(wishes))
    return answers


MATCHES = {
    "dense enough": ("density = {min = 200}", KNOWN, True),
    "not dense enough": ("density = {min = 201}", KNOWN, False),
    "density unknown": ("density = {min = 0}", None, False),
    "a picture without a size": ("density = {min = 0}", Context(area_mm2=0.0), False),
    "a picture without a size, of which nothing is asked": ("", Context(area_mm2=0.0), True),
    "dim": ("intensity = {max = 300}", KNOWN, True),
    "another channel": ("intensity = {max = 300, channel = 1}", KNOWN, False),
    "a channel that is not measured": ("intensity = {max = 300, channel = 2}", KNOWN, False),
    "newborn": ("state = {newborn = {min = 0.8}}", KNOWN, True),
    "two states": ("state = {newborn = {min = 0.8}, mitosis = {max = 0.2}}", KNOWN, False),
    "a state that nobody knows": ("state = {dead = {max = 1}}", KNOWN, False),
    "many in a state": ("in_state = {mitosis = {min = 2}}", KNOWN, True),
    "dividing": ("dividing = {min = 4}", KNOWN, False),
    "nothing awaits another word": ("pending = {max = 0}", KNOWN, False),
    "deep in the family": ("generation = {min = 2}", KNOWN, True),
    "a founder": ("generation = {max = 0}", KNOWN, False),
    "young": ("age_s = {max = 50}", KNOWN, True),
    "age unknown": ("age_s = {min = 0}", Context(), False),
    "spared so far": ("exposed_ms = {max = 399}", KNOWN, False),
    "nothing asked of an unknown context": ("", None, True),
}


@pytest.mark.parametrize(("conditions", "context", "fires"), MATCHES.values(), ids=MATCHES)
def test_a_rule_asks_how_things_stand(conditions: str, context: Context | None, fires: bool) -> None:
    assert fired(rule(f"{ON}\n{conditions}"), event(context=context)) == [fires]


QUIET = {
    "since a kind": ("quiet_s = {division = 10}", [0, 0, 0, 1]),
    "since anything, a warning too": ("quiet_s = 10", [0, 0, 0, 0]),
    "the same, as bounds": ("quiet_s = {min = 10}", [0, 0, 0, 0]),
    "lately": ("quiet_s = {division = {max = 7}}", [0, 1, 0, 0]),
    "lately, of a kind that never was": ("quiet_s = {death = {max = 100}}", [0, 0, 0, 0]),
    "since a kind that never was: since the field is known": ("quiet_s = {death = 13}", [0, 0, 0, 1]),
}


@pytest.mark.parametrize(("conditions", "answers"), QUIET.values(), ids=QUIET)
def test_quiet_is_counted_in_each_field_from_the_last_word(conditions: str, answers: list[int]) -> None:
    the = rule(f'on = "frame"\n{conditions}')
    events = [
        tick(0.0),
        event("provisional", at_s=1.0),
        tick(6.0),
        event("retracted", kind="death", at_s=7.0),  # what was taken back was nothing
        event("confirmed", at_s=100.0, field="Camera:p1"),
        event("provisional", kind="exit", at_s=8.0),  # cells at the edge leave all the time
        event("provisional", kind="mitosis", at_s=9.0),
        tick(9.0),
        tick(13.0),
    ]
    assert [n for one, n in zip(events, fired(the, *events), strict=True) if one.kind == TICK] == answers


def test_the_clock_fires_when_a_condition_begins_in_a_field_and_once() -> None:
    the = rule('on = "frame"\ndividing = {min = 1}')
    assert the.on_frames
    answers = fired(
        the, tick(0), tick(1, dividing=1), tick(2, dividing=2), tick(2, "Camera:p1", dividing=1), tick(3),
        tick(4, dividing=1),
    )  # fmt: skip
    assert answers == [0, 1, 0, 1, 0, 1]


def test_a_rule_on_frames_says_it_again_as_often_as_it_should() -> None:
    the = rule('on = "frame"\ndividing = {min = 1}\nagain_s = 5')
    assert fired(the, *(tick(t, dividing=1) for t in (0, 4, 5, 9, 10.5)), tick(20)) == [1, 0, 1, 0, 1, 0]


def test_a_beginning_is_not_lost_while_the_rule_cools_down() -> None:
    the = rule('on = "frame"\ndividing = {min = 1}\ncooldown_s = 10')
    assert fired(the, tick(0, dividing=1), tick(1), tick(2, dividing=1), tick(10, dividing=1)) == [1, 0, 0, 1]


AFTER = """
[[rule]]
name = "fast"
on = "division.provisional"
per_field = true
do = [{kind = "pause"}]
[[rule]]
name = "back"
on = "frame"
after = "fast"
quiet_s = {division = 2}
do = [{kind = "resume"}]
"""


def test_a_rule_comes_once_after_another_in_its_own_field() -> None:
    answers = fired(
        policy(AFTER), tick(0), tick(5), event("provisional", at_s=6), tick(7), tick(9, "Camera:p1"), tick(9), tick(10)
    )
    assert answers == [0, 0, 1, 0, 0, 1, 0]


BOTH = """
[[rule]]
name = "dim"
on = "frame"
quiet_s = {mitosis = 4}
dividing = {max = 0}
do = [{kind = "pause"}]
[[rule]]
name = "bright"
on = ["frame", "mitosis.provisional"]
after = "dim"
dividing = {min = 1}
do = [{kind = "resume"}]
"""


def warning(at_s: float, field: str = "Camera:p0") -> Event:
    return event("provisional", kind="mitosis", at_s=at_s, field=field, context=Context(dividing=1))


def test_a_rule_on_frames_and_events_comes_once_after_another() -> None:
    assert fired(policy(BOTH), tick(0), tick(5), warning(5.5), tick(6, dividing=1)) == [0, 1, 1, 0]


def test_a_rule_on_frames_and_events_comes_after_another_in_its_own_field() -> None:
    events = (tick(0), tick(0, "Camera:p1"), tick(5), warning(5.5, "Camera:p1"), tick(6, "Camera:p1", 1), warning(6))
    assert fired(policy(BOTH), *events) == [0, 0, 1, 0, 0, 1]


def test_a_rule_on_frames_and_events_rests_after_either() -> None:
    the = rule('on = ["frame", "mitosis.provisional"]\ndividing = {min = 1}\ncooldown_s = 10')
    events = (tick(0, dividing=1), warning(0.1), tick(1), tick(2, dividing=1), warning(9), warning(10.4))
    assert fired(the, *events) == [1, 0, 0, 0, 0, 1]


def test_a_policy_for_events_does_not_ask_for_the_clock() -> None:
    assert not rule(ON).on_frames


REFUSED = {
    "unknown state": ("state = {newbron = {min = 1}}", "unknown state 'newbron'"),
    "unknown kind": ("quiet_s = {divison = 3}", "unknown event 'divison'"),
    "no number": ('quiet_s = "long"', "quiet_s"),
    "a channel before the first": ("intensity = {max = 1, channel = -1}", "channel"),
    "crossed": ("density = {min = 3, max = 1}", "min 3 is above max 1"),
    "after nobody": ('after = "gone"', "comes after an unknown rule 'gone'"),
}


@pytest.mark.parametrize(("conditions", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_is_refused(conditions: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rule(f"{ON}\n{conditions}")


def test_deciding_on_frames_is_pure() -> None:
    the, state = policy(AFTER), policy(AFTER).start()
    for one in (tick(0), event("provisional", at_s=1), tick(4), tick(5)):
        before = copy.deepcopy(state)
        first = the.decide(state, one)
        assert the.decide(state, one) == first
        assert state == before
        state = first[0]
