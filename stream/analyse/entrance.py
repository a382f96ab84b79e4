"""The way into the pipeline: a bounded queue whose gaps are passed on, never hidden."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import replace

from stream.stages import Moment


class Entrance:
    """Moments that wait for the first stage. One that is left out is missed by the next moment of its field.

    Parameters
    ----------
    size
        How many may wait.
    drops
        A full queue gives up its oldest moment; otherwise :meth:`put` waits for room.
    """

    def __init__(self, size: int, *, drops: bool) -> None:
        self._size, self._drops = size, drops
        self._waiting: deque[Moment] = deque()
        self._owed: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, moment: Moment) -> Moment | None:
        """Let a moment in; return the oldest one where that had to make room."""
        with self._changed:
            if not self._drops:
                self._changed.wait_for(lambda: len(self._waiting) < self._size)
            dropped = self._drop_oldest() if len(self._waiting) >= self._size else None
            self._waiting.append(after_gap(moment, self._owed.pop(moment.frame.field, 0)))
            self._changed.notify_all()
            return dropped

    def leave_out(self, moment: Moment) -> None:
        """Let a moment go that comes after all that wait."""
        with self._changed:
            self._owed[moment.frame.field] += 1 + moment.missed

    def take(self) -> Moment | None:
        """Return the oldest moment as soon as there is one; None when all are out and the entrance is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            moment = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return moment

    def close(self) -> None:
        """Say that nothing more comes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _drop_oldest(self) -> Moment:
        dropped = self._waiting.popleft()
        field, gap = dropped.frame.field, 1 + dropped.missed
        for place, moment in enumerate(self._waiting):
            if moment.frame.field == field:
                self._waiting[place] = after_gap(moment, gap)
                return dropped
        self._owed[field] += gap
        return dropped


def after_gap(moment: Moment, gap: int) -> Moment:
    """Return the moment as one that comes after so many more time points that nobody saw."""
    return replace(moment, missed=moment.missed + gap) if gap else moment
