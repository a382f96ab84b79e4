"""Ports that a run can come back to: outside the range from which the system takes ports for outgoing connections.

A subscriber that waits for a node which is still starting tries to connect again and again. Each try borrows a port of
that range; once it borrows the very one it calls, TCP connects it to itself and the node can never listen there.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

from stream.errors import WireError

_LINUX_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_OUTGOING = (32_768, 65_535)
"""Linux begins at 32768, others at 49152 (RFC 6335)."""
_FIRST = 10_240
"""Below are the ports of well-known services."""


def outgoing() -> tuple[int, int]:
    """Return the first and the last port that outgoing connections may borrow on this machine."""
    try:
        first, last = _LINUX_RANGE.read_text().split()
    except (OSError, ValueError):
        return _USUAL_OUTGOING
    return int(first), int(last)


def free_ports(host: str, count: int) -> list[int]:
    """Return different ports of a local host on which nobody listens and which no outgoing connection borrows.

    Raises
    ------
    WireError
        There are not so many, or the host is not of this machine.
    """
    first, last = outgoing()
    found: list[int] = []
    for port in _in_random_order(first, last):
        if len(found) == count:
            break
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise WireError(f"no {count} free ports at {host} outside {first}-{last}; name them in [wire]")
    return found


def _in_random_order(first_outgoing: int, last_outgoing: int) -> Iterator[int]:
    ports = [port for port in range(_FIRST, 65_536) if not first_outgoing <= port <= last_outgoing]
    random.shuffle(ports)
    yield from ports
