"""The figures of :mod:`perception` for people: lines, a table, and the cards of the networks that ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import zoo
from stream.score.asof import Outcomes
from stream.score.folder import DIVISION_FIGURES, Words
from stream.score.reliability import draw

SHOWN = ("SEG", "SEG_ST", "DET", "TRA", "CHOTA", "CT", "BC1")
DIVISION_SHOWN = tuple(name for name in DIVISION_FIGURES if name != "f1_asof")
UNSEEN = ("unseen_DET", "unseen_F1", "unseen_divisions")
"""Of the fifth of the field that training never learned from; see :mod:`unseen`."""
DIVISIONS = ("division_f1", "f1_asof_1", "f1_asof_3", "retract_rate", "false_confirmed_per_1000")
ON_CARD = ("sequence", "role", "photons", *SHOWN, *DIVISIONS, *UNSEEN, "F1")
COLUMNS = ("model", *ON_CARD, "ms_p50")
Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Return the figures as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(text(row.get(name), "") for name in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def in_lines(row: Row) -> str:
    """Return one row's figures as a few lines."""
    scored = row.get("whole")
    light = f", {row['photons']} photons" if row["photons"] else ""
    first = f"{row['sequence']}{light}  {row['model']}  ({row['role']})"
    if scored is None:
        found = f"F1 at IoU .5 {row['F1']:.3f}, mean {row['F1_mean']:.3f}"
        return f"{first}\n  {row['images']} images, {row['cells']} cells: {found}"
    division, ms = scored["division"], scored["ms"]
    seen = "  ".join(f"{name} {text(row[name])}" for name in SHOWN)
    shown = "  ".join(f"{name} {text(division[name])}" for name in DIVISION_SHOWN)
    early = " ".join(text(value) for value in division["f1_asof"].values())
    times = "  ".join(f"{name} {one['p50']:.1f}/{one['p99']:.1f}" for name, one in ms.items())
    rest = (f"division {shown}", f"division f1 as of 0-5: {early}", f"ms p50/p99: {times}")
    if "unseen_DET" in row:
        rest = (f"in the fifth that was not learnt from: {'  '.join(f'{n} {text(row[n])}' for n in UNSEEN)}", *rest)
    return "\n  ".join((first, f"{seen}  {scored['frames']} frames", *rest))


def write_card(name: str, rows: Sequence[Row], outcomes: Mapping[str, Mapping[Words, Outcomes]]) -> None:
    """Put figures by sequence and the calibration plot into a shipped network's card."""
    figures = tuple({key: row[key] for key in ON_CARD if row.get(key) is not None} for row in rows)
    plot = f"{name}.calibration.png" if outcomes else ""
    if plot:
        draw(outcomes, zoo.HERE / plot)
    zoo.card(name).model_copy(update={"figures": figures, "calibration": plot}).write(zoo.HERE)


def text(value: Any, none: str = "none") -> str:
    """Return a figure with three places, anything else as it is."""
    return none if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
