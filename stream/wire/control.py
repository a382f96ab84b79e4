"""Commands to a rig and its answers: DEALER to ROUTER, one I/O thread at each end. This is the rig's end."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import zmq

from stream.command import Ack, Command, Stop
from stream.errors import Malformed, UnknownSchema, WireError
from stream.metrics import MESSAGES_REFUSED
from stream.wire.ask import ControlClient
from stream.wire.link import Wake, bind, new_socket, note
from stream.wire.requests import QUEUED, Query, Ready, Request, read_request, request_id

__all__ = ["ControlClient", "ControlServer", "Query", "Ready", "Request"]

log = logging.getLogger(__name__)


class ControlServer:
    """The rig's ear. Malformed content is answered with an error and counted.

    Raises
    ------
    WireError
        The address is not on this host or is taken.
    """

    def __init__(self, address: str, *, heartbeat_ms: int = 200, heartbeat_timeout_ms: int = 600) -> None:
        self._requests: queue.PriorityQueue[tuple[bool, int, Request]] = queue.PriorityQueue(QUEUED)
        self._order = itertools.count()
        self._answers: deque[list[bytes]] = deque(maxlen=QUEUED)
        self._closing = False
        self._heartbeat_ms = heartbeat_ms
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = new_socket(self._context, zmq.ROUTER, heartbeat_ms, heartbeat_timeout_ms)
        try:
            self.address = bind(self._router, address)
        except WireError:
            self._context.destroy(linger=0)
            raise
        self._wake = Wake()
        self._thread = threading.Thread(target=self._serve, name="wire-control", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def next(self, timeout_s: float) -> Request | None:
        """Return the next request, a stop before all others; None when nothing came in time."""
        try:
            return (self._requests.get(timeout=timeout_s) if timeout_s > 0 else self._requests.get_nowait())[-1]
        except queue.Empty:
            return None

    def reply(self, request: Request, answer: Ack | Mapping[str, Any]) -> None:
        """Answer from any thread, at once or later, once or more often; never blocks.

        An answer to a peer that has left is dropped: it asks again by ``command_id`` when it is back.
        """
        if isinstance(answer, Ack):
            self._post(request.sender, note("ack", {"ack": answer.model_dump_json()}))
        else:
            self._post(request.sender, note("answer", {"id": request.request_id, "data": answer}))

    def close(self) -> None:
        """Send what is queued and stop. Idempotent."""
        self._closing = True
        self._wake.ring()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _post(self, sender: bytes, parts: list[bytes]) -> None:
        self._answers.append([sender, *parts])
        self._wake.ring()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake.fileno(), zmq.POLLIN)
        while not self._closing:
            try:
                poller.poll(self._heartbeat_ms)
                self._wake.hush()
                self._receive()
                self._send()
            except Exception:  # the thread's edge: one bad turn must not deafen the rig
                log.exception("a turn of the control thread failed")
                MESSAGES_REFUSED.labels("control", "internal").inc()
        self._send()
        self._router.close(linger=self._heartbeat_ms)
        self._context.term()
        self._wake.close()

    def _receive(self) -> None:
        while True:
            try:
                sender, *parts = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                request = read_request(sender, parts)
                is_stop = isinstance(request.content, Command) and isinstance(request.content.action, Stop)
                self._requests.put_nowait((not is_stop, next(self._order), request))
            except (Malformed, UnknownSchema) as error:
                self._refuse(sender, parts, "schema" if isinstance(error, UnknownSchema) else "malformed", str(error))
            except queue.Full:
                self._refuse(sender, parts, "busy", f"the rig has {QUEUED} requests waiting; try again later")

    def _refuse(self, sender: bytes, parts: list[bytes], reason: str, said: str) -> None:
        MESSAGES_REFUSED.labels("control", reason).inc()
        log.warning("control: refused a message at %s: %s", self.address, said)
        self._answers.append([sender, *note("error", {"id": request_id(parts), "reason": said})])

    def _send(self) -> None:
        while self._answers:
            try:
                self._router.send_multipart(self._answers.popleft(), zmq.NOBLOCK)
            except zmq.ZMQError as error:
                log.info("control: an answer found nobody: %s", error)
