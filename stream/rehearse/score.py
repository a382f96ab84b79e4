"""One run against its truth: mitoses caught, missed and false, frames inside their windows, light, limits."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from math import dist
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import StoreError
from stream.facts import analysis, rig
from stream.facts.database import connect
from stream.rehearse.truth import Mitosis, Sight, Truth, read

NEAR_UM = 10.0
"""A division is told in the right place within so much of the true one: less than a nucleus."""
_FRAMES = "SELECT p, frame, t_pop_ns, exposure_ms, light_power FROM frames ORDER BY id"
_WORDS = "SELECT event_id, revision, status, field, frame, emitted_frame, line FROM events WHERE kind = ? ORDER BY id"
_ANSWERS = """
SELECT c.kind, c.origin, t.state, t.reason, t.mono_ns FROM commands c LEFT JOIN transitions t
ON t.id = (SELECT max(id) FROM transitions WHERE command_id = c.command_id AND final) ORDER BY c.id
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A time point as the rig took it; ``light_ms`` of full power, over all of its images."""

    position: int
    frame: int
    at_s: float
    light_ms: float
    images: int


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its first and last word."""

    position: int
    frame: int
    first_frame: int
    status: str
    yx_px: tuple[float, float]
    confidence: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A command's fate."""

    kind: str
    origin: str
    state: str
    reason: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Scored:
    """A run, its truth, and what came of it; ``figures`` are what ``rehearse --json`` says of it."""

    run_dir: Path
    truth: Truth
    taken: Sequence[Taken]
    answers: Sequence[Answered]
    clock: Clock
    caught: Mapping[int, float]
    """When the first word came, in seconds of the run, by mother."""
    missed: Sequence[Mitosis]
    false_at_s: Sequence[float]
    figures: Mapping[str, Any] = field(default_factory=dict)

    def windows_s(self) -> list[tuple[float, float, bool]]:
        """Return the windows of the mitoses that were in view, in seconds of the run, and whether each was told."""
        shown = {cell for sight in self.truth.sights.values() for cell in sight.dividing}
        return [
            (self.clock.at_s(one.begin_min), self.clock.at_s(one.end_min), one.cell in self.caught)
            for one in self.truth.mitoses
            if one.cell in shown
        ]

    @property
    def missed_at_s(self) -> list[float]:
        """When the missed ones split, in seconds of the run."""
        return [self.clock.at_s(one.split_min) for one in self.missed]

    @property
    def commands_at_s(self) -> list[float]:
        """When commands were applied, in seconds of the run."""
        return [one.at_s for one in self.answers if one.state == "applied"]

    @property
    def delays_s(self) -> list[float]:
        """How long after the true split each caught division was told."""
        split_s = {one.cell: self.clock.at_s(one.split_min) for one in self.truth.mitoses}
        return [at_s - split_s[cell] for cell, at_s in self.caught.items()]


class Clock:
    """The run's seconds at a minute of the specimen's life, between the frames that were taken."""

    def __init__(self, pairs: Sequence[tuple[float, float]]) -> None:
        self._minutes, self._seconds = np.array(sorted(pairs) or [(0.0, 0.0)]).T

    def at_s(self, minute: float) -> float:
        """Return the time in seconds; the first or last frame's outside the run."""
        return float(np.interp(minute, self._minutes, self._seconds))


def score(run_dir: Path) -> Scored:
    """Score a run on the virtual microscope. Raises StoreError where its facts or its truth cannot be read."""
    truth = read(run_dir)
    taken, answers = _rig(run_dir)
    times = {(one.position, one.frame): one.at_s for one in taken}
    clock = Clock([(truth.sights[key].minute, at_s) for key, at_s in times.items() if key in truth.sights])
    hits, wrong = _match(_told(run_dir, "division"), truth)
    caught = {cell: times.get((event.position, event.first_frame), math.nan) for cell, event in hits.items()}
    split = {one.cell for one in truth.mitoses}
    caught = {cell: at_s for cell, at_s in caught.items() if cell in split}
    missed = [one for one in truth.seen() if one.cell not in caught]
    false_at_s = [times[key] for event in wrong if (key := (event.position, event.frame)) in times]
    scored = Scored(run_dir, truth, taken, answers, clock, caught, missed, false_at_s)
    return replace(scored, figures=_figures(scored, len(wrong)))


def _rig(run_dir: Path) -> tuple[list[Taken], list[Answered]]:
    try:
        with closing(connect(run_dir / rig.FILE, rig.VERSION)) as facts:
            rows = facts.execute(_FRAMES).fetchall()
            answers = facts.execute(_ANSWERS).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{run_dir}: the rig's facts cannot be read: {error}") from error
    begun_ns = min((row[2] for row in rows), default=0)
    points: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for p, frame, t_pop_ns, exposure_ms, power in rows:
        points[p, frame].append(((t_pop_ns - begun_ns) / 1e9, exposure_ms * (1.0 if power is None else power)))
    taken = [
        Taken(p, frame, images[0][0], sum(light for _, light in images), len(images))
        for (p, frame), images in points.items()
    ]
    said = [
        Answered(kind, origin, state or "unanswered", reason or "", ((ns or begun_ns) - begun_ns) / 1e9)
        for kind, origin, state, reason, ns in answers
    ]
    return sorted(taken, key=lambda one: one.at_s), said


def _told(run_dir: Path, kind: str) -> list[Told]:
    try:
        with closing(connect(run_dir / analysis.FILE, analysis.VERSION)) as facts:
            rows = facts.execute(_WORDS, (kind,)).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{run_dir}: the analysis' facts cannot be read: {error}") from error
    words: dict[str, list[Any]] = defaultdict(list)
    for event_id, *word in rows:
        words[event_id].append(word)
    told = []
    for revisions in words.values():
        _, _, field_name, frame, first_frame, line = revisions[0]
        status, said = revisions[-1][1], json.loads(line)
        places = said["daughters_yx_px"] or [said["parent_yx_px"]]
        y, x = np.mean(places, axis=0)
        position = int(field_name.rpartition(":p")[2] or 0)
        told.append(Told(position, frame, first_frame, status, (float(y), float(x)), said["confidence"]))
    return told


def _match(told: Sequence[Told], truth: Truth) -> tuple[dict[int, Told], list[Told]]:
    """Return the event that told of each mother, and the events that told of none; what was taken back told nothing."""
    hits: dict[int, Told] = {}
    wrong = []
    for event in sorted(told, key=lambda one: (one.frame, one.position)):
        if event.status == "retracted":
            continue
        mother = _nearest(event, truth.sights.get((event.position, event.frame)))
        if mother is None:
            wrong.append(event)
        elif mother not in hits:
            hits[mother] = event
    return hits, wrong


def _nearest(event: Told, sight: Sight | None) -> int | None:
    if sight is None or not sight.dividing:
        return None
    mother, place = min(sight.dividing.items(), key=lambda item: dist(item[1], event.yx_px))
    return mother if dist(place, event.yx_px) * sight.pixel_um <= NEAR_UM else None


def _figures(scored: Scored, wrong: int) -> dict[str, Any]:
    taken, truth = scored.taken, scored.truth
    shown = [
        len(truth.sights[key].dividing) if (key := (one.position, one.frame)) in truth.sights else 0 for one in taken
    ]
    at_s = np.array([one.at_s for one in taken] or [0.0])
    lasts_s = np.diff(at_s, append=at_s[-1])
    span_s = float(at_s[-1] - at_s[0])
    delays = scored.delays_s
    states = Counter(answer.state for answer in scored.answers)
    return {
        "divisions": len(scored.caught) + len(scored.missed),
        "caught": len(scored.caught),
        "missed": len(scored.missed),
        "false": wrong,
        "delay_s": round(float(np.median(delays)), 3) if delays else None,
        "frames": len(taken),
        "images": sum(one.images for one in taken),
        "in_window": int(sum(shown)),
        "mitoses_shown": len({cell for sight in truth.sights.values() for cell in sight.dividing}),
        "light_ms": round(sum(one.light_ms for one in taken), 3),
        "span_s": round(span_s, 3),
        "at_place": round(float(lasts_s[np.array(shown) > 0].sum() / span_s), 4) if span_s else None,
        "commands": dict(states),
        "limits": _limits(scored.answers),
    }


def _limits(answers: Sequence[Answered]) -> dict[str, int]:
    """Count what was not applied, by kind, state and reason; without numbers, so that like meets like."""
    stopped = (one for one in answers if one.state not in ("applied", "superseded", "shadowed", "unanswered"))
    names = (f"{one.kind} {one.state}: {re.sub(r'-?[0-9][0-9.]*', '…', one.reason)}" for one in stopped)
    return dict(Counter(names))
