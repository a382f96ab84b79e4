"""The rig waits for an analysis that not only says it is ready but listens."""

from __future__ import annotations

import threading
from pathlib import Path

from drivers.virtual.driver import VirtualDriver
from stream.acquire.rig import Rig
from stream.config import Configuration, RunSettings
from stream.facts.rig import RigFacts
from stream.wire.control import ControlClient, ControlServer
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber


def test_an_analysis_is_ready_when_it_listens(tmp_path: Path) -> None:
    config = Configuration(run=RunSettings(wait_for=("analyse",), ready_timeout_s=0.5))
    publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire")
    server = ControlServer("tcp://127.0.0.1:0")
    facts = RigFacts(tmp_path)
    rig = Rig(config, VirtualDriver(), facts, publisher, server)
    rig.listen()
    client = ControlClient(server.address, name="analyse")
    frames = Subscriber(publisher.address, ["frame/"], name="analyse")
    try:
        client.ready()
        assert rig.wait_ready(threading.Event()) == {"analyse"}
        while not publisher.consumers:
            frames.next(0.1)
        assert rig.wait_ready(threading.Event()) == set()
    finally:
        frames.close()
        client.close()
        rig.close("the test ended")
        facts.close()
