"""Runs policies on a time budget. A policy that raises, dawdles or talks nonsense loses its wish, and nothing else.

Each policy has a daemon thread of its own: one that hangs for ever holds up neither the analysis nor the end of the
process. It is not asked again until it has returned, and its late answer is thrown away. Its state stays what it was
before the event it failed on.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from stream.command import Cause, Command
from stream.errors import PolicyError
from stream.event import TICK, Event
from stream.feedback.actions import ACTIONS
from stream.metrics import POLICY_DROPPED
from stream.stages import Policy, Wish

log = logging.getLogger(__name__)

START_TIMEOUT_S = 10.0
OnDropped = Callable[[str, str, Event], None]
"""Called with policy, reason and event for every wish that was dropped; reasons: overrun, busy, exception, nonsense."""


@dataclass(slots=True, eq=False)
class _Call:
    """One question to a policy, and its answer once ``done`` is set."""

    ask: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    error: Exception | None = None


class _Worker:
    """A policy with its thread and its state."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.on_frames = bool(getattr(policy, "on_frames", False))
        self._inbox: queue.Queue[_Call | None] = queue.Queue(1)
        self._last: _Call | None = None
        threading.Thread(target=self._run, name=f"policy-{name}", daemon=True).start()
        first = self.ask(policy.start)
        if first is None or not first.done.wait(START_TIMEOUT_S):
            raise PolicyError(f"policy '{name}': start() did not return within {START_TIMEOUT_S:g} s")
        if first.error:
            raise PolicyError(f"policy '{name}': start() raised {_named(first.error)}") from first.error
        self.state = first.answer

    def ask(self, question: Callable[[], Any]) -> _Call | None:
        """Hand a question to the thread; None while it is still at an earlier one."""
        if self._last is not None and not self._last.done.is_set():
            return None
        self._last = _Call(question)
        self._inbox.put(self._last)
        return self._last

    def close(self) -> None:
        """Let an idle thread end; a hung one ends with the process."""
        if self._last is None or self._last.done.is_set():
            self._inbox.put(None)

    def _run(self) -> None:
        while (call := self._inbox.get()) is not None:
            try:
                call.answer = call.ask()
            except Exception as error:  # the edge of a user's code: handed to whoever asked, counted there
                call.error = error
            call.done.set()


class PolicyRunner:
    """Asks every policy about every event.

    Parameters
    ----------
    policies
        Names and policies, asked side by side; wishes come in this order.
    budget_ms
        The time that all of them have for one event.
    on_dropped
        Told of every dropped wish, for the record.

    Raises
    ------
    PolicyError
        A policy's ``start`` raised or hung.
    """

    def __init__(
        self, policies: Sequence[tuple[str, Policy]], budget_ms: float, *, on_dropped: OnDropped | None = None
    ) -> None:
        self._budget_s = budget_ms / 1e3
        self._on_dropped = on_dropped
        self._workers = [_Worker(name, policy) for name, policy in policies]
        self._dropped: Counter[tuple[str, str]] = Counter()

    @property
    def dropped(self) -> Mapping[tuple[str, str], int]:
        """How many answers were dropped, by (policy, reason)."""
        return dict(self._dropped)

    @property
    def asks(self) -> bool:
        """Whether there is a policy to ask."""
        return bool(self._workers)

    @property
    def on_frames(self) -> bool:
        """Whether a policy wants to be asked after every frame."""
        return any(worker.on_frames for worker in self._workers)

    def offer(self, event: Event) -> list[tuple[str, Wish]]:
        """Return what the policies wish for, each with its policy's name, within the budget. Never raises.

        An event that is only the clock (:data:`stream.event.TICK`) goes to the policies that asked for it.
        """
        deadline = time.monotonic() + self._budget_s
        asked = [worker for worker in self._workers if worker.on_frames or event.kind != TICK]
        calls = [(worker, worker.ask(_question(worker, event))) for worker in asked]
        wishes: list[tuple[str, Wish]] = []
        for worker, call in calls:
            if call is None:
                self._drop(worker, "busy", event, "has not returned from an earlier event")
            elif not call.done.wait(max(0.0, deadline - time.monotonic())):
                self._drop(worker, "overrun", event, f"took longer than {self._budget_s * 1e3:g} ms")
            else:
                wishes += [(worker.name, wish) for wish in self._answer(worker, call, event)]
        return wishes

    def close(self) -> None:
        """End the threads that can be ended."""
        for worker in self._workers:
            worker.close()

    def _answer(self, worker: _Worker, call: _Call, event: Event) -> Sequence[Wish]:
        if call.error is not None:
            self._drop(worker, "exception", event, f"raised {_named(call.error)}")
            return ()
        fault = _fault(call.answer)
        if fault:
            self._drop(worker, "nonsense", event, fault)
            return ()
        worker.state, wishes = call.answer
        return tuple(wishes)

    def _drop(self, worker: _Worker, reason: str, event: Event, detail: str) -> None:
        POLICY_DROPPED.labels(worker.name, reason).inc()
        self._dropped[worker.name, reason] += 1
        log.warning("policy '%s' %s; its wish for %s is dropped", worker.name, detail, event.event_id)
        if self._on_dropped:
            self._on_dropped(worker.name, reason, event)


def _question(worker: _Worker, event: Event) -> Callable[[], Any]:
    policy, state = worker.policy, worker.state
    return lambda: policy.decide(state, event)


def _fault(answer: Any) -> str | None:
    """Say what is wrong with an answer of ``decide``; None where nothing is."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        return f"returned {type(answer).__name__}, not (state, wishes)"
    wishes = answer[1]
    if not isinstance(wishes, list | tuple):
        return f"returned {type(wishes).__name__} for wishes, not a list"
    for wish in wishes:
        if not isinstance(wish, Wish):
            return f"wished for {type(wish).__name__}, not a Wish"
        if not isinstance(wish.action, BaseModel) or type(wish.action) not in ACTIONS.values():
            return f"wished for {type(wish.action).__name__}, which is no action"
        if fault := _impossible(wish):
            return f"wished for {wish.action.kind} {fault}"
    return None


def _impossible(wish: Wish) -> str | None:
    """Say why no command can be made of a wish for an action."""
    named = isinstance(wish.position, str) and wish.position in ("event", "all")
    if not named and not isinstance(wish.position, int | None):
        return f"at the position {wish.position!r}, which is no number, 'event' or 'all'"
    try:
        Command(
            command_id="wish",
            action=wish.action,
            cause=Cause(rule=wish.reason),
            issued_wall_ns=0,
            max_age_ms=None if wish.max_age_ms == 0 else wish.max_age_ms,
            priority=wish.priority,
        )
    except ValidationError as error:
        first = error.errors()[0]
        return f"with an impossible {'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (ValueError, TypeError) as error:  # an array where a number belongs
        return f"with an impossible value: {error}"
    return None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
