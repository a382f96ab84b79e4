"""Ports that a restarted node can always come back to."""

from __future__ import annotations

import socket

import pytest

from stream.config import Configuration, WireSettings
from stream.errors import WireError
from stream.supervisor import settle_ports
from stream.wire.ports import free_ports, outgoing

HOST = "127.0.0.1"


def test_no_outgoing_connection_can_borrow_a_port_that_was_chosen() -> None:
    first, last = outgoing()
    chosen = free_ports(HOST, 500)
    assert len(set(chosen)) == 500
    assert not [port for port in chosen if first <= port <= last]


def test_a_port_on_which_somebody_listens_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_ports(HOST, 2)
    monkeypatch.setattr("stream.wire.ports._in_random_order", lambda first, last: iter([taken, free]))
    with socket.create_server((HOST, taken)):
        assert free_ports(HOST, 1) == [free]
        with pytest.raises(WireError, match=r"name them in \[wire\]"):
            free_ports(HOST, 2)


def test_only_open_ports_of_the_configuration_are_settled() -> None:
    wire = WireSettings(frames="tcp://127.0.0.1:5555", control="tcp://127.0.0.1:0", results="ipc:///tmp/results")
    settled = settle_ports(Configuration(wire=wire)).wire
    assert (settled.frames, settled.results) == (wire.frames, wire.results)
    assert int(settled.control.rpartition(":")[2]) > 0
