"""How often, and after which wait, a stream that died by itself may be started again."""

from __future__ import annotations

from collections import deque


class Restarts:
    """Exponential back-off with a limit within a window.

    Examples
    --------
    >>> restarts = Restarts(limit=2, window_s=60, backoff_ms=50)
    >>> restarts.wait_s(now_ns=0), restarts.wait_s(now_ns=1), restarts.wait_s(now_ns=2)
    (0.05, 0.1, None)
    >>> restarts.wait_s(now_ns=61_000_000_000)
    0.05
    """

    def __init__(self, limit: int, window_s: float, backoff_ms: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self._backoff_ms = backoff_ms
        self._when_ns: deque[int] = deque()

    def wait_s(self, now_ns: int) -> float | None:
        """Count one death and return how long to wait, or None where it is one too many."""
        while self._when_ns and now_ns - self._when_ns[0] > self.window_s * 1e9:
            self._when_ns.popleft()
        if len(self._when_ns) >= self.limit:
            return None
        self._when_ns.append(now_ns)
        return float(self._backoff_ms * 2 ** (len(self._when_ns) - 1) / 1e3)
