"""What is known beforehand of a field's time points: how they are numbered, and which channels some of them lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stream.config import Configuration, PlanSettings
from stream.protocol import positions_of

LeftOut = Callable[[int, int], frozenset[str]]
"""Given a position and a time point, the channels that the plan takes, but not then."""

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is known of time points; by itself, nothing.

    Parameters
    ----------
    step
        By how much their numbers grow; 0: as their source shows (:class:`stream.frame.Stride`).
    left_out
        See :data:`LeftOut`.
    """

    step: int = 0
    left_out: LeftOut = lambda position, t: _NOTHING

    def without(self, channel: str, position: int, earlier: int, later: int) -> int:
        """Return at how many time points between two the plan leaves a channel out."""
        return sum(channel in self.left_out(position, t) for t in range(earlier + 1, later))


UNKNOWN = Schedule()


def schedule_of(config: Configuration) -> Schedule:
    """Return what a configuration says: a microscope counts its time points and keeps to a plan.

    The files of a recording may be numbered by tens, and were taken by a plan that nobody knows any more.
    """
    return UNKNOWN if config.camera.driver == "replay" else Schedule(1, _left_out(config.plan))


def _left_out(plan: PlanSettings) -> LeftOut:
    """Return what a protocol says of ``acquire_every``; nothing of positions with channels of their own."""
    channels = plan.protocol.channels if plan.protocol is not None else ()
    if all(channel.acquire_every == 1 for channel in channels):
        return UNKNOWN.left_out
    stops = positions_of(plan.protocol) if plan.protocol is not None else ()
    apart = {p for p, stop in enumerate(stops) if stop.sequence is not None and stop.sequence.channels}
    names = frozenset(channel.config for channel in channels)

    def left_out(position: int, t: int) -> frozenset[str]:
        due = (channel.config for channel in channels if t % channel.acquire_every == 0)
        return _NOTHING if position in apart else names.difference(due)

    return left_out
