"""The actions of a policy file: checked when it is read, filled in from the event when it fires."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from stream.command import ACTION_KINDS, Action, MoveStage, SetLight
from stream.config import Settings, parse
from stream.errors import ConfigError, PolicyError
from stream.event import Event

ACTIONS: dict[str, type[Any]] = {cls.model_fields["kind"].default: cls for cls in get_args(get_args(Action)[0])}
REFERENCES: dict[str, tuple[Any, Callable[[Event], Any]]] = {
    "event.position_um": ((0.0, 0.0), lambda event: event.position_um),
    "event.x_um": (0.0, lambda event: event.position_um[0]),
    "event.y_um": (0.0, lambda event: event.position_um[1]),
}
"""What a value may take from the event: a stand-in of its type, to check the action with, and how to get it."""


class _Extras(Settings):
    priority: int | None = None
    max_age_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """An action whose values may be references such as ``"event.position_um"``."""

    kind: str
    values: Mapping[str, Any]
    ready: Action | None
    priority: int | None = None
    max_age_ms: float | None = None

    @classmethod
    def read(cls, table: Mapping[str, Any], where: str) -> Template:
        """Check a ``[[rule.do]]``.

        Raises
        ------
        ConfigError
            The action is unknown or impossible, with or without what its references will bring.
        """
        if "kind" not in table:
            raise ConfigError(f"{where}: has no 'kind'; one of: {', '.join(ACTION_KINDS)}")
        kind = str(table["kind"])
        known_name(kind, ACTION_KINDS, f"{where}: unknown action")
        where = f"{where} ('{kind}')"
        extras = parse(_Extras, {k: table[k] for k in ("priority", "max_age_ms") if k in table}, where)
        if extras.max_age_ms is not None and extras.max_age_ms <= 0:
            raise ConfigError(f"{where}: 'max_age_ms' must be above 0 (got {extras.max_age_ms:g})")
        values = {key: value for key, value in table.items() if key not in _Extras.model_fields}
        if kind == "recentre":
            values.setdefault("target_um", "event.position_um")
        for key, value in _references(values):
            known_name(value, REFERENCES, f"{where}: '{key}' refers to something that an event does not have")
        stand_in = _replace(values, lambda name: REFERENCES[name][0])
        action = parse(ACTIONS[kind], stand_in, where)
        _refuse_idle(action, where)
        fixed = not _references(values)
        return cls(kind, values, action if fixed else None, extras.priority, extras.max_age_ms)

    def fill(self, event: Event) -> Action:
        """Return the action for this event. Raises PolicyError where its values are impossible (NaN)."""
        if self.ready is not None:
            return self.ready
        values = _replace(self.values, lambda name: REFERENCES[name][1](event))
        try:
            action: Action = ACTIONS[self.kind].model_validate(values)
            return action
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise PolicyError(f"{self.kind} for {event.event_id}: {reason} ({values})") from None


def known_name(name: str, known: Sequence[str] | Mapping[str, Any], complaint: str) -> None:
    """Raise ConfigError with the complaint and the nearest known name, unless the name is known."""
    if name in known:
        return
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(known)
    raise ConfigError(f"{complaint} '{name}'; {hint}")


def _references(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the (key, reference) pairs at the top of an action or one list below."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        items = value if isinstance(value, list) else [value]
        found += [(key, item) for item in items if isinstance(item, str) and item.startswith("event.")]
    return found


def _replace(values: Mapping[str, Any], fetch: Callable[[str], Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(item) for item in value]
        return fetch(value) if isinstance(value, str) and value.startswith("event.") else value

    return {key: one(value) for key, value in values.items()}


def _refuse_idle(action: Any, where: str) -> None:
    """Refuse actions that are well formed and do nothing."""
    if isinstance(action, MoveStage) and (action.x_um, action.y_um, action.z_um) == (None, None, None):
        raise ConfigError(f"{where}: moves no axis; give x_um, y_um or z_um")
    if isinstance(action, SetLight) and (action.power, action.on) == (None, None):
        raise ConfigError(f"{where}: changes nothing; give power or on")
