"""What both ends of a link share: addresses, sockets with heartbeats, waking an I/O thread, control messages."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import zmq
from zmq.utils.monitor import recv_monitor_message

from stream.errors import WireError
from stream.wire.header import SCHEMA, pack, plain

CONTROL_TOPIC = b"!"
"""The topic of hello, credit, bye, welcome, dropped, eos, commands and acks: no payload, never handed to a user."""

SMALL_BYTES = 1 << 20
"""A node that only reads control messages refuses larger ones before they are in memory."""

_COPY_BYTES = 1 << 16
_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_LOOPBACK = ("localhost", "::1")


class Wake:
    """Lets any thread end an I/O thread's poll; portable, since it is a pair of sockets."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._ringing = False

    def fileno(self) -> int:
        """Return what to poll."""
        return self._far.fileno()

    def ring(self) -> None:
        """Wake the I/O thread; many rings before it wakes are one."""
        if not self._ringing:
            self._ringing = True
            try:
                self._near.send(b"\0")
            except OSError:  # closed: nobody is left to wake
                return

    def hush(self) -> None:
        """Take the rings back; what was queued before a ring is looked at after this."""
        with contextlib.suppress(BlockingIOError):
            self._far.recv(64)
        self._ringing = False

    def close(self) -> None:
        """Free both ends."""
        self._near.close()
        self._far.close()


def check_address(address: str) -> str:
    """Return the address if it is on this host.

    Raises
    ------
    WireError
        It is not ``tcp://`` on loopback (or ``ipc://``): anything else would be open to the whole network.
    """
    parts = urlsplit(address)
    if parts.scheme == "ipc" and len(address) > len("ipc://"):
        return address
    host = (parts.hostname or "").removeprefix("[").removesuffix("]")
    if parts.scheme == "tcp" and (host in _LOOPBACK or host.startswith("127.")):
        return address
    raise WireError(
        f"address {address!r} is not on this host: use tcp://127.0.0.1:PORT (port 0: any free one) and reach other "
        "machines through an encrypted tunnel"
    )


def new_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, heartbeat_ms: int, heartbeat_timeout_ms: int
) -> zmq.Socket[bytes]:
    """Return a socket whose link is given up when the peer is silent for the heartbeat timeout.

    Queues are bounded by credits and by our own queues, so ZeroMQ's marks, which drop silently, are off.
    """
    made = context.socket(kind)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.SNDHWM, 0)
    made.setsockopt(zmq.RCVHWM, 0)
    made.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
    made.setsockopt(zmq.HEARTBEAT_TIMEOUT, heartbeat_timeout_ms)
    # A ping cannot be sent behind data that the peer does not take: then the kernel's own patience must end the link.
    made.setsockopt(zmq.TCP_MAXRT, heartbeat_timeout_ms)
    if kind == zmq.ROUTER:
        made.setsockopt(zmq.ROUTER_MANDATORY, 1)
        made.setsockopt(zmq.MAXMSGSIZE, SMALL_BYTES)
    else:
        made.setsockopt(zmq.RECONNECT_IVL, 50)
        made.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    return made


def bind(router: zmq.Socket[bytes], address: str) -> str:
    """Bind and return the endpoint with its real port. Raises WireError."""
    try:
        router.bind(check_address(address))
    except zmq.ZMQError as error:
        raise WireError(
            f"cannot listen at {address}: {error}; is another run using it? port 0 picks a free one"
        ) from error
    return router.getsockopt_string(zmq.LAST_ENDPOINT)


def watch_link(dealer: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Return the monitor that tells when the link of a DEALER came and went."""
    return dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)


def link_came(monitor: zmq.Socket[bytes]) -> bool | None:
    """Return True when the link came, False when it went, None when the monitor has no more to tell."""
    try:
        event = recv_monitor_message(monitor, zmq.NOBLOCK)
    except zmq.Again:
        return None
    return bool(event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)


def send_parts(sender: zmq.Socket[bytes], parts: Sequence[bytes | memoryview]) -> None:
    """Send without blocking and without copying a large last part; ``send_multipart`` takes twice as long."""
    for part in parts[:-1]:
        sender.send(part, _MORE)
    sender.send(parts[-1], _LAST, copy=len(parts[-1]) < _COPY_BYTES)


def note(kind: str, content: Mapping[str, Any]) -> list[bytes]:
    """Return a control message."""
    return [CONTROL_TOPIC, pack({"schema": SCHEMA, "kind": kind, **plain(content)})]
