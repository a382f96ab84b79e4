"""What a publisher does with the messages that a consumer does not take in time: each consumer names its own policy."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

from stream.wire.messages import Message, MessageKind

Loss = tuple[MessageKind, str, str]
"""Kind of message, camera, reason."""

_REPLACEABLE: tuple[MessageKind, ...] = ("frame", "labels", "denoised", "cells", "tracks", "alive")
"""Kinds of which a newer message says all that an older one could."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How messages wait for one consumer; made by :func:`lossless`, :func:`deadline` and :func:`latest`.

    ``limit`` bounds how many wait. ``max_age_ms`` is the age of the data from which a whole frame is not worth sending.
    """

    kind: Literal["lossless", "deadline", "latest"]
    limit: int
    max_age_ms: float = 0.0


def lossless(limit: int = 256) -> Policy:
    """Keep all; beyond ``limit`` the oldest are lost and counted as ``overflow``."""
    return Policy("lossless", limit)


def deadline(max_age_ms: float, limit: int = 64) -> Policy:
    """Drop whole frames whose data are older than ``max_age_ms``, counted as ``deadline``."""
    return Policy("deadline", limit, max_age_ms)


def latest(limit: int = 64) -> Policy:
    """Keep only the newest of each topic and field, the older ones counted as ``superseded``.

    Gaps, events and facts replace nothing: they wait, up to ``limit``.
    """
    return Policy("latest", limit)


class Outbox:
    """The messages that wait for one consumer, and the losses that it has not been told yet. Not thread-safe."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._waiting: deque[Message] = deque()
        self._untold: Counter[Loss] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, message: Message) -> list[Loss]:
        """Take a message in and return what was lost by it."""
        lost: list[Loss] = []
        if self._policy.kind == "latest" and message.kind in _REPLACEABLE:
            lost += self._supersede(message)
        self._waiting.append(message)
        while len(self._waiting) > self._policy.limit:
            lost.append(self._lose(self._waiting.popleft(), "overflow"))
        return lost

    def take(self, now_ns: int) -> tuple[Message | None, list[Loss]]:
        """Return the next message worth sending, if any, and what was lost on the way to it."""
        lost: list[Loss] = []
        while self._waiting:
            message = self._waiting.popleft()
            if not self._too_old(message, now_ns):
                return message, lost
            lost.append(self._lose(message, "deadline"))
        return None, lost

    def untold(self) -> Counter[Loss]:
        """Return the losses since the last call."""
        told = self._untold
        if told:
            self._untold = Counter()
        return told

    def abandon(self, reason: str) -> list[Loss]:
        """Empty the queue because the link ended and return what the consumer will never see."""
        lost = [self._lose(message, reason) for message in self._waiting]
        self._waiting.clear()
        return lost

    def _too_old(self, message: Message, now_ns: int) -> bool:
        policy = self._policy
        age_ms = (now_ns - message.born_ns) / 1e6
        return policy.kind == "deadline" and message.kind == "frame" and age_ms > policy.max_age_ms

    def _supersede(self, message: Message) -> list[Loss]:
        key = (message.kind, message.topic, message.field)
        older = [waiting for waiting in self._waiting if (waiting.kind, waiting.topic, waiting.field) == key]
        for waiting in older:
            self._waiting.remove(waiting)
        return [self._lose(waiting, "superseded") for waiting in older]

    def _lose(self, message: Message, reason: str) -> Loss:
        loss: Loss = (message.kind, message.camera, reason)
        self._untold[loss] += 1
        return loss
