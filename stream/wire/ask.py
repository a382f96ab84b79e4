"""The asking end of the control link: one I/O thread, callable from any thread."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import zmq

from stream.command import Ack, AckState, Command, Decision
from stream.errors import Malformed, UnknownSchema, WireError
from stream.frame import FrameRef
from stream.metrics import MESSAGES_REFUSED
from stream.wire.codec import alive_header
from stream.wire.header import Header, text, tree
from stream.wire.link import SMALL_BYTES, Wake, check_address, link_came, new_socket, note, watch_link
from stream.wire.messages import Alive
from stream.wire.requests import QUEUED, Query, read_ack, read_note

log = logging.getLogger(__name__)


class ControlClient:
    """A node's, or the command line's, way to a rig.

    It says ``ready`` and sends every unanswered command again when the rig comes back: commands are idempotent by
    ``command_id``, and the rig checks the age of their data. ``ready`` goes before them and names this client's
    ``instance``, so that the rig tells a link that came back from a node that was started again.
    """

    def __init__(self, address: str, *, name: str, heartbeat_ms: int = 200, heartbeat_timeout_ms: int = 600) -> None:
        self._address = check_address(address)
        self._name = name
        self._instance = uuid.uuid4().hex[:12]
        self._heartbeat_ms = heartbeat_ms
        self._lock = threading.Lock()
        self._outgoing: deque[list[bytes]] = deque()
        self._unanswered: OrderedDict[str, list[bytes]] = OrderedDict()
        self._alive: list[bytes] | None = None
        self._said_ready = False
        self._acks: queue.Queue[Ack] = queue.Queue(QUEUED)
        self._waiters: dict[str, queue.Queue[Ack | Mapping[str, Any] | WireError]] = {}
        self._linked = False
        self._closing = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealer = new_socket(self._context, zmq.DEALER, heartbeat_ms, heartbeat_timeout_ms)
        self._monitor = watch_link(self._dealer)
        self._dealer.connect(self._address)
        self._wake = Wake()
        self._thread = threading.Thread(target=self._serve, name=f"wire-control-{name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def linked(self) -> bool:
        """Whether the rig's end of the link answers now."""
        return self._linked

    def ready(self) -> None:
        """Say that this node is ready, now and whenever the rig comes back."""
        with self._lock:
            self._said_ready = True
            if self._linked:
                self._outgoing.append(self._ready_note())
        self._wake.ring()

    def alive(self, last_decided: FrameRef | None, pending: int) -> None:
        """Tell which frame was decided last; never blocks. Only the newest is sent, and only while the link stands."""
        self._alive = self._note("alive", alive_header(Alive(self._name, last_decided, pending)))
        self._wake.ring()

    def submit(self, command: Command) -> None:
        """Send a command; never blocks. Its acks come by :meth:`next_ack`.

        Raises
        ------
        WireError
            The command is too large, or too many wait for their final ack.
        """
        parts = self._note("command", {"command": command.model_dump_json()}, command.command_id)
        if len(parts[-1]) > SMALL_BYTES // 2:
            raise WireError(f"command {command.command_id} takes {len(parts[-1])} bytes: at most {SMALL_BYTES // 2} go")
        with self._lock:
            if len(self._unanswered) >= QUEUED:
                raise WireError(f"{QUEUED} commands wait for an answer of the rig at {self._address}: is it running?")
            self._unanswered[command.command_id] = parts
            if self._linked:
                self._outgoing.append(parts)
        self._wake.ring()

    def next_ack(self, timeout_s: float) -> Ack | None:
        """Return the next ack of a submitted command; None when nothing came in time."""
        try:
            return self._acks.get(timeout=timeout_s) if timeout_s > 0 else self._acks.get_nowait()
        except queue.Empty:
            return None

    def request(
        self, content: Command | Decision | Query | Mapping[str, Any], timeout_s: float
    ) -> Ack | Mapping[str, Any]:
        """Ask and wait: a command for its final ack; a decision or a query (or a map with its ``kind``) for its answer.

        Raises
        ------
        WireError
            The rig refuses the message, or does not answer in time.
        """
        answers: queue.Queue[Ack | Mapping[str, Any] | WireError] = queue.Queue()
        key = content.command_id if isinstance(content, Command) else uuid.uuid4().hex
        self._waiters[key] = answers
        try:
            if isinstance(content, Command):
                self.submit(content)
            elif isinstance(content, Decision):
                self._ask(key, "decision", {"decision": content.model_dump_json()})
            else:
                query = content if isinstance(content, Query) else Query(str(content.get("kind", "")), content)
                self._ask(key, "query", {"query": query.kind, "data": query.data})
            answer = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise WireError(f"no answer from {self._address} within {timeout_s:g} s: is the rig running?") from None
        finally:
            del self._waiters[key]
            with self._lock:
                self._unanswered.pop(key, None)
        if isinstance(answer, WireError):
            raise answer
        return answer

    def close(self) -> None:
        """Send what is queued, if the rig is there, and leave. Idempotent."""
        self._closing = True
        self._wake.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _ask(self, key: str, kind: str, content: Header) -> None:
        parts = self._note(kind, content, key)
        with self._lock:
            self._unanswered[key] = parts
            if self._linked:
                self._outgoing.append(parts)
        self._wake.ring()

    def _ready_note(self) -> list[bytes]:
        return self._note("ready", {"node": self._name, "instance": self._instance})

    def _note(self, kind: str, content: Header, request_id: str = "") -> list[bytes]:
        return note(kind, {"name": self._name, "id": request_id, **content})

    def _serve(self) -> None:
        poller = zmq.Poller()
        for readable in (self._dealer, self._monitor, self._wake.fileno()):
            poller.register(readable, zmq.POLLIN)
        while not self._closing:
            try:
                poller.poll(self._heartbeat_ms)
                self._wake.hush()
                self._watch()
                self._receive()
                self._send()
            except Exception:  # the thread's edge: one bad turn must not end the link
                log.exception("%s: a turn of the control link's thread failed", self._name)
                MESSAGES_REFUSED.labels(self._name, "internal").inc()
        self._send()
        self._dealer.disable_monitor()
        self._monitor.close(linger=0)
        self._dealer.close(linger=self._heartbeat_ms if self._linked else 0)
        self._context.term()
        self._wake.close()

    def _watch(self) -> None:
        while (came := link_came(self._monitor)) is not None:
            with self._lock:
                self._linked = came
                self._outgoing.clear()
                if came:
                    if self._said_ready:
                        self._outgoing.append(self._ready_note())
                    self._outgoing.extend(self._unanswered.values())

    def _send(self) -> None:
        if not self._linked:
            return
        if (alive := self._alive) is not None:
            self._alive = None
            self._dealer.send_multipart(alive, zmq.NOBLOCK)
        while self._outgoing:
            self._dealer.send_multipart(self._outgoing.popleft(), zmq.NOBLOCK)

    def _receive(self) -> None:
        while True:
            try:
                parts = self._dealer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._understand(parts)
            except (Malformed, UnknownSchema) as error:
                reason = "schema" if isinstance(error, UnknownSchema) else "malformed"
                MESSAGES_REFUSED.labels(self._name, reason).inc()
                log.warning("%s: refused an answer of %s: %s", self._name, self._address, error)

    def _understand(self, parts: list[bytes]) -> None:
        header = read_note(parts)
        kind = text(header, "kind")
        if kind == "ack":
            self._acked(read_ack(text(header, "ack")))
        elif kind == "answer":
            self._answered(text(header, "id"), tree(header, "data"))
        elif kind == "error":
            log.warning("%s: the rig refused a message: %s", self._name, text(header, "reason"))
            self._answered(text(header, "id"), WireError(text(header, "reason")))
        else:
            raise Malformed(f"a rig says ack, answer or error, not {kind!r}")

    def _acked(self, ack: Ack) -> None:
        if ack.state.final:
            with self._lock:
                self._unanswered.pop(ack.command_id, None)
        waiter = self._waiters.get(ack.command_id)
        if waiter is None:
            _put_newest(self._acks, ack)
        elif ack.state.final:
            waiter.put(ack)

    def _answered(self, key: str, answer: Mapping[str, Any] | WireError) -> None:
        with self._lock:
            known = self._unanswered.pop(key, None)
        waiter = self._waiters.get(key)
        if waiter is not None:
            waiter.put(answer)
        elif known is not None and isinstance(answer, WireError):  # a submitted command: it too ends in a final state
            _put_newest(self._acks, Ack(command_id=key, state=AckState.REFUSED, reason=str(answer)))


def _put_newest(acks: queue.Queue[Ack], ack: Ack) -> None:
    """Queue an ack; where nobody reads them the oldest goes, counted."""
    while True:
        try:
            return acks.put_nowait(ack)
        except queue.Full:
            with_oldest = acks.get_nowait()
            log.warning("an ack that nobody read is dropped: %s %s", with_oldest.command_id, with_oldest.state)
            MESSAGES_REFUSED.labels("acks", "overflow").inc()
