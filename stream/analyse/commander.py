"""Turns wishes into commands: named by their event, with cause, age limit and target, kept before they are sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from pydantic import ValidationError

from stream.clock import wall_ns
from stream.command import Cause, Command, Target
from stream.errors import StoreError, WireError
from stream.event import Event
from stream.frame import Frame
from stream.metrics import POLICY_DROPPED
from stream.stages import Wish

log = logging.getLogger(__name__)


class Asks(Protocol):
    """Asks the policies (``stream.feedback.runner.PolicyRunner``)."""

    @property
    def asks(self) -> bool: ...
    @property
    def on_frames(self) -> bool: ...
    def offer(self, event: Event) -> Sequence[tuple[str, Wish]]: ...


_WHOLE_RUN = frozenset({"set_interval", "pause", "resume", "stop"})

OnDropped = Callable[[str, str, Event], None]
"""Told of a wish that was dropped: policy, reason, event."""


class Outbox(Protocol):
    """Where commands are kept and sent (the facts and the control link)."""

    def sent(self, command: Command, policy: str = "") -> None: ...


class Commander:
    """Asks the policies about each event and sends what they wish for.

    A command's id is made of its event, revision, policy and place, so that a replay, or an analysis that was started
    again, asks for the same thing under the same name.
    """

    def __init__(
        self, policies: Asks, ledger: Outbox, submit: Callable[[Command], None], default_max_age_ms: float
    ) -> None:
        self._policies, self._ledger, self._submit = policies, ledger, submit
        self._default_max_age_ms = default_max_age_ms
        self.asks, self.on_frames = policies.asks, policies.on_frames

    def act_on(self, events: Iterable[Event], frame: Frame) -> int:
        """Send the commands that these events call for; return how many.

        A wish of which no command can be made, kept or sent is lost, and counted; the analysis goes on.
        """
        count = 0
        for event in events:
            for number, (policy, wish) in enumerate(self._policies.offer(event)):
                try:
                    self._send(self._command(event, frame, policy, number, wish), policy)
                except (ValidationError, StoreError, WireError) as error:
                    POLICY_DROPPED.labels(policy, "unsent").inc()
                    log.error("a wish of policy '%s' for %s is lost: %s", policy, event.event_id, error)
                else:
                    count += 1
        return count

    def _send(self, command: Command, policy: str) -> None:
        self._ledger.sent(command, policy)
        self._submit(command)

    def _command(self, event: Event, frame: Frame, policy: str, number: int, wish: Wish) -> Command:
        return Command(
            command_id=f"{event.event_id}/r{event.revision}/{policy}/{number}",
            action=wish.action,
            cause=Cause(event_id=event.event_id, frame=event.ref or frame.ref, origin=policy, rule=wish.reason),
            issued_wall_ns=wall_ns(),
            max_age_ms=wish.max_age_ms or self._default_max_age_ms,
            priority=wish.priority,
            target=Target(camera=frame.camera, position=_position(wish, frame)),
        )


def _position(wish: Wish, frame: Frame) -> int | None:
    """Return the position of the plan that a wish is for; None: none in particular."""
    if isinstance(wish.position, int):
        return wish.position
    everywhere = wish.position is None and wish.action.kind in _WHOLE_RUN
    return None if everywhere or wish.position == "all" else frame.index.p
