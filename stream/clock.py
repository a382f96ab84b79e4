"""The two clocks: a monotonic one for durations on this host, a wall clock for the record."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

Clock = Callable[[], int]
"""A function that returns nanoseconds of a monotonic clock."""

HOST = socket.gethostname()
"""Monotonic stamps are compared only between messages that carry the same host."""


def now_ns() -> int:
    """Return this host's monotonic time in ns; the same clock in every process of the host."""
    return time.perf_counter_ns()


def wall_ns() -> int:
    """Return the wall clock in ns since 1970 (UTC): for the record, never for durations."""
    return time.time_ns()


class FakeClock:
    """A clock that a test moves by hand.

    >>> clock = FakeClock()
    >>> clock.advance_ms(2.5)
    >>> clock()
    2500000
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def __call__(self) -> int:
        return self._now_ns

    def advance_ms(self, ms: float) -> None:
        """Move the clock forward by ``ms`` milliseconds."""
        if ms < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-ms} ms")
        self._now_ns += round(ms * 1e6)
