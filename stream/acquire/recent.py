"""The rig's own memory of the frames it took lately: how old data is, and what is still undecided."""

from __future__ import annotations

import threading
from collections import OrderedDict

from stream.frame import Frame, FrameRef
from stream.layout import Position

_Key = tuple[str, int, int]


class Recent:
    """Pop stamps and places of the newest frames; safe from several threads.

    Ages are differences of this host's clock only: a command says which frame it was decided on, and the rig looks up
    when it popped that frame itself.
    """

    def __init__(self, keep: int = 4096) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._popped: OrderedDict[_Key, tuple[int, int, Position]] = OrderedDict()
        self._order = 0
        self._decided = -1
        self._forgotten: tuple[int, int] = (-1, 0)

    def took(self, frame: Frame) -> None:
        """Remember a frame that was just taken."""
        with self._lock:
            self._popped[_key(frame.ref)] = (self._order, frame.stamps.t_pop_ns, frame.stage_um)
            self._order += 1
            if len(self._popped) > self._keep:
                self._forget(*self._popped.popitem(last=False)[1][:2])

    def decided(self, ref: FrameRef) -> None:
        """Note that everything up to this frame has been decided."""
        with self._lock:
            order = self._popped.get(_key(ref), (-1,))[0]
            self._decided = max(self._decided, order)

    def popped_ns(self, ref: FrameRef) -> int | None:
        """Return when the frame was popped; None where this rig does not remember it."""
        with self._lock:
            found = self._popped.get(_key(ref))
            return found[1] if found else None

    def stage_um(self, ref: FrameRef) -> Position | None:
        """Return where the stage was for the frame; None where this rig does not remember it."""
        with self._lock:
            found = self._popped.get(_key(ref))
            return found[2] if found else None

    def oldest_undecided_ns(self) -> int | None:
        """Return when the oldest frame without a decision was popped; None when all are decided."""
        oldest_ns = None
        with self._lock:
            if self._forgotten[0] > self._decided:
                return self._forgotten[1]
            for order, popped_ns, _ in reversed(self._popped.values()):
                if order <= self._decided:
                    break
                oldest_ns = popped_ns
        return oldest_ns

    def _forget(self, order: int, popped_ns: int) -> None:
        """Remember of a frame that leaves, while nobody decided it, only that it waits; the first one counts."""
        if order > self._decided and self._forgotten[0] <= self._decided:
            self._forgotten = (order, popped_ns)

    def forgive(self) -> None:
        """Count every frame so far as decided: an analysis that starts now cannot answer for them."""
        with self._lock:
            self._decided = self._order - 1


def _key(ref: FrameRef) -> _Key:
    return (ref.session, ref.epoch, ref.seq)
