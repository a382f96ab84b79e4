"""A policy read from a TOML file: when this happens there, under these conditions, wish for that.

::

    [[rule]]
    name = "look closer"
    on = "division.confirmed"           # kind.status; a kind alone: any status; "frame": see below; or a list of these
    where = {x_um = [-100, 100]}        # place: x_um, y_um, field
    confidence = {min = 0.7}
    count = {max = 500}                 # cells alive in the field
    pending = {max = 0}                 # events of this kind that are still provisional in the field, after this frame
    cooldown_s = 10                     # by the run's own time, so that a replay decides the same
    priority = 1
    max_age_ms = 500
    [[rule.do]]
    kind = "recentre"                   # any action of stream.command; here target_um is the event's place

The other conditions are described in :mod:`stream.feedback.conditions`, what actions may take from an event in
:mod:`stream.feedback.actions`.

``on = "frame"`` is a clock: the rule is asked after every decided frame of a field, and fires when its conditions begin
to hold there, not again while they go on holding; with ``again_s`` also then, so often: a command may have been lost.

``after = "look closer"``, or a list, lets a rule fire only once after each time that a rule of this name fired.
``per_field = true`` lets ``cooldown_s`` and ``after`` count for each field alone; a rule on frames always does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from stream.command import Action
from stream.errors import ConfigError
from stream.event import KINDS, STATUSES, TICK, Event
from stream.feedback.actions import Template, known_name
from stream.feedback.conditions import Conditions, Past
from stream.settings import Settings, parse, read_toml
from stream.stages import Wish


class RuleText(Conditions):
    """The keys of a ``[[rule]]``."""

    name: str = Field(min_length=1)
    on: str | tuple[str, ...]
    after: tuple[str, ...] = ()
    again_s: float | None = Field(default=None, gt=0)
    per_field: bool = False
    cooldown_s: float = Field(default=0.0, ge=0)
    priority: int = 0
    max_age_ms: float | None = Field(default=None, gt=0)
    do: tuple[dict[str, Any], ...] = Field(min_length=1)

    @field_validator("after", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class PolicyText(Settings):
    """The keys of a policy file."""

    rule: tuple[dict[str, Any], ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule."""

    text: RuleText
    triggers: frozenset[tuple[str, str]]
    actions: tuple[Template, ...]

    @property
    def on_frames(self) -> bool:
        """Whether the clock triggers it."""
        return (TICK, "confirmed") in self.triggers

    @property
    def per_field(self) -> bool:
        """Whether its past counts for each field alone."""
        return self.text.per_field or self.on_frames

    def scope(self, event: Event) -> str:
        """Return the field for which the rule's past counts; empty: for all of them."""
        return event.field if self.per_field else ""

    def wishes(self, event: Event) -> list[Wish]:
        """Return what the rule asks for. Raises PolicyError where the event's place makes no action."""
        filled = ((template, template.fill(event)) for template in self.actions)
        return [self._wish(template, action) for template, action in filled if action is not None]

    def _wish(self, template: Template, action: Action) -> Wish:
        text = self.text
        priority = text.priority if template.priority is None else template.priority
        max_age_ms = text.max_age_ms if template.max_age_ms is None else template.max_age_ms
        return Wish(action, priority=priority, max_age_ms=max_age_ms, reason=text.name, position=template.position)


@dataclass(frozen=True, slots=True)
class RulesState:
    """What has been so far, by the run's time; nothing in it is ever changed."""

    fired_s: Mapping[tuple[int, str], float] = field(default_factory=dict)
    """When each rule last fired, by its number and scope."""
    owed: frozenset[tuple[int, str]] = frozenset()
    """Rules that may fire because the rule that they come after did, by number and scope."""
    holding: frozenset[tuple[int, str]] = frozenset()
    """Rules that fired on a frame and whose conditions have held ever since, by number and field."""
    past: Past = field(default_factory=Past)


class RulesPolicy:
    """Rules in the order of their file; each that holds adds its wishes."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    @classmethod
    def read(cls, path: Path) -> RulesPolicy:
        """Read a policy file.

        Raises
        ------
        ConfigError
            Names the rule and the key, and for an unknown one the nearest known.
        """
        return cls.from_data(read_toml(path), str(path))

    @classmethod
    def from_data(cls, data: Mapping[str, Any], where: str = "policy") -> RulesPolicy:
        """Check plain data, as TOML holds it. Raises ConfigError."""
        tables = parse(PolicyText, data, where).rule
        rules = [_rule(table, f"{where}: rule {_title(table, number)}") for number, table in enumerate(tables, 1)]
        names = [rule.text.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{where}: two rules are called '{name}'; commands name their rule, so rename one")
        for rule in rules:
            for name in rule.text.after:
                known_name(name, names, f"{where}: rule '{rule.text.name}' comes after an unknown rule")
        return cls(rules)

    @property
    def on_frames(self) -> bool:
        """Whether a rule asks for the clock."""
        return any(rule.on_frames for rule in self.rules)

    def start(self) -> RulesState:
        """Return the state before the first event."""
        return RulesState()

    def decide(self, state: RulesState, event: Event) -> tuple[RulesState, Sequence[Wish]]:
        """Return the next state and what is wished for. Raises PolicyError."""
        state = replace(state, past=state.past.with_event(event))
        wishes: list[Wish] = []
        for number, rule in enumerate(self.rules):
            if (event.kind, event.status) not in rule.triggers:
                continue
            if not rule.text.hold(event, state.past):
                state = replace(state, holding=state.holding - {(number, event.field)})
            elif self._may_fire(state, number, event) and (asked := rule.wishes(event)):
                wishes += asked
                state = self._fired(state, number, event)
        return state, wishes

    def _may_fire(self, state: RulesState, number: int, event: Event) -> bool:
        rule = self.rules[number]
        text, scope = rule.text, rule.scope(event)
        fired_s = state.fired_s.get((number, scope))
        if _cooling(fired_s, event.elapsed_s, text.cooldown_s):
            return False
        if text.again_s and fired_s is not None and event.elapsed_s - fired_s >= text.again_s:
            return True
        if text.after:
            return (number, scope) in state.owed
        return event.kind != TICK or (number, event.field) not in state.holding

    def _fired(self, state: RulesState, number: int, event: Event) -> RulesState:
        """Note that a rule fired: when, and that those that come after it may."""
        rule = self.rules[number]
        due = {
            (follower, other.scope(event))
            for follower, other in enumerate(self.rules)
            if rule.text.name in other.text.after
        }
        return replace(
            state,
            fired_s={**state.fired_s, (number, rule.scope(event)): event.elapsed_s},
            owed=(state.owed - {(number, rule.scope(event))}) | due,
            holding=state.holding | ({(number, event.field)} if event.kind == TICK else set()),
        )


def _cooling(fired_s: float | None, now_s: float, cooldown_s: float) -> bool:
    """Whether a rule rests; fields are a little out of step, so an event may come from just before the last one."""
    return fired_s is not None and abs(now_s - fired_s) < cooldown_s


def _title(table: Mapping[str, Any], number: int) -> str:
    return f"'{table['name']}'" if "name" in table else str(number)


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    text = parse(RuleText, table, where)
    on = (text.on,) if isinstance(text.on, str) else text.on
    if not on:
        raise ConfigError(f"{where}: 'on' names no event: the rule would never fire")
    triggers = frozenset(pair for name in on for pair in _trigger(name, where))
    templates = [Template.read(do, f"{where}, do {number}") for number, do in enumerate(text.do, 1)]
    return Rule(text, triggers, tuple(templates))


def _trigger(name: str, where: str) -> list[tuple[str, str]]:
    if name == TICK:
        return [(TICK, "confirmed")]
    kind, dot, status = name.partition(".")
    known_name(kind, (*KINDS, TICK), f"{where}: 'on' names an unknown event")
    if not dot:
        return [(kind, status) for status in STATUSES]
    known_name(status, STATUSES, f"{where}: 'on' names an unknown status")
    return [(kind, status)]
