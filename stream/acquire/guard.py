"""What feedback may do to this rig: soft limits, checked beside the hardware before a command is applied."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from stream.acquire.recent import Recent
from stream.clock import wall_ns
from stream.command import AckState, Command, MoveStage, Recentre, SetExposure, SetInterval, SetLight
from stream.config import LimitSettings

_FUTURE_TOLERANCE_NS = 60_000_000_000
_ALWAYS = ("stop", "pause", "resume")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a command may not be applied."""

    state: AckState
    reason: str


def _outside(name: str, value: float | None, limits: tuple[float, float] | None, unit: str) -> str | None:
    if value is None or limits is None or limits[0] <= value <= limits[1]:
        return None
    return f"{name} {value:g} {unit} is outside the limits {limits[0]:g} to {limits[1]:g} {unit}"


class Guard:
    """Checks commands against ``[limits]``; None means go."""

    def __init__(self, limits: LimitSettings, recent: Recent) -> None:
        self._limits = limits
        self._recent = recent
        self._passed_ns: deque[int] = deque()

    def check(self, command: Command, at_um: tuple[float, float, float], now_ns: int) -> Verdict | None:
        """Return why the command may not be applied now, or None.

        Parameters
        ----------
        at_um
            Where the stage is, ``(x, y, z)``.
        now_ns
            This rig's monotonic clock.
        """
        return (
            self._too_early(command)
            or self._too_old(command, now_ns)
            or self._out_of_limits(command, at_um)
            or self._not_allowed(command)
            or self._too_many(command, now_ns)
        )

    def age_ms(self, command: Command, now_ns: int) -> float | None:
        """Return the age of the data that the command was decided on; None without a frame."""
        if command.cause.frame is None:
            return None
        popped_ns = self._recent.popped_ns(command.cause.frame)
        return None if popped_ns is None else (now_ns - popped_ns) / 1e6

    def _too_early(self, command: Command) -> Verdict | None:
        ahead_ns = command.issued_wall_ns - wall_ns()
        if ahead_ns > _FUTURE_TOLERANCE_NS:
            return _refused(f"issued {ahead_ns / 1e9:.0f} s in the future; set the sender's clock")
        return None

    def _too_old(self, command: Command, now_ns: int) -> Verdict | None:
        if command.cause.frame is None:
            return None
        age_ms = self.age_ms(command, now_ns)
        if age_ms is None:
            return _refused(f"names a frame that this rig has not taken, or long ago: {command.cause.frame}")
        limit_ms = min(self._limits.max_age_ms, command.max_age_ms or math.inf)
        if age_ms > limit_ms:
            return Verdict(AckState.EXPIRED, f"decided on data {age_ms:.0f} ms old; the limit is {limit_ms:.0f} ms")
        return None

    def _out_of_limits(self, command: Command, at_um: tuple[float, float, float]) -> Verdict | None:
        limits, action = self._limits, command.action
        wrong: list[str | None] = []
        match action:
            case SetExposure():
                wrong = [_outside("exposure", action.exposure_ms, limits.exposure_ms, "ms")]
            case SetInterval():
                wrong = [_outside("interval", action.interval_ms, limits.interval_ms, "ms")]
            case SetLight():
                wrong = [_outside("light power", action.power, limits.light_power, "of full power")]
            case MoveStage():
                wrong = self._move(at_um, action.x_um, action.y_um, action.z_um)
            case Recentre():
                wrong = self._move(at_um, *action.target_um, None)
        first = next(filter(None, wrong), None)
        return _refused(first) if first else None

    def _move(
        self, at: tuple[float, float, float], x: float | None, y: float | None, z: float | None
    ) -> list[str | None]:
        limits = self._limits
        steps = [0.0 if goal is None else goal - now for goal, now in zip((x, y, z), at, strict=True)]
        length_um = math.hypot(*steps)
        too_far = None
        if limits.max_move_um is not None and length_um > limits.max_move_um:
            too_far = f"a move of {length_um:.1f} µm is longer than max_move_um = {limits.max_move_um:g}"
        return [
            _outside("x", x, limits.x_um, "µm"),
            _outside("y", y, limits.y_um, "µm"),
            _outside("z", z, limits.z_um, "µm"),
            too_far,
        ]

    def _not_allowed(self, command: Command) -> Verdict | None:
        kind, allow = command.action.kind, self._limits.allow
        if command.cause.origin == "operator" or allow is None or kind in allow or kind in _ALWAYS:
            return None
        return _refused(f"[limits] allow does not name {kind}")

    def _too_many(self, command: Command, now_ns: int) -> Verdict | None:
        if command.cause.origin == "operator":
            return None
        while self._passed_ns and now_ns - self._passed_ns[0] > 1_000_000_000:
            self._passed_ns.popleft()
        if len(self._passed_ns) >= self._limits.rate_per_s:
            return _refused(f"more than rate_per_s = {self._limits.rate_per_s:g} commands within a second")
        self._passed_ns.append(now_ns)
        return None


def _refused(reason: str) -> Verdict:
    return Verdict(AckState.REFUSED, reason)
