"""Policy files: what fires, what does not, and what is refused when it is read."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from feedback_cases import event

from stream.command import MoveStage, Recentre, SetExposure, SetInterval
from stream.errors import ConfigError, PolicyError
from stream.event import Context, Event
from stream.feedback.rules import RulesPolicy
from stream.stages import Policy, Wish

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples" / "policies"
RECENTRE = 'do = [{kind = "recentre"}]'


def policy(text: str) -> RulesPolicy:
    return RulesPolicy.from_data(tomllib.loads(text), "p.toml")


def rule(conditions: str, do: str = RECENTRE) -> RulesPolicy:
    return policy(f'[[rule]]\nname = "r"\n{conditions}\n{do}\n')


def run(the: Policy, *events: Event) -> list[list[str]]:
    """Return the kinds wished for after each event."""
    state, answers = the.start(), []
    for one in events:
        state, wishes = the.decide(state, one)
        answers.append([wish.action.kind for wish in wishes])
    return answers


ON = 'on = "division.confirmed"'
MATCHES = {
    "the status": (ON, event(), True),
    "another status": (ON, event("provisional"), False),
    "another kind": (ON, event(kind="death"), False),
    "a kind alone": ('on = "division"', event("retracted"), True),
    "a list": ('on = ["death", "division.confirmed"]', event(), True),
    "a list, none of it": ('on = ["death", "division.retracted"]', event(), False),
    "inside x": (f"{ON}\nwhere = {{x_um = [3, 5]}}", event(), True),
    "outside x": (f"{ON}\nwhere = {{x_um = [4, 5]}}", event(), False),
    "outside y": (f"{ON}\nwhere = {{y_um = [0, 5]}}", event(), False),
    "the field": (f'{ON}\nwhere = {{field = "Camera:p*"}}', event(), True),
    "another field": (f'{ON}\nwhere = {{field = "Camera:p1"}}', event(), False),
    "sure enough": (f"{ON}\nconfidence = {{min = 0.9}}", event(), True),
    "not sure enough": (f"{ON}\nconfidence = {{min = 0.91}}", event(), False),
    "confidence unknown": (f"{ON}\nconfidence = {{min = 0.1}}", event(confidence=float("nan")), False),
    "few enough": (f"{ON}\ncount = {{min = 5, max = 100}}", event(), True),
    "too many": (f"{ON}\ncount = {{max = 99}}", event(), False),
}


@pytest.mark.parametrize(("text", "one", "fires"), MATCHES.values(), ids=MATCHES)
def test_a_rule_fires_where_all_its_conditions_hold(text: str, one: Event, fires: bool) -> None:
    assert run(rule(text), one) == [["recentre"] if fires else []]


@pytest.mark.parametrize(
    ("times_s", "fires"),
    [
        ([0, 9.9, 10], [1, 0, 1]),
        ([0, 5, 12], [1, 0, 1]),
        ([20, 19.5], [1, 0]),  # a field that is a little behind
    ],
)
def test_cooldown_counts_from_the_last_firing_by_the_runs_time(times_s: list[float], fires: list[int]) -> None:
    answers = run(rule(f"{ON}\ncooldown_s = 10"), *(event(at_s=t) for t in times_s))
    assert [len(a) for a in answers] == fires


def test_a_condition_that_fails_starts_no_cooldown() -> None:
    answers = run(rule(f"{ON}\ncooldown_s = 10\nconfidence = {{min = 0.5}}"), event(confidence=0.1), event(at_s=1))
    assert [len(a) for a in answers] == [0, 1]


def pending(number: int) -> Context:
    """So many events of the kind are still open."""
    return Context(pending=number)


def test_pending_asks_for_the_events_that_are_still_open() -> None:
    last = rule('on = ["division.confirmed", "division.retracted"]\npending = {max = 0}')
    answers = run(
        last,
        event("provisional", parent=1, context=pending(1)),
        event("confirmed", parent=1, context=pending(1)),
        event("retracted", parent=2, context=pending(0)),
    )
    assert [len(a) for a in answers] == [0, 0, 1]


ACTIONS = {
    "recentre without a target": ('kind = "recentre"', Recentre(target_um=(3.0, -4.0))),
    "recentre by name": ('kind = "recentre"\ntarget_um = "event.position_um"', Recentre(target_um=(3.0, -4.0))),
    "recentre elsewhere": ('kind = "recentre"\ntarget_um = [1, 2]', Recentre(target_um=(1.0, 2.0))),
    "half a reference": ('kind = "recentre"\ntarget_um = ["event.x_um", 9]', Recentre(target_um=(3.0, 9.0))),
    "one axis": ('kind = "move_stage"\ny_um = "event.y_um"', MoveStage(y_um=-4.0)),
    "fixed": ('kind = "set_exposure"\nexposure_ms = 40', SetExposure(exposure_ms=40.0)),
}


@pytest.mark.parametrize(("do", "action"), ACTIONS.values(), ids=ACTIONS)
def test_actions_are_filled_from_the_event(do: str, action: Any) -> None:
    the = rule(ON, f"[[rule.do]]\n{do}")
    _, wishes = the.decide(the.start(), event())
    assert [wish.action for wish in wishes] == [action]


def test_a_wish_carries_its_rules_name_priority_and_age() -> None:
    the = rule(
        f"{ON}\npriority = 2\nmax_age_ms = 300",
        '[[rule.do]]\nkind = "pause"\n[[rule.do]]\nkind = "resume"\npriority = 5\nmax_age_ms = 50',
    )
    _, (pause, resume) = the.decide(the.start(), event())
    assert (pause.reason, pause.priority, pause.max_age_ms) == ("r", 2, 300.0)
    assert (resume.reason, resume.priority, resume.max_age_ms) == ("r", 5, 50.0)


def test_a_place_that_is_no_number_raises_instead_of_moving() -> None:
    the = rule(ON)
    with pytest.raises(PolicyError, match="recentre for Camera:p0/f12/division/7"):
        the.decide(the.start(), event(position_um=(float("nan"), 0.0)))


R = f'[[rule]]\nname="r"\n{ON}'
REFUSED = {
    "no rule": ("", "'rule'"),
    "misspelt rule": (f'[[rules]]\nname="r"\n{ON}\n{RECENTRE}', "unknown key 'rules'; did you mean 'rule'"),
    "misspelt key": (f'{R}\ncooldown = 3\n{RECENTRE}', "rule 'r': unknown key 'cooldown'; .*'cooldown_s'"),
    "misspelt place": (f'{R}\nwhere={{x=[0,1]}}\n{RECENTRE}', r"unknown key 'where\.x'"),
    "unknown event": (f'[[rule]]\nname="r"\non="divison.confirmed"\n{RECENTRE}', "'divison'; did you mean 'division'"),
    "unknown status": (f'[[rule]]\nname="r"\non="division.sure"\n{RECENTRE}', "unknown status 'sure'"),
    "no event": (f'[[rule]]\nname="r"\non=[]\n{RECENTRE}', "would never fire"),
    "no name": (f"[[rule]]\n{ON}\n{RECENTRE}", "rule 1: 'name'"),
    "no action": (R, "rule 'r': 'do'"),
    "unknown action": (f'{R}\ndo=[{{kind="recenter"}}]', "rule 'r', do 1: .* did you mean 'recentre'"),
    "no kind": (f'{R}\ndo=[{{exposure_ms=1}}]', "do 1: has no 'kind'"),
    "misspelt value": (
        f'{R}\ndo=[{{kind="set_exposure", exposure=1}}]',
        r"do 1 \('set_exposure'\): .*unknown key 'exposure'; did you mean 'exposure_ms'",
    ),
    "impossible value": (
        f'{R}\ndo=[{{kind="set_exposure", exposure_ms=-1}}]',
        r"rule 'r', do 1 \('set_exposure'\): 'exposure_ms' .*greater than 0 \(got -1\)",
    ),
    "impossible light": (f'{R}\ndo=[{{kind="set_light", power=1.5}}]', "'power' .*less than or equal to 1"),
    "second action": (
        f'{R}\ndo=[{{kind="pause"}}, {{kind="set_exposure"}}]', r"do 2 \('set_exposure'\): 'exposure_ms'"
    ),
    "unknown reference": (
        f'{R}\ndo=[{{kind="recentre", target_um="event.position"}}]', "did you mean 'event.position_um'"
    ),
    "reference of another type": (
        f'{R}\ndo=[{{kind="set_exposure", exposure_ms="event.position_um"}}]', "'exposure_ms'"
    ),
    "moves nothing": (f'{R}\ndo=[{{kind="move_stage"}}]', "moves no axis"),
    "lights nothing": (f'{R}\ndo=[{{kind="set_light"}}]', "changes nothing"),
    "bounds crossed": (f'{R}\ncount={{min=5, max=1}}\n{RECENTRE}', "min 5 is above max 1"),
    "place crossed": (f'{R}\nwhere={{x_um=[5, 1]}}\n{RECENTRE}', "ends before it begins"),
    "negative cooldown": (f'{R}\ncooldown_s=-1\n{RECENTRE}', "'cooldown_s'"),
    "age of zero": (f'{R}\ndo=[{{kind="pause", max_age_ms=0}}]', "'max_age_ms' must be above 0"),
    "twice the same name": (f'{R}\n{RECENTRE}\n' * 2, "two rules are called 'r'"),
    "not a number": (f'{R}\nconfidence={{min=nan}}\n{RECENTRE}', "confidence.min"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^p\\.toml: .*{message}"):
        policy(text)


def test_a_missing_and_a_torn_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
        RulesPolicy.read(tmp_path / "gone.toml")
    (tmp_path / "torn.toml").write_text("[[rule]\n")
    with pytest.raises(ConfigError, match=r"torn\.toml: not TOML"):
        RulesPolicy.read(tmp_path / "torn.toml")


@pytest.mark.parametrize("name", ["catch_division", "spare_the_light", "before_the_split"])
def test_deciding_is_pure(name: str) -> None:
    """The same state and event give the same answer, and neither is changed."""
    the = RulesPolicy.read(EXAMPLES / f"{name}.toml")
    state = the.start()
    for status, at_s in [("provisional", 0.0), ("confirmed", 0.2), ("confirmed", 20.0), ("retracted", 40.0)]:
        one = event(status, at_s=at_s, cell_count=400)
        before, seen = copy.deepcopy(state), copy.deepcopy(one)
        first = the.decide(state, one)
        assert the.decide(state, one) == first
        assert (state, one) == (before, seen)
        state = first[0]


def test_catch_division_looks_closer_follows_and_looks_away() -> None:
    the = RulesPolicy.read(EXAMPLES / "catch_division.toml")
    answers = run(
        the,
        event("provisional", parent=1, at_s=0.0, context=pending(1)),
        event("provisional", parent=2, at_s=0.1, context=pending(2)),
        event("confirmed", parent=1, at_s=0.3, context=pending(1)),
        event("retracted", parent=2, at_s=0.4, context=pending(0)),
        event("provisional", parent=3, at_s=6.0, context=pending(1)),
        event("confirmed", parent=3, at_s=6.2, context=pending(0)),
    )
    assert answers == [["set_exposure"], [], ["recentre"], ["set_exposure"], ["set_exposure"], ["set_exposure"]]


def test_spare_the_light_slows_and_dims_a_crowded_field() -> None:
    the = RulesPolicy.read(EXAMPLES / "spare_the_light.toml")
    answers = run(the, event(), event(cell_count=300, at_s=1.0), event(cell_count=300, at_s=2.0))
    assert answers == [[], ["set_interval", "set_light"], []]
    assert all(isinstance(wish, Wish) for wish in the.decide(the.start(), event(cell_count=300))[1])


def test_before_the_split_is_fast_while_a_division_is_expected() -> None:
    the = RulesPolicy.read(EXAMPLES / "before_the_split.toml")
    state, asked = the.start(), []
    for status, parent, left in [
        ("provisional", 1, 1),
        ("provisional", 2, 2),
        ("confirmed", 1, 1),
        ("retracted", 2, 0),
    ]:
        state, wishes = the.decide(state, event(status, kind="mitosis", parent=parent, context=pending(left)))
        asked.append([wish.action.interval_ms for wish in wishes if isinstance(wish.action, SetInterval)])
    assert asked == [[100.0], [100.0], [], [500.0]]


@pytest.mark.parametrize("name", ["catch_division", "spare_the_light"])
@pytest.mark.parametrize("kind", ["mitosis", "death", "exit"])
def test_a_policy_for_divisions_does_not_react_to_anything_else(name: str, kind: str) -> None:
    the = RulesPolicy.read(EXAMPLES / f"{name}.toml")
    others = [event(status, kind=kind, cell_count=400) for status in ("provisional", "confirmed", "retracted")]
    assert run(the, *others) == [[], [], []]
