"""How far the analysis has come, as the rig's dead-man is told."""

from __future__ import annotations

from collections.abc import Callable

from stream.frame import FrameRef


class Progress:
    """The last frame up to which everything is settled.

    That is the last one that was decided, or, while nothing is in flight, the last one that was received: not every
    frame calls for a decision. A frame on which a stage failed calls for one in vain: it is settled where its field's
    frame before it was decided, for one bad frame is no bad analysis, else by the next decision.

    Once a frame is settled there is always one: only an analysis that has just begun knows none.
    """

    def __init__(self) -> None:
        self._received: FrameRef | None = None
        self._decided: FrameRef | None = None
        self._settled: FrameRef | None = None
        self._failures: dict[str, int] = {}
        self._unsettled = False

    def received(self, ref: FrameRef) -> None:
        """Note a frame that was taken in."""
        self._received = ref

    def decided(self, ref: FrameRef) -> None:
        """Note a decision; it settles whatever came before."""
        self._decided = ref
        self._failures[ref.field] = 0
        self._unsettled = False

    def failed(self, ref: FrameRef) -> None:
        """Note a frame on which a stage failed; a field's first frame is as bad as its second one in a row."""
        self._failures[ref.field] = self._failures.get(ref.field, 1) + 1
        self._unsettled = self._unsettled or self._failures[ref.field] > 1

    def settled(self, count: Callable[[], int]) -> tuple[FrameRef | None, int]:
        """Return the last frame up to which nothing is open, and how many moments are on their way (``count`` says)."""
        received = self._received  # read before they are counted: the next frame may be taken in between
        in_flight = count()
        self._settled = (self._decided if in_flight or self._unsettled else received) or self._settled
        return self._settled, in_flight
