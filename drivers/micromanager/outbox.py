"""Hand-over of frames from the thread that pops them to whoever calls ``next``: bounded, never silent about loss."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from stream.frame import Ended, Frame, Gap


class Outbox:
    """A bounded queue with one producer. Gaps lie between the frames where they belong and do not fill it.

    Like gaps that follow each other are merged, so that a consumer that never comes back costs no memory.

    Parameters
    ----------
    limit
        Frames that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Frame | Gap] = deque()
        self._frames = 0
        self._ended: Ended | None = None
        self._changed = threading.Condition()

    def has_room(self) -> bool:
        """Whether one more frame may be put (by the one producer)."""
        return self._frames < self._limit

    def put(self, item: Frame | Gap) -> None:
        """Add a frame, for which the producer found room, or a gap."""
        with self._changed:
            last = self._items[-1] if self._items else None
            if isinstance(item, Frame):
                self._frames += 1
                self._items.append(item)
            elif isinstance(last, Gap) and _alike(last, item):
                self._items[-1] = replace(last, missing=last.missing + item.missing)
            else:
                self._items.append(item)
            self._changed.notify_all()

    def end(self, reason: str) -> None:
        """Say why nothing more will come; the first reason stays."""
        with self._changed:
            self._ended = self._ended or Ended(reason)
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Frame | Gap | Ended | None:
        """Take the next item; the end comes after all items, again and again; None: nothing came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, timeout_s)
            if not self._items:
                return self._ended
            item = self._items.popleft()
            self._frames -= isinstance(item, Frame)
            return item

    @property
    def ended(self) -> Ended | None:
        """Why nothing more will be put, once that is so."""
        return self._ended

    def __len__(self) -> int:
        """Frames that wait."""
        return self._frames


def _alike(one: Gap, other: Gap) -> bool:
    return other.missing > 0 and replace(one, missing=0, detail="") == replace(other, missing=0, detail="")
