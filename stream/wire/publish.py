"""The sending end: one queue and one policy per consumer, credits, and an I/O thread that owns the socket."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import zmq

from stream.clock import Clock, now_ns
from stream.errors import Malformed, UnknownSchema, WireError
from stream.metrics import FRAMES_LOST, MESSAGES_REFUSED, QUEUE_DEPTH
from stream.wire.header import Header, finite, item_text, listed, text, tree, unpack, whole
from stream.wire.link import CONTROL_TOPIC, Wake, bind, new_socket, note, send_parts
from stream.wire.messages import Message, MessageKind
from stream.wire.policy import Loss, Outbox, Policy, deadline, latest, lossless

log = logging.getLogger(__name__)

LONGEST_END_S = 60.0
"""How long consumers that still take what waits may hold up the end of a stream."""
_LAST_WORD_S = 1.0
"""Time for the last word to reach consumers that are given up."""


@dataclass(slots=True)
class Consumer:
    """One subscriber as the publisher knows it."""

    identity: bytes
    name: str
    instance: str
    topics: tuple[str, ...]
    outbox: Outbox
    granted: int
    credits: int
    unanswered: deque[tuple[MessageKind, str]] = field(default_factory=deque)
    """Kind and camera of what was sent and not yet acknowledged by a credit."""
    eos_sent: bool = False

    def wants(self, topic: str) -> bool:
        """Whether the topic is, or lies under, one of its topics."""
        return any(not own or topic == own or topic.startswith(own.rstrip("/") + "/") for own in self.topics)


class Publisher:
    """Hands messages to any number of consumers; none of them can slow :meth:`send` or another consumer.

    Parameters
    ----------
    address
        Where to listen, on loopback; port 0 picks a free one. ``address`` then tells which.
    run, session, node
        Told to every consumer; a consumer sees a restart by a new session.
    max_credits, max_queue
        The most that a consumer may ask for: messages under way, and messages that wait for it here.
    heartbeat_ms, heartbeat_timeout_ms
        How often a link is probed, and after how long a silent consumer is forgotten.

    Raises
    ------
    WireError
        The address is not on this host or is taken.
    """

    def __init__(
        self,
        address: str,
        *,
        run: str,
        session: str,
        node: str,
        max_credits: int = 64,
        max_queue: int = 1024,
        heartbeat_ms: int = 200,
        heartbeat_timeout_ms: int = 600,
        clock: Clock = now_ns,
    ) -> None:
        self._welcome = {"run": run, "session": session, "node": node}
        self._node = node
        self._max_credits = max_credits
        self._max_queue = max_queue
        self._heartbeat_ms = heartbeat_ms
        self._clock = clock
        self._consumers: dict[bytes, Consumer] = {}
        self._changed = threading.Condition()
        self._ending: str | None = None
        self._left_behind = 0
        self._answered = 0
        self._closing = False
        self._beat_due_s = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = new_socket(self._context, zmq.ROUTER, heartbeat_ms, heartbeat_timeout_ms)
        try:
            self.address = bind(self._router, address)
        except WireError:
            self._context.destroy(linger=0)
            raise
        self._wake = Wake()
        self._thread = threading.Thread(target=self._serve, name=f"wire-publish-{node}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def send(self, message: Message) -> bool:
        """Queue a message for every consumer that wants it; never blocks, never copies the payload.

        Returns False, without queueing, once the publisher is finished or closed.
        """
        with self._changed:
            if self._ending is not None or self._closing:
                return False
            for consumer in self._consumers.values():
                if consumer.wants(message.topic) and (lost := consumer.outbox.offer(message, self._clock())):
                    self._count_lost(consumer, lost)
        self._wake.ring()
        return True

    @property
    def consumers(self) -> tuple[str, ...]:
        """The names of the consumers that are known now."""
        with self._changed:
            return tuple(sorted(consumer.name for consumer in self._consumers.values()))

    def wait_for(self, names: Iterable[str], timeout_s: float) -> bool:
        """Wait until all of ``names`` have said hello; return whether they have."""
        wanted = set(names)
        return self.wait_until(lambda known: wanted <= known, timeout_s)

    def wait_until(self, test: Callable[[Set[str]], bool], timeout_s: float) -> bool:
        """Wait until ``test`` of the names of the known consumers is true; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: test({known.name for known in self._consumers.values()}), timeout_s)

    def waiting(self, name: str) -> int:
        """Return how many messages wait here for the consumers called ``name``."""
        with self._changed:
            return self._waiting(name)

    def _waiting(self, name: str) -> int:
        return sum(len(consumer.outbox) for consumer in self._consumers.values() if consumer.name == name)

    def wait_taken(self, name: str, timeout_s: float) -> bool:
        """Wait until nothing waits here for the consumers called ``name``; return whether nothing does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting(name), timeout_s)

    def finish(self, timeout_s: float, reason: str = "finished", *, longest_s: float = LONGEST_END_S) -> bool:
        """Send all that waits and the end of the stream, wait for every consumer's ``bye``, and close.

        What still waits when nobody has taken anything for ``timeout_s``, or after ``longest_s`` in all, is lost; the
        consumer is told so and that the stream ended.

        Returns whether every consumer that was known said ``bye``.
        """
        with self._changed:
            self._ending = self._ending or reason
            self._wake.ring()
            said = self._let_finish(timeout_s, longest_s)
            if not said:
                self._give_up()
            complete = said and not self._consumers and not self._left_behind
        self.close()
        return complete

    def _let_finish(self, timeout_s: float, longest_s: float) -> bool:
        """Wait, with the lock held, while consumers come nearer to the end; return whether all have reached it."""
        end_s = time.monotonic() + longest_s
        while self._consumers and not self._closing:
            if not self._goes_on(min(timeout_s, end_s - time.monotonic())):
                return False
        return True

    def _goes_on(self, timeout_s: float) -> bool:
        """Wait, with the lock held, until a consumer has taken something, or there is none; return whether."""
        before = self._answered
        return self._changed.wait_for(
            lambda: not self._consumers or self._closing or self._answered > before, timeout_s
        )

    def _give_up(self) -> None:
        """Lose what consumers are too slow for, with the lock held, but tell them: their stream ends all the same."""
        for consumer in self._consumers.values():
            self._count_lost(consumer, consumer.outbox.abandon("end"))
        self._wake.ring()
        self._changed.wait_for(lambda: not self._consumers or self._closing, _LAST_WORD_S)

    def close(self) -> None:
        """Stop at once, without waiting for anybody. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._wake.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake.fileno(), zmq.POLLIN)
        while not self._closing:
            try:
                poller.poll(self._heartbeat_ms)
                self._wake.hush()
                self._receive()
                self._deliver()
                self._beat()
            except Exception:  # the thread's edge: one bad turn must not end the stream
                log.exception("%s: a turn of the publisher's thread failed", self._node)
                MESSAGES_REFUSED.labels(self._node, "internal").inc()
        with self._changed:
            for identity in tuple(self._consumers):
                self._forget(identity, "closed")
        self._context.destroy(linger=0)
        self._wake.close()

    def _receive(self) -> None:
        while True:
            try:
                identity, *parts = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._understand(identity, parts)
            except (Malformed, UnknownSchema) as error:
                reason = "schema" if isinstance(error, UnknownSchema) else "malformed"
                MESSAGES_REFUSED.labels(self._node, reason).inc()
                log.warning("%s: refused a message at %s: %s", self._node, self.address, error)

    def _understand(self, identity: bytes, parts: list[bytes]) -> None:
        if len(parts) != 2 or parts[0] != CONTROL_TOPIC:
            raise Malformed(f"a consumer's message has the topic '!' and a header, not {len(parts)} parts")
        header = unpack(parts[1])
        kind = text(header, "kind")
        if kind == "hello":
            self._hello(identity, header)
        elif kind == "credit":
            self._credit(identity, whole(header, "count", 1))
        elif kind == "bye":
            with self._changed:
                self._forget(identity, "bye")
        else:
            raise Malformed(f"a consumer says hello, credit or bye, not {kind!r}")

    def _hello(self, identity: bytes, header: Header) -> None:
        policy = read_policy(tree(header, "policy"), self._max_queue)
        granted = min(whole(header, "credits", 1), self._max_credits)
        topics = listed(header, "topics", item_text)
        name, instance = text(header, "name"), text(header, "instance")
        consumer = Consumer(identity, name, instance, topics, Outbox(policy), granted, granted)
        with self._changed:
            for known in tuple(self._consumers.values()):
                if known.instance == instance:  # it came back on a new connection before the old one was missed
                    self._forget(known.identity, "gone")
            self._post(consumer, note("welcome", self._welcome))
            self._consumers[identity] = consumer
            self._changed.notify_all()

    def _credit(self, identity: bytes, count: int) -> None:
        consumer = self._consumers.get(identity)
        if consumer is None:  # it was forgotten, or its hello is still to come: nothing is owed
            return
        if count > len(consumer.unanswered):
            raise Malformed(f"{consumer.name} gives {count} credits for {len(consumer.unanswered)} messages")
        consumer.credits += count
        for _ in range(count):
            consumer.unanswered.popleft()
        with self._changed:
            self._answered += count
            self._changed.notify_all()

    def _deliver(self) -> None:
        for consumer in tuple(self._consumers.values()):
            while consumer.credits and self._deliver_one(consumer):
                pass
            if self._ending is not None and not consumer.eos_sent:
                self._end(consumer, self._ending)

    def _end(self, consumer: Consumer, reason: str) -> None:
        """Say that nothing follows, once nothing waits."""
        with self._changed:
            if len(consumer.outbox):
                return
            untold = consumer.outbox.untold()
        consumer.eos_sent = self._tell_lost(consumer, untold) and self._post(consumer, note("eos", {"reason": reason}))

    def _deliver_one(self, consumer: Consumer) -> bool:
        with self._changed:
            message, lost = consumer.outbox.take(self._clock())
            if lost:
                self._count_lost(consumer, lost)
            untold = consumer.outbox.untold() if message is not None else None
            if not len(consumer.outbox):
                self._changed.notify_all()
        if message is None:
            return False
        consumer.credits -= 1
        consumer.unanswered.append((message.kind, message.camera))
        return self._tell_lost(consumer, untold) and self._post(consumer, message.parts())

    def _tell_lost(self, consumer: Consumer, untold: Mapping[Loss, int] | None) -> bool:
        """Tell the consumer what it will not see, right before what it sees next."""
        if not untold:
            return True
        dropped = [[kind, camera, reason, count] for (kind, camera, reason), count in untold.items()]
        return self._post(consumer, note("dropped", {"dropped": dropped}))

    def _post(self, consumer: Consumer, parts: Iterable[bytes | memoryview]) -> bool:
        try:
            send_parts(self._router, [consumer.identity, *parts])
        except zmq.ZMQError as error:
            log.info("%s: consumer %s is gone: %s", self._node, consumer.name, error)
            with self._changed:
                self._forget(consumer.identity, "gone")
            return False
        return True

    def _beat(self) -> None:
        """Notice consumers whose link was given up, since a send to them fails; tell losses that nothing follows.

        What grows too old while nothing follows is let go here.
        """
        if time.monotonic() < self._beat_due_s:
            return
        self._beat_due_s = time.monotonic() + self._heartbeat_ms / 1e3
        for consumer in tuple(self._consumers.values()):
            with self._changed:
                self._count_lost(consumer, consumer.outbox.expire(self._clock()))
                untold = consumer.outbox.untold()
                self._changed.notify_all()
            QUEUE_DEPTH.labels(f"wire:{consumer.name}").set(len(consumer.outbox))
            if self._tell_lost(consumer, untold):
                self._post(consumer, note("beat", {}))

    def _forget(self, identity: bytes, why: str) -> None:
        """Take a consumer off the books, with the lock held; what it leaves is lost unless it said bye."""
        consumer = self._consumers.pop(identity, None)
        if consumer is None:
            return
        if why != "bye":
            unread: list[Loss] = [(kind, camera, why) for kind, camera in consumer.unanswered]
            self._count_lost(consumer, unread + consumer.outbox.abandon(why))
            self._left_behind += self._ending is not None
        QUEUE_DEPTH.labels(f"wire:{consumer.name}").set(0)
        self._changed.notify_all()

    @staticmethod
    def _count_lost(consumer: Consumer, lost: Iterable[Loss]) -> None:
        for (kind, _camera, reason), count in Counter(lost).items():
            FRAMES_LOST.labels(lost_stage(consumer.name, kind), reason).inc(count)


def lost_stage(name: str, kind: str) -> str:
    """Name where a consumer's losses are counted: frames apart from results.

    >>> lost_stage("watch", "frame"), lost_stage("watch", "labels")
    ('wire:watch', 'wire:watch/labels')
    """
    return f"wire:{name}" if kind == "frame" else f"wire:{name}/{kind}"


def read_policy(header: Header, max_queue: int) -> Policy:
    """Read the policy that a consumer asks for, its limit cut to ours. Raises Malformed."""
    kind = text(header, "kind")
    limit = min(whole(header, "limit", 1), max_queue)
    if kind == "lossless":
        return lossless(limit)
    if kind == "latest":
        return latest(limit)
    if kind == "deadline":
        return deadline(finite(header, "max_age_ms"), limit)
    raise Malformed(f"policy {kind!r} is unknown; known are lossless, deadline, latest")
