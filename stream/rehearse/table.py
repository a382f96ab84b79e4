"""A rehearsal as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLUMNS = ("frames", "light", "in windows", "caught", "missed", "false", "delay", "at place")
_NAMES = {"policy": "with the policies", "without": "without", "fixed": "fixed, same dose"}


def line(row: Mapping[str, Any]) -> str:
    """Return one run in a line."""
    return f"seed {row['seed']}: {_NAMES[row['arm']]:<18}" + "".join(f"{cell:>12}" for cell in _cells(row))


def in_words(result: Mapping[str, Any]) -> str:
    """Return the table of all arms, what stood in the way, and the comparison."""
    head = " " * 20 + "".join(f"{name:>12}" for name in _COLUMNS)
    rows = [f"  {_NAMES[name]:<18}" + "".join(f"{c:>12}" for c in _cells(row)) for name, row in result["arms"].items()]
    limits = [f"  {n} × {what}" for what, n in result["arms"]["policy"]["limits"].items()]
    compared = result["compared"]
    return "\n".join(
        [
            "",
            head,
            *rows,
            "",
            *_extras(result["arms"]),
            *(["limits hit by the policies:", *limits] if limits else ["no limit was hit"]),
            f"frames inside mitosis windows: {_number(compared['in_window_ratio'])} times those of a steady plan with "
            f"{_number(compared['dose_ratio'])} times its light",
            f"picture: {result['picture']}",
        ]
    )


def _extras(arms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what only some policies are about, for each arm where it is not nothing everywhere."""
    said = []
    if any(row["kept"] is not None for row in arms.values()):
        said.append("daughters of the first division told, in view: " + _each(arms, "kept", "{:.0%}"))
    if any(row["killed"] for row in arms.values()):
        said.append("cells killed by light: " + _each(arms, "killed", "{}"))
    if arms["policy"]["stimulated"]:
        said.append(
            f"cells stimulated: {arms['policy']['stimulated']}, of them daughters of a division that was told: "
            f"{arms['policy']['stimulated_daughters']}"
        )
    if arms["policy"]["budget_used"] is not None:
        said.append("of a field's light budget at most: " + _each(arms, "budget_used", "{:.0%}"))
    return said


def _each(arms: Mapping[str, Mapping[str, Any]], key: str, form: str) -> str:
    return ", ".join(f"{form.format(row[key]) if row[key] is not None else '–'} {_NAMES[n]}" for n, row in arms.items())


def _cells(row: Mapping[str, Any]) -> list[str]:
    delay = "–" if row["delay_s"] is None else f"{row['delay_s']:.2f} s"
    place = "–" if row["at_place"] is None else f"{100 * row['at_place']:.0f} %"
    light = f"{row['light_ms']:.0f} ms"
    counts = [str(row[name]) for name in ("in_window", "caught", "missed", "false")]
    return [str(row["frames"]), light, *counts, delay, place]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
