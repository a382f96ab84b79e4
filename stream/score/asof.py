"""What a user knew, and how sure they could be: division events scored by when they were said.

"As of k" is the knowledge k frames after the split. A true division counts as found when an event that hits it was
provisional or confirmed *then*, as of its true frame + k. A wrong event counts against as of its own frame + k, if it
was provisional or confirmed then. So an event retracted later still counts as wrong for every k before its retraction,
and one that is not yet said counts as missed. An event that hits a division but comes after that division's k counts as
missed only, not as wrong too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream.score.divisions import Counts, Division, Judge, count, median_or_none, pair

Outcomes = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""The confidence that each event stated ``(n,)``, and 1.0 where it came true, else 0.0 ``(n,)``."""
HORIZON_FRAMES = 5
BINS = 5


@dataclass(frozen=True, slots=True)
class Told:
    """One division event with all its revisions, in order: (emitted frame, retracted, confidence)."""

    division: Division
    revisions: tuple[tuple[int, bool, float], ...]
    pending: bool = False
    """The last word left it provisional: neither confirmed nor taken back."""

    def stands(self, frame: int) -> bool:
        """Whether the event was provisional or confirmed after ``frame``."""
        known = [retracted for emitted, retracted, _ in self.revisions if emitted <= frame]
        return bool(known) and not known[-1]

    @property
    def retracted(self) -> bool:
        """Whether the last word was to take it back."""
        return self.revisions[-1][1]

    @property
    def confirmed(self) -> bool:
        """Whether the last word was to stand by it."""
        return not (self.retracted or self.pending)


def told(lines: Iterable[Mapping[str, Any]]) -> list[Told]:
    """Gather division events from the objects of ``events.jsonl``, by frame and mother."""
    by_id: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["kind"] == "division":
            by_id[line["event_id"]].append(line)
    events = []
    for revisions in by_id.values():
        revisions.sort(key=lambda line: line["revision"])
        last = revisions[-1]
        division = Division(int(last["parent_id"]), tuple(map(int, last["daughter_ids"])), int(last["frame"]))
        history = tuple((r["emitted_frame"], r["status"] == "retracted", float(r["confidence"])) for r in revisions)
        events.append(Told(division, history, pending=last["status"] == "provisional"))
    return sorted(events, key=lambda one: (one.division.frame, one.division.mother))


def report(judge: Judge, events: Sequence[Told]) -> dict[str, Any]:
    """Score division events.

    Returns
    -------
    dict
        ``precision``, ``recall``, ``f1`` of the events that were not retracted; ``f1_asof`` by k from "0" to "5";
        ``delay_frames``, the median from the true split to the first word of those that hit; ``retract_rate``, the
        part of all events that were taken back; ``ece`` (five equal-count bins) and ``brier`` of the confidence first
        stated, retracted events included; ``ece_confirmed``, of the confidence with which events were confirmed;
        ``false_confirmed_per_1000``, confirmed events that hit nothing, for 1,000
        true cells in a frame. None where there is nothing to divide by.
    """
    hits = [judge.hits(event.division) for event in events]
    final = [i for i, event in enumerate(events) if not event.retracted]
    counts = count([hits[i] for i in final], len(judge.truth))
    found = pair(hits, final)
    delays = [events[i].revisions[0][0] - judge.truth[true].frame for i, true in found.items()]
    stated, came_true = outcomes(events, hits)
    sure = [i for i in final if events[i].confirmed]
    stood = confirmed_outcomes(events, came_true)
    false = count([hits[i] for i in sure], len(judge.truth)).wrong
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "f1_asof": {str(k): as_of(judge, events, hits, k).f1 for k in range(HORIZON_FRAMES + 1)},
        "delay_frames": median_or_none(delays),
        "retract_rate": (len(events) - len(final)) / len(events) if events else None,
        "ece": expected_calibration_error(stated, came_true),
        "brier": float(np.mean((stated - came_true) ** 2)) if events else None,
        "ece_confirmed": expected_calibration_error(*stood),
        "false_confirmed_per_1000": 1000 * false / judge.cells if judge.cells else None,
    }


def outcomes(events: Sequence[Told], hits: Sequence[Sequence[int]]) -> Outcomes:
    """Return the confidence first stated by each event, and 1.0 where it came true, else 0.0; retracted ones too."""
    final = [i for i, event in enumerate(events) if not event.retracted]
    real = pair(hits, [*final, *(i for i in range(len(events)) if events[i].retracted)])
    stated = np.array([event.revisions[0][2] for event in events], np.float64)
    return stated, np.array([i in real for i in range(len(events))], np.float64)


def confirmed_outcomes(events: Sequence[Told], came_true: np.ndarray[Any, Any]) -> Outcomes:
    """Return the same of those that were confirmed, with the confidence of that last word."""
    sure = np.array([i for i, event in enumerate(events) if event.confirmed], np.int64)
    said = np.array([events[i].revisions[-1][2] for i in sure], np.float64)
    return said, came_true[sure]


def as_of(judge: Judge, events: Sequence[Told], hits: Sequence[Sequence[int]], k: int) -> Counts:
    """Count what a user knew ``k`` frames after each split; ``hits`` as :meth:`Judge.hits` says for each event."""
    in_time = [
        [true for true in hits[i] if event.stands(judge.truth[true].frame + k)] for i, event in enumerate(events)
    ]
    found = pair(in_time)
    taken = set(found.values())
    standing = [i for i, event in enumerate(events) if event.stands(event.division.frame + k) and i not in found]
    late = pair([[true for true in one if true not in taken] for one in hits], standing)
    return Counts(len(found), len(standing) - len(late), len(judge.truth) - len(found))


def expected_calibration_error(stated: np.ndarray[Any, Any], came_true: np.ndarray[Any, Any]) -> float | None:
    """Return the mean gap between stated confidence and hit rate over five bins of equal count; None of nothing."""
    if not len(stated):
        return None
    return float(sum(n * abs(said - true) for said, true, n in calibration(stated, came_true)) / len(stated))


def calibration(stated: np.ndarray[Any, Any], came_true: np.ndarray[Any, Any]) -> list[tuple[float, float, int]]:
    """Return mean stated confidence, hit rate and number of events of five bins of equal count, empty ones left out."""
    order = np.argsort(stated, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    return [(float(stated[part].mean()), float(came_true[part].mean()), len(part)) for part in bins]
