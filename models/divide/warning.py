"""Early warning: a cell that looks like dividing is announced once, and the announcement ends as it turns out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.divide.history import History
from models.divide.signs import WITHIN, Floats, announced, coming, coming_at
from models.divide.telling import Now, ended, packed, provisional, row_of, unpacked
from stream.cells import Kind
from stream.event import Event

FROM: Mapping[Kind, float] = {"nuclei": 0.28, "phase": 0.3}
"""Probability (:func:`models.divide.signs.coming`) from which a cell is announced: about five false alarms for 1,000
cells in a frame."""
REST = 2
"""So many times a warning's frames must pass after it was retracted before its cell is announced again, unless it is
:data:`SURER`."""
CALMED = 0.5
"""Nor before its probability fell below this share of the threshold."""
SURER = 0.5
"""A cell of which no more than this share of the first doubt is left was announced too early: it is announced again."""
EARLY = 0.5
"""Frames by which the time of a warning may be up early: stamps of a steady camera jitter."""


@dataclass(frozen=True, slots=True)
class Warned:
    """An announcement that has not ended.

    ``p`` is the cell's probability when it was said. ``within`` counts the frames that it was said for, ``due_s`` is
    the run's time until which it holds at least: these frames at the pace at which it was said, so that a microscope
    that speeds up because of it does not end it. ``division`` is the event of the cell's division.
    """

    event: Event
    p: float
    within: int
    due_s: float
    division: str = ""


@dataclass(frozen=True, slots=True)
class Resting:
    """A cell after a retracted warning: until which frame it rests unless it is more probable than ``surer``, and
    whether it has calmed down since."""

    until: int
    surer: float
    calmed: bool = False


class Warnings:
    """The ``mitosis`` events of one field.

    A warning is provisional until the cell's division is confirmed (then it is too), until that division is retracted,
    until the track is lost, or until :data:`models.divide.signs.WITHIN` frames have passed without a split: then it is
    retracted.

    Parameters
    ----------
    threshold
        Confidence from which a cell is announced; None: that at :data:`FROM`.
    probability
        How probable it is that each track of a history divides soon, ``(n,)``.
    """

    def __init__(self, threshold: float | None, probability: Callable[[History, Kind], Floats] = coming) -> None:
        self._threshold = threshold
        self._probability = probability
        self._warned: dict[int, Warned] = {}
        self._resting: dict[int, Resting] = {}
        self._before: tuple[int, float] | None = None

    def step(self, history: History, kind: Kind, divisions: Sequence[Event], now: Now) -> list[Event]:
        """Return what this frame ends and announces, each by the cell's id.

        Parameters
        ----------
        history
            Of the tracks that are alive, this frame included.
        divisions
            What was said about divisions in this frame.
        """
        pace_s = self._pace_s(now)
        current = history[history["last"] == now.number]
        p = dict(zip(current["id"].tolist(), self._probability(current, kind).tolist(), strict=True))
        events = self._end(history, divisions, now)
        threshold = FROM[kind] if self._threshold is None else coming_at(self._threshold, kind)
        self._rest(history, p, CALMED * threshold, now)
        for track_id, probability in p.items():
            if probability < threshold or track_id in self._warned or track_id in self._resting:
                continue
            cell = row_of(history, track_id)
            within = WITHIN[kind]
            reason = f"division_within_{within}_frames"
            event = provisional("mitosis", cell, now.number, announced(probability, kind), reason, now)
            due_s = now.elapsed_s + (within - EARLY) * pace_s
            self._warned[track_id] = Warned(event, probability, within, due_s)
            events.append(event)
        return events

    def finish(self, divisions: Sequence[Event], now: Now) -> list[Event]:
        """Close what is open: as its division, where there is one, else retracted; ``now`` is after the last frame."""
        words = {event.event_id: event for event in divisions}
        events = []
        for _, one in sorted(self._warned.items()):
            word = words.get(one.division)
            real = word is not None and word.status == "confirmed"
            p = word.confidence if word is not None else one.event.confidence
            events.append(ended(one.event, "confirmed" if real else "retracted", p, "end_of_stream", now))
        self._warned = {}
        return events

    def packed(self) -> list[Any]:
        """Return the state for msgpack."""
        warned = [[packed(one.event), one.p, one.within, one.due_s, one.division] for one in self._warned.values()]
        resting = [[track_id, one.until, one.surer, one.calmed] for track_id, one in self._resting.items()]
        return [warned, resting, self._before]

    def take_up(self, said: Any) -> None:
        """Read what :meth:`packed` returned, from msgpack with tuples. Raises ValueError, KeyError or TypeError."""
        warned, resting, before = said
        open_ones = [Warned(unpacked(event), *rest) for event, *rest in warned]
        self._warned = {one.event.parent_id: one for one in open_ones}
        self._resting = {track_id: Resting(*rest) for track_id, *rest in resting}
        self._before = before

    def _pace_s(self, now: Now) -> float:
        """Return the seconds between the newest two time points."""
        before, self._before = self._before, (now.number, now.elapsed_s)
        if before is None or now.number <= before[0]:
            return 0.0
        return max(0.0, now.elapsed_s - before[1]) / (now.number - before[0])

    def _end(self, history: History, divisions: Sequence[Event], now: Now) -> list[Event]:
        born = {event.parent_id: event.event_id for event in divisions if event.status == "provisional"}
        words = {event.event_id: event for event in divisions if event.status != "provisional"}
        events, still = [], {}
        for track_id, before in sorted(self._warned.items()):
            one = replace(before, division=before.division or born.get(track_id, ""))
            word = words.get(one.division)
            alive = row_of(history, track_id) is not None
            if word is not None:
                reason = "divided" if word.status == "confirmed" else "division_retracted"
                events.append(ended(one.event, word.status, word.confidence, reason, now))
            elif one.division or (alive and not self._is_over(one, now)):
                still[track_id] = one
                continue
            elif alive:
                events.append(ended(one.event, "retracted", 0.0, "not_divided", now))
                surer = 1 - SURER * (1 - one.p)
                self._resting[track_id] = Resting(now.number + REST * one.within, surer)
            else:
                events.append(ended(one.event, "retracted", 0.0, "track_lost", now))
        self._warned = still
        return events

    def _is_over(self, one: Warned, now: Now) -> bool:
        return now.number - one.event.frame >= one.within and now.elapsed_s >= one.due_s

    def _rest(self, history: History, p: Mapping[int, float], calm: float, now: Now) -> None:
        """Let rested cells be announced again, and forget those that are gone."""
        still = {}
        for track_id, one in self._resting.items():
            p_now = p.get(track_id, one.surer)  # unseen now: neither calm nor surer
            calmed = one.calmed or p_now < calm
            rested = (calmed and now.number >= one.until) or p_now > one.surer
            if not rested and row_of(history, track_id) is not None:
                still[track_id] = replace(one, calmed=calmed)
        self._resting = still
