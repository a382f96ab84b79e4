"""Commands of feedback that wait for an operator's word. No word in time means no."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from stream.acquire.guard import OURS
from stream.acquire.pending import Pending
from stream.command import NEVER_ASKED, Command
from stream.metrics import APPROVALS_WAITING
from stream.safety import LimitSettings

WAITS = "waits for approval"
"""The reason in the ack of a command that waits."""


class Approvals:
    """Who waits, since when. Safe from several threads."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._timeout_ns = round(limits.approve_timeout_s * 1e9)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, tuple[Pending, int]] = OrderedDict()

    def needed(self, command: Command) -> bool:
        """Whether an operator must say yes to this command first."""
        kind, named = command.action.kind, self._limits.approve
        if command.cause.origin in OURS:
            return False
        return kind in named or ("all" in named and kind not in NEVER_ASKED)

    def park(self, pending: Pending, now_ns: int) -> None:
        """Let a command wait."""
        with self._lock:
            self._waiting[pending.command.command_id] = (pending, now_ns + self._timeout_ns)
            APPROVALS_WAITING.set(len(self._waiting))

    def take(self, command_id: str) -> Pending | None:
        """Return a command that waits and forget it; None where none of that id does."""
        with self._lock:
            found = self._waiting.pop(command_id, None)
            APPROVALS_WAITING.set(len(self._waiting))
        return found[0] if found else None

    def take_overdue(self, now_ns: int) -> list[Pending]:
        """Return the commands that nobody answered in time, and forget them."""
        with self._lock:
            late = [command_id for command_id, (_, until_ns) in self._waiting.items() if now_ns >= until_ns]
        return [pending for command_id in late if (pending := self.take(command_id))]

    def parked(self) -> list[Pending]:
        """Return all that wait, the oldest first."""
        with self._lock:
            return [pending for pending, _ in self._waiting.values()]

    def told(self, now_ns: int) -> list[dict[str, Any]]:
        """Return who waits, as ``{command_id, kind, origin, event_id, action, left_s}``."""
        with self._lock:
            rows = [(pending.command, until_ns) for pending, until_ns in self._waiting.values()]
        return [
            {
                "command_id": command.command_id,
                "kind": command.action.kind,
                "origin": command.cause.origin,
                "event_id": command.cause.event_id,
                "action": command.action.model_dump(mode="json", exclude={"kind"}, exclude_none=True),
                "left_s": round(max(until_ns - now_ns, 0) / 1e9, 1),
            }
            for command, until_ns in rows
        ]
