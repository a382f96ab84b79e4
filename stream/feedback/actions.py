"""The actions of a policy file: checked when it is read, filled in from the event when it fires.

::

    [[rule.do]]
    kind = "acquire"                        # a z-stack where it happened
    at_um = "event.position_um"
    sequence = {z_plan = {range = 10, step = 2}}

    [[rule.do]]
    kind = "set_interval"                   # only the position where it happened goes fast
    interval_ms = 200
    position = "event"                      # or "all", or a number; left out: as the action needs it

    [[rule.do]]
    kind = "stimulate"                      # a disc on one daughter
    mask = "event.daughter"                 # the first; or event.daughters, or event.cell; who is hidden is not lit
    radius_px = 10
    duration_ms = 100
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from stream.command import ACTION_KINDS, Action, MoveStage, SetLight
from stream.errors import ConfigError, PolicyError
from stream.event import Event, Point
from stream.protocol import as_protocol
from stream.settings import Settings, parse

ACTIONS: dict[str, type[Any]] = {cls.model_fields["kind"].default: cls for cls in get_args(get_args(Action)[0])}
REFERENCES: dict[str, tuple[Any, Callable[[Event], Any]]] = {
    "event.position_um": ((0.0, 0.0), lambda event: event.position_um),
    "event.x_um": (0.0, lambda event: event.position_um[0]),
    "event.y_um": (0.0, lambda event: event.position_um[1]),
}
"""What a value may take from the event: a stand-in of its type, to check the action with, and how to get it."""
MASKS: dict[str, Callable[[Event], Sequence[Point | None]]] = {
    "event.daughter": lambda event: _where_now(event)[:1] if event.daughter_ids else (),
    "event.daughters": lambda event: _where_now(event) if event.daughter_ids else (),
    "event.cell": lambda event: _where_now(event)[:1] if not event.daughter_ids else (),
}
"""Which cells ``mask`` lights, by their centres (y, x px); None: not in sight."""
_CORNERS = 16


class _Extras(Settings):
    priority: int | None = None
    max_age_ms: float | None = None
    position: int | Literal["event", "all"] | None = None


class Discs(Settings):
    """Which cells are lit, and how far about their centres."""

    mask: str
    radius_px: float = Field(default=8.0, gt=0)


@dataclass(frozen=True, slots=True)
class Template:
    """An action whose values may be references such as ``"event.position_um"``."""

    kind: str
    values: Mapping[str, Any]
    ready: Action | None
    priority: int | None = None
    max_age_ms: float | None = None
    position: int | Literal["event", "all"] | None = None
    discs: Discs | None = None

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
        extras = parse(_Extras, {k: table[k] for k in _Extras.model_fields if k in table}, where)
        if extras.max_age_ms is not None and extras.max_age_ms <= 0:
            raise ConfigError(f"{where}: 'max_age_ms' must be above 0 (got {extras.max_age_ms:g})")
        values = {key: value for key, value in table.items() if key not in _Extras.model_fields}
        discs = _discs(kind, values, where)
        if kind == "recentre":
            values.setdefault("target_um", "event.position_um")
        for key, value in _references(values):
            known_name(value, REFERENCES, f"{where}: '{key}' refers to something that an event does not have")
        stand_in = _replace(values, lambda name: REFERENCES[name][0])
        if isinstance(stand_in.get("sequence"), Mapping):
            as_protocol(stand_in["sequence"], f"{where} sequence")  # useq itself ignores keys that it does not know
        action = parse(ACTIONS[kind], stand_in, where)
        _refuse_idle(action, where)
        fixed = discs is None and not _references(values)
        ready = action if fixed else None
        return cls(kind, values, ready, extras.priority, extras.max_age_ms, extras.position, discs)

    def fill(self, event: Event) -> Action | None:
        """Return the action for this event; None where the cells that it is for are not in sight.

        Raises
        ------
        PolicyError
            Its values are impossible (NaN).
        """
        if self.ready is not None:
            return self.ready
        values = _replace(self.values, lambda name: REFERENCES[name][1](event))
        if self.discs is not None:
            values["mask_yx_px"] = _polygons(self.discs, event)
            if not values["mask_yx_px"]:
                return None
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


def _discs(kind: str, values: dict[str, Any], where: str) -> Discs | None:
    """Take ``mask`` and ``radius_px`` out of the values and put a stand-in for the polygons there."""
    given = {key: values.pop(key) for key in Discs.model_fields if kind == "stimulate" and key in values}
    if not given:
        return None
    if "mask_yx_px" in values:
        raise ConfigError(f"{where}: give either mask or mask_yx_px")
    discs = parse(Discs, given, where)
    known_name(discs.mask, MASKS, f"{where}: 'mask' names what no event has")
    values["mask_yx_px"] = [[[0, 0], [0, 1], [1, 0]]]
    return discs


def _polygons(discs: Discs, event: Event) -> list[list[tuple[int, int]]]:
    """Return a polygon about the centre of each cell that is in sight."""
    turns = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
    radius = discs.radius_px
    return [
        [(max(0, round(y + radius * math.sin(turn))), max(0, round(x + radius * math.cos(turn)))) for turn in turns]
        for y, x in filter(None, MASKS[discs.mask](event))
    ]


def _where_now(event: Event) -> Sequence[Point | None]:
    """Return where the event's cells are in its newest frame; without its context, where they were when it happened."""
    if event.context is None:
        return event.daughters_yx_px or (event.parent_yx_px,)
    return event.context.cells_yx_px


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
