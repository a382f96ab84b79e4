"""Whether a command may go now: when its turn comes, and once more at the hardware."""

from __future__ import annotations

from stream.acquire.answers import Answers
from stream.acquire.guard import OURS, Guard, Verdict
from stream.acquire.pausing import Pausing
from stream.acquire.pending import Pending
from stream.acquire.precedence import applies_in_shadow, supersedes
from stream.clock import Clock
from stream.command import AckState, Stop
from stream.errors import Expired, Refused

_NEWER = Verdict(AckState.SUPERSEDED, "a newer command of the same kind arrived first")
_STOPPED = Verdict(AckState.REFUSED, "the run was stopped before the command's turn")
_SHADOWED = Verdict(AckState.SHADOWED, "nothing is applied in shadow mode; it passed every limit")


class Judge:
    """Asks the guard, and knows what else keeps a command from its turn. Safe from several threads."""

    def __init__(self, guard: Guard, answers: Answers, pausing: Pausing, clock: Clock) -> None:
        self._guard, self._answers, self._pausing, self._clock = guard, answers, pausing, clock
        self.closed_to_feedback = ""
        """Why feedback is not heard; empty: it is."""
        self.stopped = False
        """Whether the run has been stopped."""

    def verdict(self, pending: Pending) -> Verdict | None:
        """Say why a command is not applied, now that its turn has come; None: it goes on."""
        command, guard = pending.command, self._guard
        found = (_NEWER if self._is_superseded(pending) else None) or self._barred(pending)
        found = found or guard.check(command, self._clock(), approved=bool(pending.approved_by))
        shadowed = guard.limits.shadow and not applies_in_shadow(command)
        return found or (_SHADOWED if shadowed else None)

    def still_good(self, pending: Pending) -> None:
        """Look once more, now that the hardware is free: the wait for it may have been long.

        Raises
        ------
        Expired
            The data that the command was decided on are too old by now.
        Refused
            Meanwhile the run was stopped, or feedback is not heard any more, or those data are forgotten.
        """
        if barred := self._barred(pending):
            raise Refused(barred.reason)
        if late := self._too_old(pending):
            raise Expired(late.reason) if late.state is AckState.EXPIRED else Refused(late.reason)

    def passed(self, newer: Pending) -> list[Pending]:
        """A command goes on: return those that waited for their turn before it came, and are pointless now."""
        waiting = [other for other in self._answers.before(newer) if other.readback is None]
        return [other for other in waiting if _makes_pointless(newer, other)]

    def _is_superseded(self, pending: Pending) -> bool:
        """Whether a newer command has passed, or waits and would."""
        newer = (other for other in self._answers.after(pending) if _makes_pointless(other, pending))
        return pending.superseded or any(self._would_pass(other) for other in newer)

    def _would_pass(self, pending: Pending) -> bool:
        if pending.superseded or self._barred(pending) or self._too_old(pending):
            return False
        # As if it were approved: its turn is not counted twice.
        return self._guard.check(pending.command, self._clock(), approved=True) is None

    def _barred(self, pending: Pending) -> Verdict | None:
        command = pending.command
        if self.stopped and not isinstance(command.action, Stop):
            return _STOPPED
        if self.closed_to_feedback and command.cause.origin not in OURS:
            return Verdict(AckState.REFUSED, self.closed_to_feedback)
        paused = self._pausing.refuses(command)
        return Verdict(AckState.REFUSED, paused) if paused else None

    def _too_old(self, pending: Pending) -> Verdict | None:
        return self._guard.too_old(pending.command, self._clock(), approved=bool(pending.approved_by))


def _makes_pointless(newer: Pending, older: Pending) -> bool:
    """Whether a newer command would supersede an older one; not where an operator has approved the older one alone."""
    waits = newer.command.cause.origin not in OURS and not newer.approved_by
    return supersedes(newer.command, older.command) and not (older.approved_by and waits)
