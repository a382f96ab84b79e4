"""One run against its truth: mitoses caught, missed and false, frames inside their windows, light, limits."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import dist
from pathlib import Path
from typing import Any

import numpy as np

from stream.frame import is_aside
from stream.rehearse.account import Answered, Taken, Told, of_rig, told
from stream.rehearse.truth import Key, Mitosis, Sight, Truth, read
from stream.safety import DoseSettings

NEAR_UM = 10.0
"""A division is told in the right place within so much of the true one: less than a nucleus."""

_NOT_POLICIES = ("operator", "rig")


@dataclass(frozen=True, slots=True)
class Scored:
    """A run, its truth, and what came of it; ``figures`` are what ``rehearse --json`` says of it."""

    run_dir: Path
    truth: Truth
    taken: Sequence[Taken]
    light_ms: Mapping[str, float]
    """Light by field, in ms at full power, as the rig's ledger has it."""
    answers: Sequence[Answered]
    clock: Clock
    caught: Mapping[int, float]
    """When the first word came, in seconds of the run, by mother."""
    missed: Sequence[Mitosis]
    false_at_s: Sequence[float]
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def commands_at_s(self) -> list[float]:
        """When commands were applied, in seconds of the run; those of an operator are the rehearsal's own stop."""
        return [one.at_s for one in self.answers if one.state == "applied" and one.origin != "operator"]

    @property
    def delays_s(self) -> list[float]:
        """How long after the true split each caught division was told."""
        mitoses, at_s = self.truth.mitoses, self.clock.at_s
        return [told_s - at_s(mitoses[cell].split_min) for cell, told_s in self.caught.items()]


class Clock:
    """The run's seconds at a minute of the specimen's life, between the frames that were taken."""

    def __init__(self, pairs: Sequence[tuple[float, float]]) -> None:
        self._minutes, self._seconds = np.array(sorted(pairs) or [(0.0, 0.0)]).T

    def at_s(self, minute: float) -> float:
        """Return the time in seconds; the first or last frame's outside the run."""
        return float(np.interp(minute, self._minutes, self._seconds))


def score(run_dir: Path, dose: DoseSettings) -> Scored:
    """Score a run on the virtual microscope.

    Parameters
    ----------
    dose
        Its budgets.

    Raises
    ------
    StoreError
        Its facts or its truth cannot be read.
    """
    truth = read(run_dir)
    taken, light_ms, answers = of_rig(run_dir)
    sizes = {one.key: one.size_px for one in taken}
    times = {one.key: one.at_s for one in taken}
    clock = Clock([(truth.sights[key].minute, at_s) for key, at_s in times.items() if key in truth.sights])
    hits, wrong = _match(told(run_dir, "division"), truth, sizes)
    caught = {cell: times.get((event.field, event.first_frame), math.nan) for cell, event in hits.items()}
    missed = [one for one in truth.seen() if one.cell not in caught]
    false_at_s = [times[key] for event in wrong if (key := (event.field, event.frame)) in times]
    scored = Scored(run_dir, truth, taken, light_ms, answers, clock, caught, missed, false_at_s)
    return replace(scored, figures=_figures(scored, len(wrong), dose))


def _match(
    events: Sequence[Told], truth: Truth, sizes: Mapping[Key, tuple[int, int]]
) -> tuple[dict[int, Told], list[Told]]:
    """Return the event that told of each mother, and the events that told of none; what was taken back told nothing."""
    hits: dict[int, Told] = {}
    wrong = []
    for event in sorted(events, key=lambda one: (one.frame, one.field)):
        if event.status == "retracted":
            continue
        key = (event.field, event.frame)
        mother = _nearest(event, truth.sights[key], sizes[key]) if key in truth.sights and key in sizes else None
        if mother is None:
            wrong.append(event)
        elif mother not in hits:
            hits[mother] = event
    return hits, wrong


def _nearest(event: Told, sight: Sight, size_px: tuple[int, int]) -> int | None:
    """Return the mother nearest to where the event was told, by the middle of her daughters; None: too far."""
    at_um = sight.place(event.yx_px, size_px)
    near = [(dist(np.mean(points, axis=0), at_um), mother) for mother, points in sight.dividing.items()]
    far_um, mother = min(near, default=(math.inf, 0))
    return mother if far_um <= NEAR_UM else None


def _figures(scored: Scored, wrong: int, dose: DoseSettings) -> dict[str, Any]:
    truth = scored.truth
    planned = [one for one in scored.taken if not is_aside(one.field)]
    shown = np.array([len(sight.dividing) if (sight := truth.sights.get(one.key)) else 0 for one in planned], int)
    at_s = np.array([one.at_s for one in planned] or [0.0])
    span_s = float(at_s[-1] - at_s[0])
    lasts_s = np.diff(at_s, append=at_s[-1])
    of_field = Counter(one.field for one in planned)
    budget_ms = _budget_ms(dose)
    return {
        "divisions": len({*scored.caught, *(one.cell for one in scored.missed)}),
        "caught": len(scored.caught),
        "missed": len(scored.missed),
        "false": wrong,
        "delay_s": _median(scored.delays_s),
        "points": max(of_field.values(), default=0),
        "frames": len(planned),
        "images": sum(one.images for one in scored.taken),
        "aside": len(scored.taken) - len(planned),
        "in_window": int(shown.sum()),
        "mitoses_shown": len({cell for one in planned if (s := truth.sights.get(one.key)) for cell in s.dividing}),
        "at_place": round(float(lasts_s[shown > 0].sum() / span_s), 4) if span_s else None,
        "kept": _kept(scored),
        "stimulated": len(truth.stimulated),
        "stimulated_daughters": len({*truth.stimulated} & _daughters(scored)),
        "killed": truth.killed,
        "light_ms": round(sum(scored.light_ms.values()), 3),
        "budget_used": round(max(scored.light_ms.values(), default=0.0) / budget_ms, 4) if budget_ms else None,
        "span_s": round(span_s, 3),
        "commands": dict(Counter(one.state for one in scored.answers if one.origin not in _NOT_POLICIES)),
        "by_rig": sum(one.origin == "rig" for one in scored.answers),
        "limits": _limits([one for one in scored.answers if one.origin not in _NOT_POLICIES]),
    }


def _kept(scored: Scored) -> float | None:
    """Return for which share of the time after it the daughters of the first division that was told were in view."""
    told = [(at_s, cell) for cell, at_s in scored.caught.items() if not math.isnan(at_s)]
    if not told:
        return None
    mitosis = scored.truth.mitoses[min(told)[1]]
    share = scored.truth.in_view(mitosis.daughters, mitosis.split_min)
    return None if share is None else round(share, 4)


def _daughters(scored: Scored) -> set[int]:
    """Return the daughters of all divisions that were told."""
    return {daughter for cell in scored.caught for daughter in scored.truth.mitoses[cell].daughters}


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 3) if values else None


def _budget_ms(dose: DoseSettings) -> float | None:
    """Return the light that a field may have, in ms at full power; of two budgets the one that is reached first."""
    by_time = None if dose.budget_full_power_s is None else 1e3 * dose.budget_full_power_s
    energy = dose.budget_j_per_cm2 if dose.mw_per_mm2 else None
    by_energy = None if energy is None or not dose.mw_per_mm2 else energy * 1e4 / dose.mw_per_mm2
    return min((limit for limit in (by_time, by_energy) if limit is not None), default=None)


def _limits(answers: Sequence[Answered]) -> dict[str, int]:
    """Count what was not applied, by kind, state and reason; without numbers, so that like meets like."""
    stopped = (one for one in answers if one.state not in ("applied", "superseded", "shadowed", "unanswered"))
    names = (f"{one.kind} {one.state}: {re.sub(r'-?[0-9][0-9.]*', '…', one.reason)}" for one in stopped)
    return dict(Counter(names))
