"""What a publisher does with the messages that a consumer does not take in time: each consumer names its own policy."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from stream.wire.messages import Message, MessageKind

Loss = tuple[MessageKind, str, str]
"""Kind of message, camera, reason."""

_REPLACEABLE: tuple[MessageKind, ...] = ("frame", "labels", "denoised", "cells", "tracks", "alive")
"""Kinds of which a newer message says all that an older one could."""
MOST_BYTES = 1 << 30
"""The most that may wait for one consumer: some hundred frames of a large camera, not the host's memory."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How messages wait for one consumer; made by :func:`lossless`, :func:`deadline` and :func:`latest`.

    ``limit`` bounds how many wait. ``max_age_ms`` is the age of the data from which a whole frame is not worth sending.
    """

    kind: Literal["lossless", "deadline", "latest"]
    limit: int
    max_age_ms: float = 0.0


def lossless(limit: int = 256) -> Policy:
    """Keep all; beyond ``limit``, or the bytes that an :class:`Outbox` holds, the oldest are lost: ``overflow``."""
    return Policy("lossless", limit)


def deadline(max_age_ms: float, limit: int = 64) -> Policy:
    """Drop whole frames whose data are older than ``max_age_ms``, counted as ``deadline``."""
    return Policy("deadline", limit, max_age_ms)


def latest(limit: int = 64) -> Policy:
    """Keep only the newest of each topic, field, channel and plane, the older ones counted as ``superseded``.

    Gaps, events and facts replace nothing: they wait, up to ``limit``.
    """
    return Policy("latest", limit)


class Outbox:
    """The messages that wait for one consumer, and the losses that it has not been told yet. Not thread-safe.

    Parameters
    ----------
    policy
        The consumer's.
    max_bytes
        The most that may wait, whatever the policy; the newest message always finds room.
    """

    def __init__(self, policy: Policy, max_bytes: int = MOST_BYTES) -> None:
        self._policy = policy
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: deque[Message] = deque()
        self._untold: Counter[Loss] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, message: Message, now_ns: int) -> list[Loss]:
        """Take a message in and return what was lost by it, or had become too old meanwhile."""
        lost = self.expire(now_ns)
        if self._policy.kind == "latest" and message.kind in _REPLACEABLE:
            lost += self._supersede(message)
        self._waiting.append(message)
        self._bytes += _size(message)
        while len(self._waiting) > self._policy.limit or (self._bytes > self._max_bytes and len(self._waiting) > 1):
            lost.append(self._lose(self._next(), "overflow"))
        return lost

    def expire(self, now_ns: int) -> list[Loss]:
        """Let the frames go that are too old and return what was lost; they wait in the order of their age."""
        if self._policy.kind != "deadline":
            return []
        frames = (waiting for waiting in self._waiting if waiting.kind == "frame")
        return self._remove(list(takewhile(lambda frame: self._too_old(frame, now_ns), frames)), "deadline")

    def take(self, now_ns: int) -> tuple[Message | None, list[Loss]]:
        """Return the next message worth sending, if any, and what was lost on the way to it."""
        lost: list[Loss] = []
        while self._waiting:
            message = self._next()
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
        self._bytes = 0
        return lost

    def _next(self) -> Message:
        message = self._waiting.popleft()
        self._bytes -= _size(message)
        return message

    def _remove(self, messages: Sequence[Message], reason: str) -> list[Loss]:
        for message in messages:
            self._waiting.remove(message)
            self._bytes -= _size(message)
        return [self._lose(message, reason) for message in messages]

    def _too_old(self, message: Message, now_ns: int) -> bool:
        policy = self._policy
        age_ms = (now_ns - message.born_ns) / 1e6
        return policy.kind == "deadline" and message.kind == "frame" and age_ms > policy.max_age_ms

    def _supersede(self, message: Message) -> list[Loss]:
        shows = _shows(message)
        return self._remove([waiting for waiting in self._waiting if _shows(waiting) == shows], "superseded")

    def _lose(self, message: Message, reason: str) -> Loss:
        loss: Loss = (message.kind, message.camera, reason)
        self._untold[loss] += 1
        return loss


def _shows(message: Message) -> tuple[str, str, str, str, int]:
    """Return what a newer message must have in common with an older one to replace it."""
    return message.kind, message.topic, message.field, message.channel, message.z


def _size(message: Message) -> int:
    return len(message.header) + len(message.payload)
