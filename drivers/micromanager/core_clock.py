"""The core's own clock, mapped to this host's.

The core stamps a frame with the time since its sequence began (``ElapsedTime-ms``). Where that zero lies on the host's
clock is known only between two bounds, which every popped frame narrows: the frame was in the core before it was
popped, and was not there when the popper last found the buffer empty.
"""

from __future__ import annotations

_BUCKET_NS = 10_000_000_000


class CoreClock:
    """Maps ``ElapsedTime-ms`` of one sequence to ``now_ns``.

    The latest bound, the minimum of (popped - elapsed), makes the stamps; the earliest bound decides which frames were
    exposed after a change. Bounds are forgotten after 10 to 20 s, so that a camera whose clock drifts stays mapped.

    Parameters
    ----------
    started_ns
        A moment before the sequence was started.

    Examples
    --------
    >>> clock = CoreClock(started_ns=0)
    >>> clock.see(elapsed_ns=100, popped_ns=180, empty_ns=150)
    >>> clock.latest_ns(100), clock.earliest_ns(100)
    (180, 150)
    >>> clock.see(elapsed_ns=200, popped_ns=260, empty_ns=190)
    >>> clock.latest_ns(200), clock.earliest_ns(200)
    (260, 250)
    """

    def __init__(self, started_ns: int) -> None:
        self._bucket_began_ns = started_ns
        self._before: tuple[int, int] | None = None
        self._current: tuple[int, int] | None = (started_ns, 2**63)

    def see(self, elapsed_ns: int, popped_ns: int, empty_ns: int) -> None:
        """Take in one frame; ``empty_ns`` is when the buffer was last seen empty before it came."""
        if popped_ns - self._bucket_began_ns > _BUCKET_NS:
            self._bucket_began_ns = popped_ns
            self._before, self._current = self._current, None
        low, high = empty_ns - elapsed_ns, popped_ns - elapsed_ns
        if self._current is not None:
            low, high = max(low, self._current[0]), min(high, self._current[1])
        self._current = (low, high)

    def latest_ns(self, elapsed_ns: int) -> int:
        """Return the latest time at which the frame can have come into the core."""
        return elapsed_ns + min(bounds[1] for bounds in (self._before, self._current) if bounds)

    def earliest_ns(self, elapsed_ns: int) -> int:
        """Return the earliest time at which the frame can have come into the core."""
        earliest = elapsed_ns + max(bounds[0] for bounds in (self._before, self._current) if bounds)
        return min(earliest, self.latest_ns(elapsed_ns))
