"""What a run's own files say of it: time points taken, light, commands and their answers, events."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import StoreError
from stream.facts import analysis, rig
from stream.facts.database import connect
from stream.rehearse.truth import Key, Point

_FRAMES = "SELECT field, frame, t_pop_ns, roi_px FROM frames ORDER BY id"
_DOSE = "SELECT field, full_power_ms + unknown_power_ms FROM dose"
_WORDS = "SELECT event_id, status, field, frame, emitted_frame, line FROM events WHERE kind = ? ORDER BY id"
_ANSWERS = """
SELECT c.kind, c.origin, t.state, t.reason, t.mono_ns FROM commands c LEFT JOIN transitions t
ON t.id = (SELECT max(id) FROM transitions WHERE command_id = c.command_id AND final) ORDER BY c.id
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A time point of a field as the rig took it; ``size_px`` (w, h)."""

    field: str
    frame: int
    at_s: float
    images: int
    size_px: tuple[int, int]

    @property
    def key(self) -> Key:
        """Which frame it is."""
        return self.field, self.frame


@dataclass(frozen=True, slots=True)
class Told:
    """An event with its first and last word; ``yx_px`` as the last one has it."""

    field: str
    frame: int
    first_frame: int
    status: str
    yx_px: Point


@dataclass(frozen=True, slots=True)
class Answered:
    """A command's fate."""

    kind: str
    origin: str
    state: str
    reason: str
    at_s: float


def of_rig(run_dir: Path) -> tuple[list[Taken], dict[str, float], list[Answered]]:
    """Return the time points in order, the light by field in ms at full power, and the answers. Raises StoreError."""
    rows, light, answers = (_ask(run_dir / rig.FILE, rig.VERSION, sql) for sql in (_FRAMES, _DOSE, _ANSWERS))
    begun_ns = min((row[2] for row in rows), default=0)
    points: dict[Key, list[tuple[float, str]]] = defaultdict(list)
    for name, frame, t_pop_ns, roi_px in rows:
        points[name, frame].append(((t_pop_ns - begun_ns) / 1e9, roi_px))
    taken = []
    for (name, frame), images in points.items():
        _, _, width, height = json.loads(images[0][1])
        taken.append(Taken(name, frame, images[0][0], len(images), (width, height)))
    said = [
        Answered(kind, origin, state or "unanswered", reason or "", ((ns or begun_ns) - begun_ns) / 1e9)
        for kind, origin, state, reason, ns in answers
    ]
    return sorted(taken, key=lambda one: one.at_s), dict(light), said


def told(run_dir: Path, kind: str) -> list[Told]:
    """Return the events of a kind. Raises StoreError."""
    words: dict[str, list[Any]] = defaultdict(list)
    for event_id, *word in _ask(run_dir / analysis.FILE, analysis.VERSION, _WORDS, kind):
        words[event_id].append(word)
    events = []
    for revisions in words.values():
        _, name, frame, first_frame, _ = revisions[0]
        status, *_, line = revisions[-1]
        said = json.loads(line)
        y, x = np.mean(said["daughters_yx_px"] or [said["parent_yx_px"]], axis=0)
        events.append(Told(name, frame, first_frame, status, (float(y), float(x))))
    return events


def _ask(path: Path, version: int, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    try:
        with closing(connect(path, version)) as facts:
            return facts.execute(sql, parameters).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
