"""How late an image came into the core, judged by the camera's own rhythm.

An image that arrives is not an image that was just exposed: on a busy machine the thread that carries it may have
waited. What arrives later than the rhythm says was probably exposed when the rhythm says, and is treated so: a command
is then named by a frame too late rather than by one that does not show it.
"""

from __future__ import annotations

from collections import deque
from statistics import median

_WINDOW = 9
_KNOWN = 3


class Cadence:
    """Judges each arrival by the gap to the one before.

    A camera either keeps its interval whatever the exposure, or its dead time: the kinder of both judgements holds, so
    that a change of the exposure is no lateness.

    Examples
    --------
    >>> cadence = Cadence()
    >>> [cadence.late_ns(gap, exposure_ns=5) for gap in (10, 10, 10, 10, 30, 1, 10)]
    [5, 5, 5, 0, 20, 11, 0]
    """

    def __init__(self) -> None:
        self._gaps: deque[int] = deque(maxlen=_WINDOW)
        self._dead: deque[int] = deque(maxlen=_WINDOW)
        self._late_ns = 0

    def late_ns(self, gap_ns: int, exposure_ns: int) -> int:
        """Return how late this arrival may be; while the rhythm is unknown, as late as can be."""
        dead_ns = gap_ns - exposure_ns
        if len(self._gaps) < _KNOWN:
            self._late_ns = max(0, dead_ns)
        else:
            beyond_ns = round(min(gap_ns - median(self._gaps), dead_ns - median(self._dead)))
            # Close after a late one comes one that waited behind it.
            behind = gap_ns < median(self._gaps) / 2
            self._late_ns = max(0, beyond_ns + (self._late_ns if behind else 0))
        self._gaps.append(gap_ns)
        self._dead.append(dead_ns)
        return self._late_ns
