"""A source that can wait, as a recording can, goes at the analysis' pace: nothing of it is lost, nothing is late."""

from __future__ import annotations

from stream.acquire.recent import Recent
from stream.clock import Clock, now_ns
from stream.config import Configuration
from stream.frame import FrameRef
from stream.stages import Driver, Waits
from stream.wire.publish import Publisher

ANALYSIS = "analyse"


class Patience:
    """Holds a source back while the analysis has not taken what there is, where the source can wait.

    An analysis that the run waits for at its start is waited for when it is started again, too.
    """

    def __init__(self, config: Configuration, driver: Driver, publisher: Publisher) -> None:
        self.waits = isinstance(driver, Waits)
        self._publisher = publisher
        self._expected = {ANALYSIS} & set(config.run.wait_for)

    def allows(self, timeout_s: float) -> bool:
        """Wait a moment for the analysis; return whether it can take another frame."""
        if not self.waits:
            return True
        there = self._publisher.wait_for(self._expected, timeout_s)
        return there and self._publisher.wait_taken(ANALYSIS, timeout_s)


class Unhurried(Recent):
    """The memory of a rig whose source waits: it is the last decision that tells whether the analysis goes on.

    How many frames are under way is bounded, so that a slow analysis is late with each and yet not lost.
    """

    def __init__(self, clock: Clock = now_ns) -> None:
        super().__init__()
        self._clock = clock
        self._last: FrameRef | None = None
        self._went_on_ns = 0

    def decided(self, ref: FrameRef) -> None:
        """Note that everything up to this frame has been decided, and when that was news."""
        super().decided(ref)
        if ref != self._last:
            self._last, self._went_on_ns = ref, self._clock()

    def oldest_undecided_ns(self) -> int | None:
        """Return since when the analysis owes a decision; None when all are decided."""
        oldest_ns = super().oldest_undecided_ns()
        return None if oldest_ns is None else max(oldest_ns, self._went_on_ns)
