"""What the desk owes: the commands that have no final answer yet, and how each comes to exactly one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import dropwhile, islice, takewhile
from typing import Protocol

from stream.acquire.pending import Pending
from stream.command import Ack, AckState, Command
from stream.errors import StoreError
from stream.frame import Frame
from stream.metrics import COMMANDS

log = logging.getLogger(__name__)

_PATIENCE_S = 3.0
"""How long a command waits for the disk."""
_URGENT_PATIENCE_S = 0.5
"""The same for one that must not wait."""
_SICK_PATIENCE_S = 0.05
"""The same while the disk has not written what was given to it last: a stop may stand behind in the queue."""


class Ledger(Protocol):
    """Where commands and their transitions are kept (``stream.facts.rig.RigFacts``)."""

    def command(self, command: Command, received: Ack, *, timeout_s: float) -> object: ...
    def progress(self, ack: Ack, *, timeout_s: float) -> None: ...
    def transition(self, ack: Ack, *, timeout_s: float) -> None: ...
    def known(self, command_id: str) -> Ack | None: ...


class Answers:
    """Open commands by id. Safe from several threads; a disk that fails costs the record, never the answer.

    Parameters
    ----------
    answer
        Called with every Ack, progress and final.
    on_final
        Called before the final one.
    """

    def __init__(
        self, ledger: Ledger, answer: Callable[[Command, Ack], None], on_final: Callable[[Command, Ack], None]
    ) -> None:
        self._ledger, self._answer, self._on_final = ledger, answer, on_final
        self._open: dict[str, Pending] = {}
        self._sick = False
        self.lock = threading.RLock()
        """Holds the open commands and what is known of them together."""

    def __iter__(self) -> Iterator[Pending]:
        """Return the open commands, as they are now."""
        with self.lock:
            return iter(tuple(self._open.values()))

    def before(self, pending: Pending) -> Iterator[Pending]:
        """Return the open commands that came before this one."""
        return takewhile(lambda other: other is not pending, self)

    def after(self, pending: Pending) -> Iterator[Pending]:
        """Return the open commands that came after this one."""
        return islice(dropwhile(lambda other: other is not pending, self), 1, None)

    def get(self, command_id: str) -> Pending | None:
        """Return an open command; None for one that is answered, or was never seen."""
        return self._open.get(command_id)

    def begin(self, pending: Pending) -> bool:
        """Take a command in; False when its id came before: then it is answered again."""
        command = pending.command
        with self.lock:
            if command.command_id in self._open:
                earlier: Ack | None = _received(command, "already in hand")
            else:
                earlier = self._known(command)
            if earlier is None:
                self._open[command.command_id] = pending
        if earlier is not None:
            self._answer(command, earlier)
        return earlier is None

    def record(self, command: Command, *, urgent: bool) -> bool:
        """Write a command down and say that it was received; False when it cannot be written."""
        received = _received(command)
        patience_s = self._patience_s(urgent=urgent)
        if not self._wrote(lambda: self._ledger.command(command, received, timeout_s=patience_s), received):
            return False
        self._answer(command, received)
        return True

    def accept(self, command: Command, reason: str, *, urgent: bool = False) -> None:
        """Say that a command has passed the guard."""
        ack = Ack(command_id=command.command_id, state=AckState.ACCEPTED, reason=reason)
        self._wrote(lambda: self._ledger.progress(ack, timeout_s=self._patience_s(urgent=urgent)), ack)
        self._answer(command, ack)

    def applied(self, pending: Pending, frame: Frame | None) -> None:
        """Answer that a command was applied, with the first frame that shows it where there is one."""
        timings = dict(pending.timings_ms or {})
        if frame is not None:
            timings["to_first_frame"] = (frame.stamps.t_pop_ns - pending.received_ns) / 1e6
        ack = Ack(
            command_id=pending.command.command_id,
            state=AckState.APPLIED,
            readback=dict(pending.readback.values) if pending.readback else {},
            first_frame=frame.ref if frame else None,
            timings_ms=timings,
        )
        self._final(pending, ack)

    def finish(self, pending: Pending, state: AckState, reason: str) -> None:
        """Answer for good; nothing happens where that was done before."""
        self._final(pending, Ack(command_id=pending.command.command_id, state=state, reason=reason))

    def _final(self, pending: Pending, ack: Ack) -> None:
        with self.lock:
            if self._open.pop(pending.command.command_id, None) is None:
                return  # a command has exactly one final state
        COMMANDS.labels(pending.command.action.kind, ack.state.value).inc()
        self._on_final(pending.command, ack)
        self._wrote(lambda: self._ledger.transition(ack, timeout_s=self._patience_s()), ack)
        self._answer(pending.command, ack)

    def _known(self, command: Command) -> Ack | None:
        try:
            return self._ledger.known(command.command_id)
        except StoreError as error:
            log.error("what was answered before is not known: %s", error)
            return None

    def _patience_s(self, *, urgent: bool = False) -> float:
        return _SICK_PATIENCE_S if self._sick else _URGENT_PATIENCE_S if urgent else _PATIENCE_S

    def _wrote(self, write: Callable[[], object], ack: Ack) -> bool:
        try:
            write()
        except StoreError as error:
            self._sick = True
            log.error("'%s' of command %s is not recorded: %s", ack.state, ack.command_id, error)
            return False
        self._sick = False
        return True


def _received(command: Command, reason: str = "") -> Ack:
    return Ack(command_id=command.command_id, state=AckState.RECEIVED, reason=reason)
