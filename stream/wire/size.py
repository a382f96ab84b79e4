"""How large the sequence of a command is, told from its plain JSON before anything lays it out.

useq lays the points of a well plate out as it reads them, and orders random ones in a time that grows with the square
of their number: the thread that hears a stop must not read what keeps it busy for seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from stream.errors import Malformed

MOST_POINTS = 10_000
"""Tiles and points of wells that one sequence may name, nested ones too; n random points count as n² / 4."""
MOST_LOOPS = 1_000_000
_WIDEST_PLATE = 48
"""Columns of the largest plate that has a name."""


def require_readable(command: str) -> None:
    """Raise Malformed for a command whose sequence would take long to read; leave other faults to the reader."""
    if '"sequence"' not in command and "\\u" not in command:  # a name may be spelt in escapes
        return
    try:
        action = json.loads(command)["action"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    plans = list(_plans(action))
    points, loops = sum(map(_points, plans)), max((_number(plan.get("loops")) for plan in plans), default=0.0)
    if points > MOST_POINTS:
        raise Malformed(
            f"not a command: its sequence has {points:.0f} points (n random ones count as n²/4); at most {MOST_POINTS}"
        )
    if loops > MOST_LOOPS:
        raise Malformed(f"not a command: its sequence has {loops:.0f} loops; at most {MOST_LOOPS}")


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
    """Return how many points an object names itself: a grid, random points, a plate, or the wells of one."""
    chosen = _number(plan.get("num_points"))
    own = chosen * chosen / 4 + _number(plan.get("rows")) * _number(plan.get("columns"))
    if "plate" not in plan:
        return own
    inner = plan.get("well_points_plan")
    inner = inner if isinstance(inner, dict) else {}
    each = max(_number(inner.get("num_points")), _number(inner.get("rows")) * _number(inner.get("columns")), 1.0)
    return own + each * _wells(plan.get("selected_wells"), plan["plate"])


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
