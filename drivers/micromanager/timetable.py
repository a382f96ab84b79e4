"""MDA mode: which event comes next, and when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import product

from stream.command import Target
from stream.config import PlanSettings
from stream.errors import Refused
from stream.frame import Index

Position = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shot:
    """One event that is due; None and an empty channel leave the stage and the channel as they are."""

    index: Index
    place_um: Position | None
    channel: str


class Timetable:
    """Time points on a fixed interval; in each, all positions, and in each of these all channels.

    Examples
    --------
    >>> table = Timetable(PlanSettings(mode="mda", interval_ms=1, frames=2, channels=("a", "b")), now_ns=0)
    >>> [table.take(0).channel, table.take(0).channel]
    ['a', 'b']
    >>> table.wait_ns(now_ns=300_000)
    700000
    >>> table.take(1_000_000).index
    Index(t=1, p=0, c=0, z=0, g=0)
    """

    def __init__(self, plan: PlanSettings, now_ns: int) -> None:
        self._frames = plan.frames
        self._positions = list(plan.positions_um)
        self.channels = plan.channels
        self._interval_ns = round(plan.interval_ms * 1e6)
        self._t = -1
        self._todo: deque[tuple[int, int]] = deque()
        self._begun_ns = self._next_ns = now_ns

    @property
    def complete(self) -> bool:
        """Whether every time point of the plan has been taken."""
        return not self._todo and self._frames is not None and self._t + 1 >= self._frames

    def wait_ns(self, now_ns: int) -> int:
        """Return how long until the next event is due."""
        return 0 if self._todo else max(0, self._next_ns - now_ns)

    def take(self, now_ns: int) -> Shot:
        """Return the event that is due."""
        if not self._todo:
            self._begin_time_point(now_ns)
        p, c = self._todo.popleft()
        return Shot(
            Index(t=self._t, p=p, c=c),
            self._positions[p] if self._positions else None,
            self.channels[c] if self.channels else "",
        )

    def set_interval(self, interval_ms: float) -> float:
        """Let the next time point begin so long after the last one began; returns the interval kept."""
        self._interval_ns = round(interval_ms * 1e6)
        self._next_ns = self._begun_ns + self._interval_ns
        return self._interval_ns / 1e6

    def resume(self, now_ns: int) -> None:
        """Catch up with nothing that a pause left out."""
        self._next_ns = max(self._next_ns, now_ns)

    def position(self, target: Target) -> tuple[int | None, Position | None]:
        """Return which position of the plan a command means, and where it is. Raises Refused."""
        if target.position is None and len(self._positions) > 1:
            raise Refused(f"the plan has {len(self._positions)} positions; say which in the command's target")
        position = target.position or 0
        if not 0 <= position < max(len(self._positions), 1):
            raise Refused(f"the plan has no position {position}; it has {len(self._positions) or 1}")
        return (position, self._positions[position]) if self._positions else (None, None)

    def move(self, position: int, place_um: Position) -> None:
        """Take a position of the plan elsewhere from now on."""
        self._positions[position] = place_um

    def _begin_time_point(self, now_ns: int) -> None:
        self._t += 1
        self._begun_ns = self._next_ns
        # More than a whole interval late: go on from here rather than hurry to catch up.
        self._next_ns = max(self._next_ns + self._interval_ns, now_ns)
        self._todo.extend(product(range(len(self._positions) or 1), range(len(self.channels) or 1)))
