"""The command desk: every command that arrives gets progress and exactly one final answer, once, whatever happens.

Arrival and application run on different threads, so that a stop is heard while a slow stage still moves.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stream.acquire.baseplan import BasePlan
from stream.acquire.guard import Guard
from stream.clock import Clock, now_ns
from stream.command import Ack, AckState, Action, Command, MoveStage, Resume, SetLight, Stop
from stream.errors import CytoloopError, Refused
from stream.frame import Frame
from stream.metrics import COMMAND_SECONDS, COMMANDS
from stream.stages import Readback

log = logging.getLogger(__name__)

_SUPERSEDABLE = frozenset(
    {"set_exposure", "set_interval", "set_roi", "set_light", "move_stage", "recentre", "set_channel"}
)
_URGENT = 1_000_000


class Ledger(Protocol):
    """Where commands and their transitions are kept (``stream.facts.rig.RigFacts``)."""

    def command(self, command: Command, received: Ack) -> object: ...
    def progress(self, ack: Ack) -> None: ...
    def transition(self, ack: Ack) -> None: ...
    def known(self, command_id: str) -> Ack | None: ...


class Applies(Protocol):
    """What carries commands out: a driver, as far as the desk knows it."""

    def apply(self, command: Command) -> Readback: ...


@dataclass(slots=True)
class _Pending:
    command: Command
    received_ns: int
    readback: Readback | None = None
    timings_ms: dict[str, float] | None = None
    applied_ns: int = 0
    superseded: bool = False
    first: Frame | None = None


class Desk:
    """Takes commands in, lets the guard and the driver judge them, and answers.

    Parameters
    ----------
    answer
        Called with every Ack, progress and final, from any of the desk's threads.
    first_frame_timeout_s
        How long an applied command waits for the first frame that shows it before it is answered without one.
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
        clock: Clock = now_ns,
    ) -> None:
        self._driver, self._guard, self._base, self._ledger, self._answer = driver, guard, base, ledger, answer
        self._timeout_ns = round(first_frame_timeout_s * 1e9)
        self._clock = clock
        self._waiting: queue.PriorityQueue[tuple[int, int, _Pending | None]] = queue.PriorityQueue(maxsize=256)
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._open: dict[str, _Pending] = {}
        self._at_um = (0.0, 0.0, 0.0)
        self._closed_to_feedback = ""
        self._closed = self._stopped = False
        self._thread = threading.Thread(target=self._apply_all, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to apply commands."""
        self._thread.start()

    def receive(self, command: Command) -> None:
        """Take a command in; never waits for the hardware. A repeated id gets its first answer again."""
        with self._lock:
            in_hand = command.command_id in self._open
        if in_hand:
            self._answer(command, Ack(command_id=command.command_id, state=AckState.RECEIVED, reason="already in hand"))
            return
        if earlier := self._ledger.known(command.command_id):
            self._answer(command, earlier)
            return
        pending = _Pending(command, self._clock())
        with self._lock:
            closed = self._closed
            self._supersede(command)
            self._open[command.command_id] = pending
        received = Ack(command_id=command.command_id, state=AckState.RECEIVED)
        self._ledger.command(command, received)
        self._answer(command, received)
        if closed:
            self._finish(pending, AckState.REFUSED, "the run is over")
            return
        urgency = _URGENT if isinstance(command.action, Stop) else command.priority
        try:
            self._waiting.put_nowait((-urgency, next(self._order), pending))
        except queue.Full:
            self._finish(pending, AckState.REFUSED, f"{self._waiting.maxsize} commands are waiting already")

    def took(self, frame: Frame) -> None:
        """See a frame: it answers the commands whose effect it is the first to show."""
        self._at_um = frame.stage_um
        for command_id in frame.commands:
            with self._lock:
                pending = self._open.get(command_id)
                if pending is None:
                    continue
                pending.first = frame
                answerable = pending.readback is not None
            if answerable:
                self._applied(pending, frame)

    def expire_waits(self) -> None:
        """Answer applied commands that no frame has shown for too long (a paused or very slow plan)."""
        with self._lock:
            late = [p for p in self._open.values() if p.readback and self._clock() - p.applied_ns > self._timeout_ns]
        for pending in late:
            self._applied(pending, None)

    def close_to_feedback(self, reason: str) -> None:
        """Refuse commands that do not come from an operator, with this reason; empty: open again."""
        self._closed_to_feedback = reason

    def close(self) -> None:
        """Stop applying; what is waiting, or still arrives, is refused."""
        with self._lock:
            self._closed = True
        self._waiting.put((-_URGENT - 1, next(self._order), None))
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with self._lock:
            left = list(self._open.values())
        for pending in left:
            if pending.readback is not None:
                self._applied(pending, None)
            else:
                self._finish(pending, AckState.REFUSED, "the run ended before the command's turn")

    def _supersede(self, command: Command) -> None:
        """Mark waiting commands that this one makes pointless; the applying thread answers them."""
        if command.action.kind not in _SUPERSEDABLE:
            return
        for other in self._open.values():
            same = other.command.action.kind == command.action.kind and other.command.target == command.target
            same = same and _asks(other.command.action) <= _asks(command.action)
            if same and other.readback is None and other.command.priority <= command.priority:
                other.superseded = True

    def _apply_all(self) -> None:
        while True:
            _, _, pending = self._waiting.get()
            if pending is None:
                return
            try:
                self._apply(pending)
            except Exception as error:  # the desk must outlive any fault of a driver
                log.exception("command %s", pending.command.command_id)
                self._finish(pending, AckState.FAILED, f"{type(error).__name__}: {error}")

    def _apply(self, pending: _Pending) -> None:
        command = pending.command
        if pending.superseded:
            self._finish(pending, AckState.SUPERSEDED, "a newer command of the same kind arrived first")
            return
        if self._stopped and not isinstance(command.action, Stop):
            self._finish(pending, AckState.REFUSED, "the run was stopped before the command's turn")
            return
        if self._closed_to_feedback and command.cause.origin not in ("operator", "rig"):
            self._finish(pending, AckState.REFUSED, self._closed_to_feedback)
            return
        if verdict := self._guard.check(command, self._at_um, self._clock()):
            self._finish(pending, verdict.state, verdict.reason)
            return
        self._accept(command)
        try:
            self._drive(pending)
        except Refused as refusal:
            self._finish(pending, AckState.REFUSED, str(refusal))
        except CytoloopError as error:
            self._finish(pending, AckState.FAILED, str(error))

    def _drive(self, pending: _Pending) -> None:
        begun_ns = self._clock()
        readback = self._driver.apply(pending.command)
        self._stopped = self._stopped or isinstance(pending.command.action, Stop)
        pending.applied_ns = self._clock()
        self._note_change(pending.command)
        total_ms = (pending.applied_ns - pending.received_ns) / 1e6
        pending.timings_ms = {
            "waited": (begun_ns - pending.received_ns) / 1e6,
            "boundary": readback.boundary_ms,
            "device": readback.device_ms,
            "total": total_ms,
        }
        COMMAND_SECONDS.observe(total_ms / 1e3)
        with self._lock:
            pending.readback = readback
            first = pending.first  # a fast camera may show the effect before this thread comes back
        if first is not None or not readback.takes_frame or isinstance(pending.command.action, Resume):
            self._applied(pending, first)

    def _note_change(self, command: Command) -> None:
        if command.cause.origin == "operator":
            self._base.ordered(command.action)
        elif command.cause.origin != "rig":
            self._base.changed(command.action)

    def _applied(self, pending: _Pending, frame: Frame | None) -> None:
        timings = dict(pending.timings_ms or {})
        if frame is not None:
            timings["to_first_frame"] = (frame.stamps.t_pop_ns - pending.received_ns) / 1e6
        values = dict(pending.readback.values) if pending.readback else {}
        ack = Ack(
            command_id=pending.command.command_id,
            state=AckState.APPLIED,
            readback=values,
            first_frame=frame.ref if frame else None,
            timings_ms=timings,
        )
        self._final(pending, ack)

    def _finish(self, pending: _Pending, state: AckState, reason: str) -> None:
        self._final(pending, Ack(command_id=pending.command.command_id, state=state, reason=reason))

    def _final(self, pending: _Pending, ack: Ack) -> None:
        with self._lock:
            if self._open.pop(pending.command.command_id, None) is None:
                return  # answered already: a command has exactly one final state
        COMMANDS.labels(pending.command.action.kind, ack.state.value).inc()
        self._ledger.transition(ack)
        self._answer(pending.command, ack)

    def _accept(self, command: Command) -> None:
        ack = Ack(command_id=command.command_id, state=AckState.ACCEPTED)
        self._ledger.progress(ack)
        self._answer(command, ack)


def _asks(action: Action) -> frozenset[str]:
    """Name what an action sets: a move in z says nothing about x, so it does not make a move in x pointless."""
    partial = isinstance(action, MoveStage | SetLight)
    return frozenset(name for name, value in action if value is not None) if partial else frozenset()
