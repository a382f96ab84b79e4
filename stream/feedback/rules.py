"""A policy read from a TOML file: when this happens there, under these conditions, wish for that.

::

    [[rule]]
    name = "look closer"
    on = "division.confirmed"           # kind.status; a kind alone: any status; or a list of these
    where = {x_um = [-100, 100]}        # place: x_um, y_um, field
    confidence = {min = 0.7}
    count = {max = 500}                 # cells alive in the field
    pending = {max = 0}                 # events of this kind that are still provisional in the field, after this one
    cooldown_s = 10                     # by the run's own time, so that a replay decides the same
    priority = 1
    max_age_ms = 500
    [[rule.do]]
    kind = "recentre"                   # any action of stream.command; here target_um is the event's place
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from stream.command import Action
from stream.config import Settings, parse, read_toml
from stream.errors import ConfigError
from stream.event import KINDS, STATUSES, Event
from stream.feedback.actions import Template, known_name
from stream.stages import Wish

OpenEvent = tuple[str, str, str]
"""Field, kind and id of an event that is still provisional."""


class Bounds(Settings):
    """Inclusive; an absent side is open."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: nothing can match")
        return self

    def hold(self, value: float) -> bool:
        """Whether the value lies between; NaN never does, unless both sides are open."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class Place(Settings):
    """Where an event must be; ``field`` may hold wildcards (``Camera:p*``)."""

    x_um: tuple[float, float] | None = None
    y_um: tuple[float, float] | None = None
    field: str = "*"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for side in (self.x_um, self.y_um):
            if side and side[0] > side[1]:
                raise ValueError(f"{list(side)} ends before it begins: nothing can match")
        return self

    def hold(self, event: Event) -> bool:
        """Whether the event happened here."""
        sides = zip((self.x_um, self.y_um), event.position_um, strict=True)
        return fnmatchcase(event.field, self.field) and all(
            side is None or side[0] <= value <= side[1] for side, value in sides
        )


class RuleText(Settings):
    """The keys of a ``[[rule]]``."""

    name: str = Field(min_length=1)
    on: str | tuple[str, ...]
    where: Place = Place()
    confidence: Bounds = Bounds()
    count: Bounds = Bounds()
    pending: Bounds = Bounds()
    cooldown_s: float = Field(default=0.0, ge=0)
    priority: int = 0
    max_age_ms: float | None = Field(default=None, gt=0)
    do: tuple[dict[str, Any], ...] = Field(min_length=1)


class PolicyText(Settings):
    """The keys of a policy file."""

    rule: tuple[dict[str, Any], ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule."""

    text: RuleText
    triggers: frozenset[tuple[str, str]]
    actions: tuple[Template, ...]

    def holds(self, event: Event, pending: int) -> bool:
        """Whether the event is one that the rule waits for, the cooldown left aside."""
        text = self.text
        return (
            (event.kind, event.status) in self.triggers
            and text.where.hold(event)
            and text.confidence.hold(event.confidence)
            and text.count.hold(event.cell_count)
            and text.pending.hold(pending)
        )

    def wishes(self, event: Event) -> list[Wish]:
        """Return what the rule asks for. Raises PolicyError where the event's place makes no action."""
        return [self._wish(template, template.fill(event)) for template in self.actions]

    def _wish(self, template: Template, action: Action) -> Wish:
        text = self.text
        priority = text.priority if template.priority is None else template.priority
        max_age_ms = text.max_age_ms if template.max_age_ms is None else template.max_age_ms
        return Wish(action, priority=priority, max_age_ms=max_age_ms, reason=text.name)


@dataclass(frozen=True, slots=True)
class RulesState:
    """When each rule last fired, by the run's time, and which events are still provisional."""

    fired_s: tuple[float | None, ...]
    open: frozenset[OpenEvent] = frozenset()


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
        return cls(rules)

    def start(self) -> RulesState:
        """Return the state before the first event."""
        return RulesState((None,) * len(self.rules))

    def decide(self, state: RulesState, event: Event) -> tuple[RulesState, Sequence[Wish]]:
        """Return the next state and what is wished for. Raises PolicyError."""
        open_now = _still_open(state.open, event)
        pending = sum((field, kind) == (event.field, event.kind) for field, kind, _ in open_now)
        fired_s = list(state.fired_s)
        wishes: list[Wish] = []
        for number, rule in enumerate(self.rules):
            if rule.holds(event, pending) and not _cooling(fired_s[number], event.elapsed_s, rule.text.cooldown_s):
                wishes += rule.wishes(event)
                fired_s[number] = event.elapsed_s
        return replace(state, fired_s=tuple(fired_s), open=open_now), wishes


def _still_open(before: frozenset[OpenEvent], event: Event) -> frozenset[OpenEvent]:
    this = {(event.field, event.kind, event.event_id)}
    return before | this if event.status == "provisional" else before - this


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
    kind, dot, status = name.partition(".")
    known_name(kind, KINDS, f"{where}: 'on' names an unknown event")
    if not dot:
        return [(kind, status) for status in STATUSES]
    known_name(status, STATUSES, f"{where}: 'on' names an unknown status")
    return [(kind, status)]
