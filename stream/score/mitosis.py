"""How well divisions were announced: early warnings against the true splits.

A warning is an event of kind ``mitosis``. It announces a division when its cell is the true mother in the frame in
which it was said, it was said at least one frame before the true split (the first frame with two daughters), and it was
not taken back before that. Each division is announced by at most one warning, each warning announces at most one
division; every other warning is a false alarm. A warning that the end of the recording closed, and that announced
nothing, is not judged: nobody knows. False alarms are counted for 1,000 true cells in a frame.

A policy that asks for a minimal confidence sees fewer of the warnings: the curve says what it sees, over that minimum.

Mammalian cells are round or condensed for half an hour to an hour before they split. Where a recording states an
interval above :data:`LONGEST_S` most of them are never seen so; there nothing is scored. A recording that states no
interval is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.score.asof import Outcomes, expected_calibration_error
from stream.score.divisions import Division, median_or_none, pair
from stream.score.overlap import Overlap

LONGEST_S = 30 * 60.0
"""The longest interval between frames that shows most cells before they split."""
FIGURES = ("announced", "precision", "false_per_1000", "lead_frames", "ece", "brier", "curve")
CURVE_STEPS = 20


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning: the cell's label, the frame and confidence of its first word, when and why it ended."""

    cell: int
    frame: int
    confidence: float
    retracted: int | None = None
    """The frame in which it was taken back; None: it was not."""
    unjudged: bool = False
    """The recording ended before it could come true."""


def warned(lines: Iterable[Mapping[str, Any]]) -> list[Warned]:
    """Gather the warnings from the objects of ``events.jsonl``, by frame and cell."""
    by_id: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["kind"] == "mitosis":
            by_id[line["event_id"]].append(line)
    found = []
    for revisions in by_id.values():
        first, last = (choose(revisions, key=lambda line: line["revision"]) for choose in (min, max))
        back = int(last["emitted_frame"]) if last["status"] == "retracted" else None
        cut = last["reason"] in ("end_of_stream", "restart") or last["status"] == "provisional"
        found.append(
            Warned(int(first["parent_id"]), int(first["emitted_frame"]), float(first["confidence"]), back, cut)
        )
    return sorted(found, key=lambda one: (one.frame, one.cell))


def report(
    overlaps: Mapping[int, Overlap],
    truth: Sequence[Division],
    warnings: Sequence[Warned],
    interval_s: float | None = None,
) -> dict[str, Any]:
    """Score warnings.

    Parameters
    ----------
    overlaps
        Of all frames, found labels as in the masks.
    truth
        The true divisions.
    interval_s
        Between frames, where the recording states it.

    Returns
    -------
    dict
        ``scored``: whether the interval shows the phase, else everything is None; ``announced``: share of the true
        divisions; ``precision``: share of the judged warnings that announced one; ``false_per_1000`` cells in a frame;
        ``lead_frames``: median from the warning to the split; ``ece`` (five equal-count bins) and ``brier`` of the
        stated confidence; ``curve``: a list of ``{confidence, announced, precision, false_per_1000}``, each for the
        warnings of at least that confidence. None where there is nothing to divide by.
    """
    if interval_s is not None and interval_s > LONGEST_S:
        return no_figures(scored=False)
    cells = sum(len(one.truth) for one in overlaps.values())
    found = _found(overlaps, truth, warnings)
    stated, came_true = _outcomes(warnings, found)
    hits = [(warnings[i], truth[division]) for i, division in found.items()]
    return {
        "scored": True,
        **_rates(stated, came_true, len(truth), cells),
        "lead_frames": median_or_none([division.frame - one.frame for one, division in hits]),
        "ece": expected_calibration_error(stated, came_true),
        "brier": float(np.mean((stated - came_true) ** 2)) if len(stated) else None,
        "curve": _curve(stated, came_true, len(truth), cells),
    }


def no_figures(*, scored: bool = True) -> dict[str, Any]:
    """Return the figures of a result that has no truth, or whose interval hides the phase."""
    return {"scored": scored, **dict.fromkeys(FIGURES)}


def outcomes(overlaps: Mapping[int, Overlap], truth: Sequence[Division], warnings: Sequence[Warned]) -> Outcomes:
    """Return the confidence of each warning that is judged, and 1.0 where it announced a division, else 0.0."""
    return _outcomes(warnings, _found(overlaps, truth, warnings))


def _found(overlaps: Mapping[int, Overlap], truth: Sequence[Division], warnings: Sequence[Warned]) -> dict[int, int]:
    """Return which warning announced which division."""
    splits = {one.mother: i for i, one in enumerate(truth)}
    return pair([_announced(one, overlaps, truth, splits) for one in warnings])


def _outcomes(warnings: Sequence[Warned], found: Mapping[int, int]) -> Outcomes:
    judged = [i for i, one in enumerate(warnings) if i in found or not one.unjudged]
    stated = np.array([warnings[i].confidence for i in judged], np.float64)
    return stated, np.array([i in found for i in judged], np.float64)


def _announced(
    one: Warned, overlaps: Mapping[int, Overlap], truth: Sequence[Division], splits: Mapping[int, int]
) -> list[int]:
    """Return the division that a warning announced, or nothing."""
    seen = overlaps.get(one.frame)
    i = splits.get(seen.matches().get(one.cell, 0)) if seen is not None else None
    if i is None or one.frame >= truth[i].frame:
        return []
    return [] if one.retracted is not None and one.retracted < truth[i].frame else [i]


def _rates(
    stated: np.ndarray[Any, Any], came_true: np.ndarray[Any, Any], truths: int, cells: int, least: float = 0.0
) -> dict[str, Any]:
    told = stated >= least
    hits, wrong = float(came_true[told].sum()), float((1 - came_true[told]).sum())
    return {
        "announced": hits / truths if truths else None,
        "precision": hits / (hits + wrong) if hits + wrong else None,
        "false_per_1000": 1000 * wrong / cells if cells else None,
    }


def _curve(
    stated: np.ndarray[Any, Any], came_true: np.ndarray[Any, Any], truths: int, cells: int
) -> list[dict[str, Any]]:
    """Return the rates over the least confidence that somebody asks for, from what was said at all to 1."""
    lowest = float(stated.min()) if len(stated) else 1.0
    asked = [lowest, *(k / CURVE_STEPS for k in range(1, CURVE_STEPS + 1) if k / CURVE_STEPS > lowest)]
    return [{"confidence": round(v, 6), **_rates(stated, came_true, truths, cells, v)} for v in asked]
