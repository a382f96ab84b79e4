"""The node around the rig: what is opened first, and that all of it is closed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from drivers.virtual.driver import VirtualDriver
from stream import plugins
from stream.acquire import node
from stream.clock import wall_ns
from stream.command import Ack, AckState, Command, Pause
from stream.config import Configuration
from stream.errors import DriverError, WireError
from stream.facts.rig import RigFacts
from stream.settings import parse
from stream.surroundings import Surroundings
from stream.wire.control import ControlServer


class Stubborn(VirtualDriver):
    """A driver that fails at its end."""

    def stop(self) -> None:
        super().stop()
        raise DriverError("the core gave no answer")


def around(folder: Path) -> Surroundings:
    return Surroundings(folder, lambda word, detail: None, threading.Event(), folder)


def config(**wire: Any) -> Configuration:
    small = {"driver": "virtual", "options": {"size_px": [64, 64], "cells": 2}}
    changes = {"camera": small, "plan": {"exposure_ms": 5.0, "interval_ms": 20.0, "frames": 3}, "wire": wire}
    nobody: dict[str, Any] = {"run": {"wait_for": []}, "watch": {"metrics": False}}
    return parse(Configuration, changes | nobody, "test")


FREE = {"frames": "tcp://127.0.0.1:0", "control": "tcp://127.0.0.1:0"}


def test_the_facts_are_closed_though_the_driver_fails_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[RigFacts] = []

    def facts(*args: Any, **more: Any) -> RigFacts:
        opened.append(RigFacts(*args, **more))
        return opened[-1]

    monkeypatch.setattr(plugins, "load", lambda *names: Stubborn)
    monkeypatch.setattr(node, "RigFacts", facts)
    with pytest.raises(DriverError, match="the core gave no answer"):
        node.run(config(**FREE), around(tmp_path))
    assert opened[0]._database._closed
    assert not list(tmp_path.glob("*-wal")), "the file is whole"


def test_a_second_rig_at_the_same_ports_leaves_the_facts_of_the_first_alone(tmp_path: Path) -> None:
    with ControlServer("tcp://127.0.0.1:0") as first:
        live = RigFacts(tmp_path)
        command = Command(command_id="open", action=Pause(), issued_wall_ns=wall_ns())
        live.command(command, Ack(command_id="open", state=AckState.RECEIVED))
        with pytest.raises(WireError):
            node.run(config(**FREE | {"control": first.address}), around(tmp_path))
        live.transition(Ack(command_id="open", state=AckState.APPLIED))
        finals = live._database.query("SELECT state FROM transitions WHERE final")
        assert finals == [("applied",)]
        live.close()
