"""Notices that the analysis no longer decides: silence, or frames that nobody decides, whatever the transport says."""

from __future__ import annotations

import threading

from stream.acquire.recent import Recent
from stream.frame import FrameRef


class DeadMan:
    """Trips when the deciding thread is silent for ``timeout_ns``, or a frame waits that long for its decision.

    It is armed by the first sign of life, so that a rig without an analysis runs its plan in peace.
    """

    def __init__(self, timeout_ns: int, recent: Recent) -> None:
        self._timeout_ns = timeout_ns
        self._recent = recent
        self._lock = threading.Lock()
        self._last_alive_ns: int | None = None
        self._instance: str | None = None
        self._fault_ns: int | None = None
        self._said = ""

    def ready(self, instance: str, now_ns: int) -> bool:
        """An analysis, or its link, is there or there again; return whether it is another analysis than before.

        It does not answer for frames taken before.
        """
        with self._lock:
            self._last_alive_ns = now_ns
            before, self._instance = self._instance, instance
        self._recent.forgive()
        return before is not None and before != instance

    def alive(self, last_decided: FrameRef | None, now_ns: int) -> None:
        """The deciding thread said which frame it decided last."""
        with self._lock:
            self._last_alive_ns = now_ns
        if last_decided is not None:
            self._recent.decided(last_decided)

    def fault(self, now_ns: int) -> str | None:
        """Return what is wrong with the analysis; None while it lives, or was never there.

        After a fault the analysis must decide within half the limit for a whole limit's time before it is trusted, so
        that one which just cannot keep up does not switch the rig to and fro.
        """
        found = self._fault(now_ns, self._timeout_ns // 2 if self._fault_ns is not None else self._timeout_ns)
        if found:
            self._fault_ns = now_ns
            self._said = found
        elif self._fault_ns is not None and now_ns - self._fault_ns >= self._timeout_ns:
            self._fault_ns = None
        return self._said if self._fault_ns is not None else None

    def _fault(self, now_ns: int, limit_ns: int) -> str | None:
        with self._lock:
            last_ns = self._last_alive_ns
        if last_ns is None:
            return None
        if now_ns - last_ns > limit_ns:
            return "silent"
        oldest_ns = self._recent.oldest_undecided_ns()
        if oldest_ns is not None and now_ns - oldest_ns > limit_ns:
            return "undecided"
        return None
