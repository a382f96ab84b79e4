"""MDA mode: the time points of a plan. Pure, as the schedule that asks it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How the plan's time points follow each other.

    ``times_ns`` from the first one on, where the plan lists them; otherwise every ``interval_ns``, ``ticks`` of them
    (None: until stopped).
    """

    interval_ns: int = 0
    ticks: int | None = None
    times_ns: tuple[int, ...] = ()

    def step_ns(self, tick: int) -> int:
        """Return the time from a time point to the next."""
        times = self.times_ns
        if len(times) < 2:
            return self.interval_ns
        tick = min(tick, len(times) - 2)
        return times[tick + 1] - times[tick]


class PlanClock:
    """The plan's time points, numbered; ``newest`` is the first that has not begun."""

    def __init__(self, pace: Pace, now_ns: int) -> None:
        self._pace = pace
        self._changed_ns: int | None = None
        self.newest = 0
        self._due_ns = {0: now_ns}

    @property
    def over(self) -> bool:
        """Whether every time point has begun."""
        return self._pace.ticks is not None and self.newest >= self._pace.ticks

    @property
    def step_ns(self) -> int:
        """Time from the time point that began last to the next."""
        planned = self._pace.step_ns(max(self.newest - 1, 0))
        return planned if self._changed_ns is None else self._changed_ns

    @property
    def bursts(self) -> bool:
        """Whether the plan, and no command, has the next time point follow the last one without an interval."""
        return self._changed_ns is None and self.step_ns == 0

    def due_ns(self, tick: int) -> int:
        """Return when a time point is due: ``newest``, or one that has begun and for which a position still waits."""
        return self._due_ns[tick]

    def begin(self, tick: int, now_ns: int) -> None:
        """A position begins this time point."""
        if tick == self.newest:
            self._next(now_ns)

    def pass_by(self, now_ns: int) -> None:
        """Let the time points that were due begin without a visit: every position is on a schedule of its own."""
        while not self.over and self._due_ns[self.newest] <= now_ns:
            step_ns = self._pace.step_ns(self.newest) if self._changed_ns is None else self._changed_ns
            self._next(self._due_ns[self.newest] if step_ns else now_ns)

    def set_step(self, step_ns: int | None, now_ns: int) -> None:
        """Let the next time point begin so long after the last one; None: as planned."""
        self._changed_ns = step_ns
        if self.newest:
            self._due_ns[self.newest] = max(self._due_ns[self.newest - 1] + self.step_ns, now_ns)

    def restart(self, now_ns: int) -> None:
        """Begin again with the first time point."""
        self.newest, self._due_ns = 0, {0: now_ns}

    def resume(self, now_ns: int) -> None:
        """Catch up with nothing that a pause left out."""
        self._due_ns = {tick: max(due_ns, now_ns) for tick, due_ns in self._due_ns.items()}

    def forget_before(self, tick: int) -> None:
        """Drop what no position waits for."""
        keep = min(tick, self.newest - 1)
        for old in [known for known in self._due_ns if known < keep]:
            del self._due_ns[old]

    def _next(self, now_ns: int) -> None:
        begun_ns = self._due_ns[self.newest]
        self.newest += 1
        self._due_ns[self.newest] = max(begun_ns + self.step_ns, now_ns + 1)
