"""How far into the run a frame was taken: by the rig's stamps, or, of a recording, as that states its times."""

from __future__ import annotations

from dataclasses import dataclass

from stream.analyse.kept import Kept
from stream.frame import Frame

_STAMPS = ""


@dataclass(frozen=True, slots=True)
class _Passed:
    """What had passed of the run at a frame, and when that was popped on which host's clock."""

    elapsed_s: float
    host: str
    t_pop_ns: int


class Elapsed:
    """Seconds since the run's first frame, so that a recording played at any speed gives the same.

    A run may be begun by an earlier analysis (:meth:`take_up`), or a recording be begun anew by a rig that was started
    again: the time goes on from there.
    """

    def __init__(self) -> None:
        self._starts_ns: dict[str, int] = {}
        """When the run began on each clock: that of the stamps, and that of each playing of a recording."""
        self._passed: _Passed | None = None

    def take_up(self, kept: Kept) -> None:
        """Go on after a field's frame that an earlier analysis decided; after the latest of them."""
        self._went_on(_Passed(kept.elapsed_s, kept.host, kept.t_pop_ns))

    def see(self, frame: Frame) -> None:
        """Take in a frame; the first one on a clock tells when the run began on it."""
        clock = _clock(frame)
        if clock not in self._starts_ns:
            self._starts_ns[clock] = self._start_ns(frame)
        self._went_on(_Passed(self.of(frame), frame.stamps.host, frame.stamps.t_pop_ns))

    def of(self, frame: Frame) -> float:
        """Return the seconds at a frame that was seen."""
        return (_time_ns(frame) - self._starts_ns[_clock(frame)]) / 1e9

    def _went_on(self, passed: _Passed) -> None:
        if self._passed is None or passed.elapsed_s > self._passed.elapsed_s:
            self._passed = passed

    def _start_ns(self, first: Frame) -> int:
        """Return when the run began on the clock of its first frame; a recording's own clock says so itself."""
        passed, t_ns = self._passed, _time_ns(first)
        if passed is None:
            return t_ns if first.t_recorded_ms is None else 0
        if first.t_recorded_ms is not None and t_ns >= round(passed.elapsed_s * 1e9):
            return 0
        return t_ns - round(passed.elapsed_s * 1e9) - _away_ns(first, passed)


def _away_ns(first: Frame, passed: _Passed) -> int:
    """Return for how long nobody looked; another host's clock, or one that began anew, cannot tell."""
    stamps = first.stamps
    return max(0, stamps.t_pop_ns - passed.t_pop_ns) if stamps.host == passed.host else 0


def _clock(frame: Frame) -> str:
    return _STAMPS if frame.t_recorded_ms is None else frame.session


def _time_ns(frame: Frame) -> int:
    recorded_ms = frame.t_recorded_ms
    return frame.stamps.t_pop_ns if recorded_ms is None else round(recorded_ms * 1e6)
