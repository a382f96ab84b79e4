"""The receiving end: asks for topics, hands out what comes, and says what did not."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self

import zmq

from stream.clock import Clock, now_ns
from stream.errors import Malformed, UnknownSchema
from stream.frame import Frame
from stream.metrics import FRAMES_LOST, MESSAGES_REFUSED
from stream.wire.header import Header, item_text, item_whole, text, unpack
from stream.wire.link import CONTROL_TOPIC, check_address, link_came, new_socket, note, watch_link
from stream.wire.losses import Losses
from stream.wire.messages import Disconnected, EndOfStream, Item, Lost, Reconnected
from stream.wire.policy import Policy, lossless
from stream.wire.publish import lost_stage
from stream.wire.read import Part, decode

log = logging.getLogger(__name__)
_NOW = int(zmq.NOBLOCK)
_BYE_LINGER_MS = 500
_CREDIT_S = 1.0
"""How long credits are held back at most: the publisher must see that a slow consumer goes on."""


class Subscriber:
    """Takes part in one publisher's stream; connects, and connects again, by itself.

    Every method is called by one thread at a time. The link's heartbeats do not need that thread: a consumer that is
    busy is not taken for dead.

    Parameters
    ----------
    address
        The publisher's.
    topics
        Exact topics, or the first words of several: ``frame`` asks for every camera. An empty text asks for all.
    name
        How losses are labelled at the publisher.
    policy
        What the publisher does with what is not taken in time.
    credits
        How many messages may be under way.
    """

    def __init__(
        self,
        address: str,
        topics: Sequence[str],
        *,
        name: str,
        policy: Policy | None = None,
        credits: int = 8,
        heartbeat_ms: int = 200,
        heartbeat_timeout_ms: int = 600,
        clock: Clock = now_ns,
    ) -> None:
        check_address(address)
        self._name = name
        self._clock = clock
        self._hello = {
            "name": name,
            "instance": uuid.uuid4().hex,
            "topics": list(topics),
            "policy": asdict(policy or lossless()),
            "credits": credits,
        }
        self._ready: deque[Item] = deque()
        self._losses = Losses()
        self._session = ""
        self._linked = False
        self._away = False
        self._ended = False
        self._owed = 0
        self._batch = max(1, credits // 2)
        """Credits go back in twos or fours while messages keep coming, and at once when none waits."""
        self._credited_s = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = new_socket(self._context, zmq.DEALER, heartbeat_ms, heartbeat_timeout_ms)
        self._monitor = watch_link(self._dealer)
        self._poller = zmq.Poller()
        self._poller.register(self._dealer, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._dealer.connect(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def session(self) -> str:
        """The session of the publisher that answered last; empty before the first answer."""
        return self._session

    def next(self, timeout_s: float) -> Item | None:
        """Return the next message, loss or change of the link; None when nothing came in time.

        A message that cannot be decoded is counted and skipped.
        """
        now_s = time.monotonic()
        if self._owed >= self._batch or now_s - self._credited_s > _CREDIT_S:
            self._give_credit()
        end_s = now_s + timeout_s
        while not self._ready:
            if self._receive():  # before the monitor: what came before a link broke is still good
                continue
            self._give_credit()
            left_s = max(0.0, end_s - time.monotonic())
            readable = dict(self._poller.poll(math.ceil(left_s * 1e3)))
            if self._monitor in readable and self._dealer not in readable:
                self._link_changed()
            elif not readable:
                return None
        return self._ready.popleft()

    def close(self) -> None:
        """Say ``bye`` and leave. Idempotent."""
        if self._dealer.closed:
            return
        if self._linked and not self._ended:
            self._tell("bye", {})
        self._dealer.disable_monitor()
        self._monitor.close(linger=0)
        self._dealer.close(linger=_BYE_LINGER_MS if self._linked else 0)
        self._context.term()

    def _give_credit(self) -> None:
        if self._owed:
            self._tell("credit", {"count": self._owed})
            self._owed = 0
            self._credited_s = time.monotonic()

    def _tell(self, kind: str, content: Header) -> None:
        with contextlib.suppress(zmq.Again):
            self._dealer.send_multipart(note(kind, content), zmq.NOBLOCK)

    def _link_changed(self) -> None:
        came = link_came(self._monitor)
        if came is None:
            return
        self._linked = came
        if came:
            self._owed = 0  # a new connection begins with all its credits
            self._tell("hello", self._hello)
        elif self._session and not self._ended and not self._away:
            self._away = True
            self._ready.append(Disconnected(self._session))

    def _receive(self) -> bool:
        """Take in one message, if one is there; return whether it was."""
        try:
            topic = self._dealer.recv(_NOW)
        except zmq.Again:
            return False
        parts: list[Part] = [topic]
        while self._dealer.getsockopt(zmq.RCVMORE):
            parts.append(self._dealer.recv(_NOW, copy=len(parts) < 2))
        self._take(topic, parts)
        return True

    def _take(self, topic: bytes, parts: Sequence[Part]) -> None:
        try:
            if topic == CONTROL_TOPIC:
                self._understand(unpack(parts[-1]))
                return
            self._owed += 1
            item = decode(parts, t_receive_ns=self._clock())
        except (Malformed, UnknownSchema) as error:
            self._refuse(topic, error)
            return
        if isinstance(item, Frame) and (found := self._losses.arrived(item.ref)):
            self._lost(found)
        self._ready.append(item)

    def _understand(self, header: Header) -> None:
        kind = text(header, "kind")
        if kind == "welcome":
            self._welcome(text(header, "session"))
        elif kind == "dropped":
            self._dropped(header)
        elif kind == "eos":
            self._ended = True
            self._tell("bye", {})
            self._ready.append(EndOfStream(self._session, text(header, "reason")))
        elif kind != "beat":
            raise Malformed(f"a publisher says welcome, dropped, eos or beat, not {kind!r}")

    def _welcome(self, session: str) -> None:
        before, self._session = self._session, session
        restarted = bool(before) and before != session
        if self._away or restarted:
            self._ready.append(Reconnected(session, restarted))
        self._away = self._ended = False

    def _dropped(self, header: Header) -> None:
        dropped = header.get("dropped")
        if not isinstance(dropped, list):
            raise Malformed(f"dropped is {dropped!r:.80}, not a list")
        for entry in dropped:
            if not isinstance(entry, list) or len(entry) != 4:
                raise Malformed(f"dropped has {entry!r:.80}, not [kind, camera, reason, count]")
            kind, camera, reason = (item_text("dropped", value) for value in entry[:3])
            count = item_whole("dropped", entry[3])
            if kind == "frame":
                self._losses.told(camera, count)
            self._ready.append(Lost(camera, count, reason, kind))

    def _refuse(self, topic: bytes, error: Exception) -> None:
        reason = "schema" if isinstance(error, UnknownSchema) else "malformed"
        MESSAGES_REFUSED.labels(self._name, reason).inc()
        log.warning("%s: refused a message: %s", self._name, error)
        if topic.startswith(b"frame/"):
            self._losses.refused(topic.removeprefix(b"frame/").decode(errors="replace"))

    def _lost(self, found: Sequence[Lost]) -> None:
        """Report losses that only this side can know."""
        for lost in found:
            FRAMES_LOST.labels(lost_stage(self._name, "frame"), lost.reason).inc(lost.count)
        self._ready.extend(found)
