"""What feedback may do to this rig: soft limits, checked beside the hardware before a command is applied."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.acquire.dose import DoseLedger
from stream.acquire.outline import Outline, outline
from stream.acquire.pace import Pace
from stream.acquire.recent import Recent
from stream.acquire.spared import Spared
from stream.acquire.travel import Travel, outside
from stream.acquire.visits import Visits
from stream.acquire.whereabouts import Whereabouts
from stream.clock import wall_ns
from stream.command import (
    ALWAYS_ALLOWED,
    AckState,
    Acquire,
    AddPosition,
    Command,
    DropPosition,
    SetExposure,
    SetInterval,
    SetLight,
    Stimulate,
)
from stream.config import PlanSettings
from stream.errors import Refused
from stream.frame import field_name, plan_field
from stream.layout import Position, has_grid
from stream.protocol import positions_of
from stream.safety import DoseSettings, LimitSettings
from stream.stages import Readback

_FUTURE_TOLERANCE_NS = 60_000_000_000
OURS = ("operator", "rig")
"""Origins that need no leave; every other one is feedback."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a command may not be applied."""

    state: AckState
    reason: str


class Guard:
    """Checks commands against ``[limits]`` and the light ledger; None means go. Safe from several threads.

    Limits of travel, exposure, light and dose hold for everybody; ``allow`` and rates are for feedback alone.
    """

    def __init__(
        self,
        limits: LimitSettings,
        recent: Recent,
        where: Whereabouts | None = None,
        dose: DoseLedger | None = None,
        plan: PlanSettings | None = None,
    ) -> None:
        self.limits = limits
        self.where = where or Whereabouts()
        self.dose = dose or DoseLedger(DoseSettings(), {}, None)
        self._plan = plan or PlanSettings()
        self._recent = recent
        self._travel = Travel(limits, self.where)
        self._spared = Spared(self.where, self.dose)
        self._pace = Pace(limits)
        self._added = 0
        self.where.plan(Visits(self._plan))
        self._lock = threading.RLock()

    def begin(self, about: Mapping[str, Any]) -> str | None:
        """Lay the plan out where the stage stands now, as the driver says; return why it may not begin."""
        visits = Visits.described(self._plan, about)
        self.where.plan(visits)
        return self._travel.visits(visits)

    def check(self, command: Command, now_ns: int, *, approved: bool = False) -> Verdict | None:
        """Return why the command may not be applied now, or None.

        Parameters
        ----------
        now_ns
            This rig's monotonic clock.
        approved
            An operator said yes: its data may be older, as ``approved_max_age_ms`` says, and its turn was counted when
            it came.
        """
        with self._lock:
            return (
                self._for_another(command)
                or self._too_early(command)
                or self.too_old(command, now_ns, approved=approved)
                or self._out_of_limits(command, now_ns)
                or self._not_allowed(command)
                or (None if approved else self._too_many(command, now_ns))
            )

    def too_old(self, command: Command, now_ns: int, *, approved: bool) -> Verdict | None:
        """Say whether the data that a command was decided on are older by now than they may be, or unknown."""
        if command.cause.frame is None:
            return None
        age_ms = self.age_ms(command, now_ns)
        if age_ms is None:
            return _refused(f"names a frame that this rig has not taken, or long ago: {command.cause.frame}")
        limit_ms = min(self.limits.max_age_ms, command.max_age_ms or math.inf)
        if approved:
            limit_ms = self.limits.approved_max_age_ms or limit_ms
        if age_ms > limit_ms:
            return Verdict(AckState.EXPIRED, f"decided on data {age_ms:.0f} ms old; the limit is {limit_ms:.0f} ms")
        return None

    def age_ms(self, command: Command, now_ns: int) -> float | None:
        """Return the age of the data that the command was decided on; None without a frame."""
        if command.cause.frame is None:
            return None
        popped_ns = self._recent.popped_ns(command.cause.frame)
        return None if popped_ns is None else (now_ns - popped_ns) / 1e6

    def applied(self, command: Command, readback: Readback) -> None:
        """Note what the plan has more, or less, or elsewhere, since a command was applied."""
        self.where.placed(command, readback)
        if readback.pending is not None and (sequence := self.outline(command)) is not None:
            self.where.beside(readback.pending, sequence.stops_um)
        with self._lock:
            self._added += isinstance(command.action, AddPosition)
            self._added -= isinstance(command.action, DropPosition)

    def field_of(self, command: Command) -> str | None:
        """Return the field that a command is about; None before the first frame."""
        newest, position = self.where.newest, command.target.position
        if newest is None:
            return None
        return plan_field(newest.field) if position is None else field_name(newest.camera, position)

    def outline(self, command: Command) -> Outline | None:
        """Return what an ``acquire`` would do; None for other commands. Raises Refused."""
        action = command.action
        if not isinstance(action, Acquire):
            return None
        if action.at_um is not None and positions_of(action.sequence):
            raise Refused("the sequence names positions of its own; leave at_um or them out")
        base = self.where.base(command)
        if base is None or self.where.newest is None:
            raise Refused("no frame shows yet where the stage is, so nobody knows where the sequence would lead")
        fov = self.where.fov_um() if has_grid(action.sequence) else None
        return outline(action.sequence, base, self.where.exposure_ms, self.limits.max_frames, fov)

    def _for_another(self, command: Command) -> Verdict | None:
        newest, camera = self.where.newest, command.target.camera
        if camera is None or newest is None or camera == newest.camera:
            return None
        return _refused(f"the command is for camera '{camera}'; this is '{newest.camera}'")

    def _too_early(self, command: Command) -> Verdict | None:
        ahead_ns = command.issued_wall_ns - wall_ns()
        if ahead_ns > _FUTURE_TOLERANCE_NS:
            return _refused(f"issued {ahead_ns / 1e9:.0f} s in the future; set the sender's clock")
        return None

    def _out_of_limits(self, command: Command, now_ns: int) -> Verdict | None:
        try:
            sequence = self.outline(command)
            wrong = self._value(command) or self._travel.refuses(command) or self._masked(command)
            if sequence is not None:
                wrong = wrong or self._sequence(sequence) or self._travel.stops(sequence.stops_um)
            wrong = wrong or self._spared.refuses(command, self._lights(command, sequence))
        except Refused as refusal:
            return _refused(str(refusal))
        wrong = wrong or self.dose.refuses(command, self.field_of(command), now_ns, sequence)
        return _refused(wrong) if wrong else None

    def _lights(self, command: Command, sequence: Outline | None) -> Sequence[Position]:
        """Return where a command brings light that was not there."""
        if sequence is not None:
            return sequence.stops_um
        if isinstance(command.action, Stimulate):
            drawn = self._recent.stage_um(command.cause.frame) if command.cause.frame is not None else self.where.at_um
            return () if drawn is None else (drawn,)
        goal = self.where.goal(command.action)
        return () if goal is None else self.where.leads_to(command, goal)

    def _masked(self, command: Command) -> str | None:
        """Say why the stage may not go back to where a mask was drawn, which a stimulation takes it to."""
        if not isinstance(command.action, Stimulate) or command.cause.frame is None:
            return None
        stage_um = self._recent.stage_um(command.cause.frame)
        if stage_um is None:
            return f"its mask was drawn on a frame that this rig has not taken, or long ago: {command.cause.frame}"
        return self._travel.back(stage_um)

    def _value(self, command: Command) -> str | None:
        limits, action = self.limits, command.action
        match action:
            case SetExposure():
                return outside("exposure", action.exposure_ms, limits.exposure_ms, "ms")
            case SetInterval():
                return outside("interval", action.interval_ms, limits.interval_ms, "ms")
            case SetLight():
                return outside("light power", action.power, limits.light_power, "of full power")
            case Stimulate():
                return outside("a stimulation of", action.duration_ms, limits.stimulate_ms, "ms")
            case AddPosition():
                there = max(1, len(self.where.visits.planned)) + max(self._added, 0)
                if there >= limits.max_positions:
                    return f"the plan has {there} positions already; max_positions is {limits.max_positions}"
        return None

    def _sequence(self, sequence: Outline) -> str | None:
        limits, power = self.limits, self.dose.power
        light_ms = sequence.light_ms * (1.0 if power is None else power)
        most_ms = limits.max_acquire_light_ms
        return (
            outside("exposure", sequence.shortest_ms, limits.exposure_ms, "ms")
            or outside("exposure", sequence.longest_ms, limits.exposure_ms, "ms")
            or outside("a sequence of", sequence.duration_ms, (0.0, limits.max_acquire_ms), "ms")
            or outside("light at full power of", light_ms, (0.0, most_ms) if most_ms else None, "ms")
        )

    def _not_allowed(self, command: Command) -> Verdict | None:
        kind, allow = command.action.kind, self.limits.allow
        if command.cause.origin in OURS or allow is None or kind in allow or kind in ALWAYS_ALLOWED:
            return None
        return _refused(f"[limits] allow does not name {kind}")

    def _too_many(self, command: Command, now_ns: int) -> Verdict | None:
        if command.cause.origin in OURS:
            return None
        kind = command.action.kind
        if wrong := self._pace.refuses(kind, now_ns):
            return _refused(wrong)
        self._pace.passed(kind, now_ns)
        return None


def _refused(reason: str) -> Verdict:
    return Verdict(AckState.REFUSED, reason)
