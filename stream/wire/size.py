"""How large the sequence of a command is, told from its plain JSON before anything lays it out.

useq lays the points of a well plate out as it reads them, and orders random ones in a time that grows with the square
of their number: the thread that hears a stop must not read what keeps it busy for seconds. What costs nothing to read,
as a billion time points or tiles, is left to the guard, whose refusal is on record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from stream.errors import Malformed

MOST_POINTS = 10_000
"""Points of wells that one sequence may name, nested ones too; n random points count as n² / 4."""
_APART = 500
"""What points count as besides that may not overlap: they are tried thousands of times where there is no room."""
_WIDEST_PLATE = 48
"""Columns of the largest plate that has a name."""


def require_readable(command: str) -> None:
    """Raise Malformed for a command whose sequence would take long to read; leave other faults to the reader."""
    if '"sequence"' not in command and "\\u" not in command:  # a name may be spelt in escapes
        return
    try:
        points = sum(map(_points, _plans(json.loads(command))))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not a command: {error}") from error
    if points > MOST_POINTS:
        raise Malformed(
            f"not a command: its sequence has {points:.0f} points (n random ones count as n²/4); at most {MOST_POINTS}"
        )


def _plans(data: Any) -> Iterator[dict[str, Any]]:
    """Yield every object, outer ones first; without recursion, as nobody knows how deep it goes."""
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _points(plan: dict[str, Any]) -> float:
    """Return how many points an object names itself: random ones, or the wells of a plate and what lies in them."""
    if "plate" not in plan:
        return _random(plan)
    plate, inner = plan["plate"], plan.get("well_points_plan")
    in_each = inner if isinstance(inner, dict) else {}
    each = max(_random(in_each), _number(in_each.get("num_points")), _product(in_each), 1.0)
    return _product(plate if isinstance(plate, dict) else {}) + each * _wells(plan.get("selected_wells"), plate)


def _random(plan: dict[str, Any]) -> float:
    """Return what random points count as: they are drawn and ordered anew for every well."""
    count = _number(plan.get("num_points"))
    return count * count / 4 + _APART * (count > 0 and "allow_overlap" in plan)


def _product(grid: dict[str, Any]) -> float:
    return _number(grid.get("rows")) * _number(grid.get("columns"))


def _wells(selected: Any, plate: Any) -> float:
    """Return how many wells are selected at most: by rows and columns, or by an index expression of another form."""
    if isinstance(selected, list) and len(selected) == 2 and all(map(_is_flat, selected)):
        first, second = map(len, selected)
        return float(first if first == second else first * second)
    count = str(selected).count(",") + 1
    columns = _number(plate.get("columns")) if isinstance(plate, dict) else _WIDEST_PLATE
    return float(count * max(count, columns))


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, list) for item in value)


def _number(value: Any) -> float:
    """Return what the reader may take for a number; text counts too, and what is none is 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0 if not isinstance(value, int) else math.inf
    return math.inf if math.isnan(number) else abs(number)
