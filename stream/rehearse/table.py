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
            *(["limits hit by the policies:", *limits] if limits else ["no limit was hit"]),
            f"frames inside mitosis windows: {_number(compared['in_window_ratio'])} times those of a steady plan with "
            f"{_number(compared['dose_ratio'])} times its light",
            f"picture: {result['picture']}",
        ]
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    delay = "–" if row["delay_s"] is None else f"{row['delay_s']:.2f} s"
    place = "–" if row["at_place"] is None else f"{100 * row['at_place']:.0f} %"
    light = f"{row['light_ms']:.0f} ms"
    counts = [str(row[name]) for name in ("in_window", "caught", "missed", "false")]
    return [str(row["frames"]), light, *counts, delay, place]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
