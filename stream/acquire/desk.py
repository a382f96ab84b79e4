"""The command desk: every command that arrives gets progress and exactly one final answer, once, whatever happens.

Arrival and application run on different threads, so that a stop is heard while a slow stage still moves; a stop, and
the rig's own closing of the light, do not wait for that thread either.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from stream.acquire.answers import Answers, Ledger
from stream.acquire.approvals import WAITS, Approvals
from stream.acquire.baseplan import BasePlan
from stream.acquire.guard import Guard
from stream.acquire.judge import Judge
from stream.acquire.pausing import Pausing
from stream.acquire.pending import Pending
from stream.acquire.precedence import is_urgent, priority
from stream.clock import Clock, now_ns
from stream.command import (
    Ack,
    AckState,
    Command,
    Decision,
    Resume,
    Stop,
)
from stream.errors import CytoloopError, Expired, Refused
from stream.frame import Frame
from stream.metrics import COMMAND_SECONDS
from stream.stages import Darkens, Readback, StillGood

log = logging.getLogger(__name__)

_LAST = 1_000_000
_CLOSE_S = 10.0
"""How long the end of a run waits for all commands that the hardware is busy with."""


class Applies(Protocol):
    """What carries commands out: a driver, as far as the desk knows it."""

    def apply(self, command: Command, still_good: StillGood) -> Readback: ...


def _nobody(command: Command, readback: Readback) -> None:
    """Tell nobody."""


class Desk:
    """Takes commands in, lets the guard, an operator and the driver judge them, and answers.

    Parameters
    ----------
    answer
        Called with every Ack, progress and final, from any of the desk's threads.
    first_frame_timeout_s
        How long an applied command waits for the first frame that shows it before it is answered without one.
    on_applied
        Called as soon as the hardware has answered, before any frame shows it.
    """

    def __init__(
        self,
        driver: Applies,
        guard: Guard,
        base: BasePlan,
        ledger: Ledger,
        answer: Callable[[Command, Ack], None],
        *,
        first_frame_timeout_s: float,
        on_applied: Callable[[Command, Readback], None] = _nobody,
        clock: Clock = now_ns,
    ) -> None:
        self._driver, self._guard, self._base = driver, guard, base
        self._answers = Answers(ledger, answer, self._ended)
        self._finish = self._answers.finish
        self._on_applied = on_applied
        self._timeout_ns = round(first_frame_timeout_s * 1e9)
        self._clock = clock
        self._approvals = Approvals(guard.limits)
        self._waiting: queue.PriorityQueue[tuple[int, int, Pending | None]] = queue.PriorityQueue(maxsize=256)
        self._order = itertools.count()
        self.pausing = Pausing()
        """Who paused the rig."""
        self._judge = Judge(guard, self._answers, self.pausing, clock)
        self._closed = False
        self._urgent: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._apply_all, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to apply commands."""
        self._thread.start()

    def receive(self, command: Command) -> None:
        """Take a command in; never waits for the hardware. A repeated id gets its first answer again."""
        pending, urgent = Pending(command, self._clock()), is_urgent(command)
        with self._answers.lock:
            closed = self._closed
            if not self._answers.begin(pending):
                return
        if not self._answers.record(command, urgent=urgent) and not urgent:
            self._finish(pending, AckState.REFUSED, "the rig cannot write it down: its disk is full, slow or closed")
        elif closed:
            self._finish(pending, AckState.REFUSED, "the run is over")
        elif urgent:
            self._overtake(pending)
        else:
            self._enqueue(pending)

    def decide(self, decision: Decision) -> str:
        """Take an operator's word on a command that waits for it; return what came of it, for people."""
        pending = self._approvals.take(decision.command_id)
        if pending is None:
            return f"no command '{decision.command_id}' waits for approval"
        if decision.approve:
            pending.approved_by = decision.by
            self._enqueue(pending)
            return "approved"
        self._finish(pending, AckState.DENIED, f"denied by {decision.by}")
        return "denied"

    def approvals(self) -> list[dict[str, Any]]:
        """Return the commands that wait for an operator's word, as plain data."""
        return self._approvals.told(self._clock())

    def took(self, frame: Frame) -> None:
        """See a frame: it answers the commands whose effect it is the first to show."""
        answerable: list[Pending] = []
        with self._answers.lock:
            self._guard.where.took(frame)
            for command_id in frame.commands:
                pending = self._answers.get(command_id)
                if pending is not None:
                    pending.first = frame
                    answerable += [pending] * (pending.readback is not None)
        for pending in answerable:
            self._answers.applied(pending, frame)

    def expire_waits(self) -> None:
        """Answer what has waited too long: for a frame that shows it (a paused or very slow plan), or for a word."""
        now = self._clock()
        with self._answers.lock:
            for pending in self._answers:
                if pending.readback is not None and pending.readback.pending is not None and pending.readback.pending():
                    pending.applied_ns = now  # it has not had its turn beside the plan
            late = [p for p in self._answers if p.readback and now - p.applied_ns > self._timeout_ns]
        for pending in late:
            if pending.readback is not None and pending.readback.pending is not None:
                self._finish(pending, AckState.FAILED, "none of its frames came")
            else:
                self._answers.applied(pending, None)
        for pending in self._approvals.take_overdue(now):
            limit_s = self._guard.limits.approve_timeout_s
            self._finish(pending, AckState.DENIED, f"nobody approved it within {limit_s:g} s")
        for pending in self._approvals.parked():
            verdict = self._guard.too_old(pending.command, now, approved=True)
            if verdict and self._approvals.take(pending.command.command_id):
                self._finish(pending, verdict.state, f"waited for approval: {verdict.reason}")

    def close_to_feedback(self, reason: str) -> None:
        """Refuse commands that do not come from an operator, with this reason; empty: open again."""
        self._judge.closed_to_feedback = reason
        for pending in self._approvals.parked() if reason else ():
            if self._approvals.take(pending.command.command_id):
                self._finish(pending, AckState.REFUSED, reason)

    def settle(self) -> None:
        """Wait until everything that has arrived has been judged."""
        self._waiting.join()
        for thread in self._urgent:
            thread.join()

    def close(self) -> None:
        """Stop applying; what is waiting, or still arrives, is refused."""
        with self._answers.lock:
            self._closed = True
        self._waiting.put((-_LAST, next(self._order), None))
        over_s = time.monotonic() + _CLOSE_S
        for thread in (self._thread, *self._urgent):
            if thread.is_alive():
                thread.join(max(0.0, over_s - time.monotonic()))
        for pending in self._answers:
            if pending.readback is not None and pending.readback.pending is None:
                self._answers.applied(pending, None)
            elif pending.driving and pending.readback is None:
                self._finish(pending, AckState.UNKNOWN, "the run ended while the hardware was at it; look at the rig")
            else:
                self._finish(pending, AckState.REFUSED, "the run ended before the command's turn")

    def _enqueue(self, pending: Pending) -> None:
        try:
            self._waiting.put_nowait((-priority(pending.command), next(self._order), pending))
        except queue.Full:
            self._finish(pending, AckState.REFUSED, f"{self._waiting.maxsize} commands are waiting already")

    def _overtake(self, pending: Pending) -> None:
        """Apply at once, while the applying thread may still wait for a slow device."""
        thread = threading.Thread(target=self._turn, args=(pending,), name=pending.command.action.kind, daemon=True)
        self._urgent = [*(other for other in self._urgent if other.is_alive()), thread]
        thread.start()

    def _apply_all(self) -> None:
        while True:
            _, _, pending = self._waiting.get()
            if pending is not None:
                self._turn(pending)
            self._waiting.task_done()
            if pending is None:
                return

    def _turn(self, pending: Pending) -> None:
        try:
            self._apply(pending)
        except Exception as error:  # the desk must outlive any fault of a driver
            log.exception("command %s", pending.command.command_id)
            self._guard.dose.answered(pending.command, None)
            self._finish(pending, AckState.FAILED, f"{type(error).__name__}: {error}")

    def _apply(self, pending: Pending) -> None:
        command = pending.command
        if verdict := self._judge.verdict(pending):
            self._finish(pending, verdict.state, verdict.reason)
            return
        self._supersede(pending)
        if self._approvals.needed(command) and not pending.approved_by:
            self._answers.accept(command, WAITS)
            self._approvals.park(pending, self._clock())
            return
        reason = f"approved by {pending.approved_by}" if pending.approved_by else ""
        self._answers.accept(command, reason, urgent=is_urgent(command))
        self._drive(pending)

    def _supersede(self, newer: Pending) -> None:
        """Give up what a command that goes on makes pointless; what waits for its turn is answered then."""
        for other in self._judge.passed(newer):
            other.superseded = True
            if self._approvals.take(other.command.command_id):
                self._enqueue(other)

    def _drive(self, pending: Pending) -> None:
        command, dose = pending.command, self._guard.dose
        begun_ns = self._clock()
        self._judge.stopped = self._judge.stopped or isinstance(command.action, Stop)
        pending.driving = True
        try:
            dose.asked(command, self._guard.field_of(command), self._guard.outline(command))
            if is_urgent(command):
                self._darken()
            readback = self._driver.apply(command, partial(self._judge.still_good, pending))
        except Refused as refusal:
            dose.refused(command)
            self._not_done(pending, AckState.EXPIRED if isinstance(refusal, Expired) else AckState.REFUSED, refusal)
        except CytoloopError as error:
            dose.answered(command, None)
            self._not_done(pending, AckState.FAILED, error)
        else:
            self._done(pending, readback, begun_ns)

    def _not_done(self, pending: Pending, state: AckState, error: CytoloopError) -> None:
        if isinstance(pending.command.action, Stop):
            self._judge.stopped = False
        self._finish(pending, state, str(error))

    def _done(self, pending: Pending, readback: Readback, begun_ns: int) -> None:
        command = pending.command
        pending.applied_ns = self._clock()
        self._guard.dose.answered(command, readback.values)
        self._guard.applied(command, readback)
        self.pausing.applied(command)
        self._note_change(command, readback)
        self._take_back(readback.ends, command)
        self._on_applied(command, readback)
        total_ms = (pending.applied_ns - pending.received_ns) / 1e6
        pending.timings_ms = {
            "waited": (begun_ns - pending.received_ns) / 1e6,
            "boundary": readback.boundary_ms,
            "device": readback.device_ms,
            "total": total_ms,
        }
        COMMAND_SECONDS.observe(total_ms / 1e3)
        with self._answers.lock:
            pending.readback = readback
            first = pending.first  # a fast camera may show the effect before this thread comes back
            if first is None:
                self._guard.where.applied(command, readback)
        if first is not None or not readback.takes_frame or isinstance(command.action, Resume):
            self._answers.applied(pending, first)

    def _take_back(self, ended: Sequence[str], command: Command) -> None:
        """Answer sequences that wait beside the plan and were cancelled before their first frame."""
        with self._answers.lock:
            taken = [pending for command_id in ended if (pending := self._answers.get(command_id))]
        for pending in taken:
            if pending.first is None:
                self._finish(pending, AckState.SUPERSEDED, f"cancelled by {command.command_id} before its first frame")

    def _darken(self) -> None:
        """Close the light out of turn, on a thread of its own: no shutter may hold up the stop itself."""
        if isinstance(self._driver, Darkens):
            threading.Thread(target=self._driver.darken, name="darken", daemon=True).start()

    def _ended(self, command: Command, ack: Ack) -> None:
        self._guard.dose.ended(ack.command_id, ack.state is AckState.APPLIED, self._clock())

    def _note_change(self, command: Command, readback: Readback) -> None:
        if command.cause.origin == "operator":
            self._base.ordered(command, readback.values)
        elif command.cause.origin != "rig":
            self._base.changed(command, readback.values)
