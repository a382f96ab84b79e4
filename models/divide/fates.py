"""The ends that are no divisions: a cell died inside the field, or left the picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.divide.endings import AT_EDGE, began_near, died, ended, left
from models.divide.history import History
from models.divide.telling import Now, packed, provisional, unpacked
from models.divide.telling import ended as last_word
from models.track.measure import Bodies
from stream.cells import Kind
from stream.event import PICTURE_MOVED, Event
from stream.stages import Tracked

SETTLED_FRAMES = 3
"""Frames after the first word in which a cell that is seen again takes it back."""
LEAST = 0.5
"""Ends less probable than this are not spoken of: most are a tracker's mistake."""


class Fates:
    """The ``death`` and ``exit`` events of one field.

    They are said when the tracker gives a track up, so some frames after ``frame``, the last in which the cell was
    seen. When a track of unknown mother begins in that place within :data:`SETTLED_FRAMES` more frames, the event is
    retracted, else confirmed. An exit for which not the cell moved but the picture has the reason ``picture_moved``.

    Parameters
    ----------
    death, leaving
        Which of the two are told.
    """

    def __init__(self, death: bool, leaving: bool) -> None:
        self._death, self._leaving = death, leaving
        self._open: list[Event] = []

    def step(self, before: History, tracked: Tracked, found: Bodies, kind: Kind, now: Now) -> list[Event]:
        """Return what this frame settles and tells, the older first, each by frame and cell.

        Parameters
        ----------
        before
            The history as it was before this frame.
        """
        events, still = [], []
        for one in self._open:
            place_um = np.array(one.position_um)
            if began_near(tracked, place_um, one.frame, found.typical_px):
                events.append(last_word(one, "retracted", 0.0, "seen_again", now))
            elif now.number - one.emitted_frame >= SETTLED_FRAMES:
                reason = PICTURE_MOVED if one.reason == PICTURE_MOVED else "not_seen_again"
                events.append(last_word(one, "confirmed", one.confidence, reason, now))
            else:
                still.append(one)
        new = self._new(before, tracked, found, kind, now)
        self._open = [*still, *new]
        return [*events, *new]

    def finish(self, now: Now) -> list[Event]:
        """Confirm what is open; ``now`` is after the last frame."""
        closed = [last_word(one, "confirmed", one.confidence, "end_of_stream", now) for one in self._open]
        self._open = []
        return closed

    def packed(self) -> list[Any]:
        """Return the state for msgpack."""
        return [packed(one) for one in self._open]

    def take_up(self, said: Any) -> None:
        """Read what :meth:`packed` returned, from msgpack with tuples. Raises ValueError, KeyError or TypeError."""
        self._open = [unpacked(one) for one in said]

    def _new(self, before: History, tracked: Tracked, found: Bodies, kind: Kind, now: Now) -> list[Event]:
        over = ended(before, tracked, found)
        if not len(over):
            return []
        told = []
        chances = zip(left(over), died(over), strict=True)
        for row, near, again, off, (gone, dead) in zip(
            over.rows, over.near, over.again, over.off, chances, strict=True
        ):
            at_edge = near <= AT_EDGE
            p = float(gone if at_edge else dead)
            if again or p < LEAST:
                continue
            if at_edge and self._leaving:
                reason = PICTURE_MOVED if off else "at_the_edge"
                told.append(provisional("exit", row, int(row["last"]), p, reason, now))
            elif not at_edge and self._death and kind == "nuclei":
                told.append(provisional("death", row, int(row["last"]), p, "vanished", now))
        return told
