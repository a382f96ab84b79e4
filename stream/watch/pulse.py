"""Short-term memory of numbers: the newest few hundred, their percentiles and a line to draw."""

from __future__ import annotations

from collections import deque

import numpy as np


class Recent:
    """The last ``size`` values.

    >>> recent = Recent(3)
    >>> for value in (1.0, 2.0, 3.0, 4.0): recent.add(value)
    >>> recent.line(), recent.percentile(50)
    ([2.0, 3.0, 4.0], 3.0)
    """

    def __init__(self, size: int) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Append a value; the oldest one leaves."""
        self._values.append(value)

    def percentile(self, q: float) -> float | None:
        """Return the ``q``-th percentile, None without values."""
        return float(np.percentile(np.fromiter(self._values, np.float64), q)) if self._values else None

    def line(self, points: int = 120) -> list[float]:
        """Return the newest ``points`` values, oldest first, rounded for the page."""
        return [round(value, 2) for value in list(self._values)[-points:]]


class Rate:
    """How often something happened within the last ``window_s``, or where it is rarer, between its last two times."""

    def __init__(self, size: int = 64, window_s: float = 5.0) -> None:
        self._at_ns: deque[int] = deque(maxlen=size)
        self._window_ns = window_s * 1e9

    def add(self, at_ns: int) -> None:
        """Note an occurrence."""
        self._at_ns.append(at_ns)

    def per_s(self, now_ns: int) -> float:
        """Return the rate; a silence that is longer than the usual interval lowers it."""
        if len(self._at_ns) < 2:
            return 0.0
        lately = [at for at in self._at_ns if now_ns - at <= self._window_ns]
        recent = lately if len(lately) > 1 else list(self._at_ns)[-2:]
        mean_ns = (recent[-1] - recent[0]) / (len(recent) - 1)
        silence_ns = now_ns - recent[-1]
        return 1e9 / max(mean_ns, silence_ns / 2, 1.0)
