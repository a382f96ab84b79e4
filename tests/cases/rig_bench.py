"""A whole rig in this process: the real rig, wire and facts around a driver by hand."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import zmq

from stream import command as c
from stream.acquire.rig import Rig
from stream.clock import now_ns, wall_ns
from stream.config import Configuration
from stream.errors import WireError
from stream.facts.rig import RigFacts
from stream.frame import FrameRef
from stream.settings import parse
from stream.stages import Driver
from stream.wire.control import ControlClient, ControlServer, Query
from stream.wire.header import unpack
from stream.wire.publish import Publisher
from tests.cases.hand_rig import HandDriver

WAIT_S = 30.0
PLAN = {"plan": {"exposure_ms": 5.0, "interval_ms": 20.0, "light_power": 0.5}, "run": {"wait_for": ()}}


class RigBench:
    """A running rig, and those who speak to it.

    Parameters
    ----------
    changes
        Tables of the configuration.
    driver
        The hardware; None: a rig by hand that takes a frame every 20 ms.
    """

    def __init__(self, folder: Path, changes: dict[str, dict[str, Any]], driver: Driver | None = None) -> None:
        self.folder = folder
        self.config = parse(Configuration, PLAN | changes, "test")
        self.driver: Any = driver or HandDriver(now_ns, frame_ms=20.0)
        self.driver.open(self.config.camera, run="r", session="s")
        self.facts = RigFacts(folder, mw_per_mm2=self.config.dose.mw_per_mm2)
        self._publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire")
        control = ControlServer("tcp://127.0.0.1:0")
        self.address = control.address
        self.rig = Rig(self.config, self.driver, self.facts, self._publisher, control)
        self.rig.listen()
        try:
            assert self.rig.begin()
        except BaseException:
            self.rig.close("the start failed")
            self.facts.close()
            raise
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.rig.run, args=(self._stop,), daemon=True)
        self._thread.start()
        self._clients: dict[str, ControlClient] = {}
        self.wait(lambda: self.rows("SELECT 1 FROM frames"))

    def client(self, name: str) -> ControlClient:
        """Return the link of an ``operator``, or of the ``analyse`` node."""
        if name not in self._clients:
            self._clients[name] = ControlClient(self.address, name=name)
        return self._clients[name]

    def again(self, name: str) -> ControlClient:
        """Return the link of a node that was started again: the one before is gone."""
        self._clients.pop(name).close()
        return self.client(name)

    def command(self, action: c.Action, origin: str = "policy", **more: Any) -> c.Command:
        """Make a command, with an id of its own unless one is given."""
        cause = more.pop("cause", c.Cause(origin=origin))
        given = {"command_id": uuid.uuid4().hex, "issued_wall_ns": wall_ns(), **more}
        return c.Command(action=action, cause=cause, **given)

    def ask(self, action: c.Action, origin: str = "policy", **more: Any) -> c.Ack:
        """Send a command and wait for its final answer."""
        command = self.command(action, origin, **more)
        answer = self.client("operator" if origin == "operator" else "analyse").request(command, WAIT_S)
        assert isinstance(answer, c.Ack)
        return answer

    def send(self, action: c.Action, origin: str = "policy", **more: Any) -> str:
        """Send a command, wait until the rig has it, and return its id."""
        command = self.command(action, origin, **more)
        self.client("operator" if origin == "operator" else "analyse").submit(command)
        self.wait(lambda: self.states(command.command_id))
        return command.command_id

    def final(self, command_id: str) -> c.Ack:
        """Wait for a command's final answer, as it is on disk."""
        self.wait(lambda: self.rows("SELECT 1 FROM transitions WHERE final AND command_id = ?", command_id))
        answer = self.facts.known(command_id)
        assert answer is not None
        return answer

    def status(self) -> dict[str, Any]:
        answer = self.client("operator").request(Query("status"), WAIT_S)
        assert not isinstance(answer, c.Ack)
        return dict(answer)

    def decide(self, command_id: str, approve: bool, name: str = "operator") -> str:
        """Give somebody's word on a command that waits."""
        answer = self.client(name).request(c.Decision(command_id=command_id, approve=approve), WAIT_S)
        assert not isinstance(answer, c.Ack)
        return str(answer["decided"])

    def waiting(self) -> list[str]:
        return [row["command_id"] for row in self.status()["approvals"]]

    def raw(self, parts: list[bytes]) -> str:
        """Send bytes to the control port and return what it answers."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stranger = context.socket(zmq.DEALER)
        try:
            stranger.connect(self.address)
            stranger.send_multipart(parts)
            assert stranger.poll(int(WAIT_S * 1000))
            return str(unpack(stranger.recv_multipart()[1])["reason"])
        finally:
            context.destroy(linger=0)

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        """Ask the rig's database."""
        with closing(sqlite3.connect(f"file:{self.folder / 'rig.sqlite'}?mode=ro", uri=True)) as facts:
            return facts.execute(sql, parameters).fetchall()

    def states(self, command_id: str) -> list[str]:
        rows = self.rows("SELECT state FROM transitions WHERE command_id = ? ORDER BY id", command_id)
        return [state for (state,) in rows]

    def newest(self) -> FrameRef:
        """The newest frame on disk."""
        row = self.rows("SELECT run, camera, session, epoch, seq, field, frame FROM frames ORDER BY id DESC LIMIT 1")[0]
        return FrameRef(*row)

    def taken(self) -> int:
        return int(self.rows("SELECT count(*) FROM frames")[0][0])

    def wait(self, what: Callable[[], Any]) -> Any:
        """Wait until something is true and return it."""
        end, tick = time.monotonic() + WAIT_S, threading.Event()
        while time.monotonic() < end:
            if value := what():
                return value
            tick.wait(0.01)
        raise AssertionError(f"not within {WAIT_S:g} s; answers: {self.rows('SELECT * FROM transitions')[-8:]}")

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        """End the run. Idempotent."""
        if isinstance(self.driver, HandDriver):
            self.driver.gate.set()
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._stop.set()
        self._thread.join(WAIT_S)
        self.rig.close("the test ended")
        self.driver.stop()
        self.facts.close()


@contextmanager
def rig_bench(folder: Path, driver: Driver | None = None, **changes: dict[str, Any]) -> Iterator[RigBench]:
    """Run a rig for a test."""
    bench = RigBench(folder, changes, driver)
    try:
        yield bench
    finally:
        bench.close()


def refused_by_wire(ask: Callable[[], Any]) -> str:
    """Return why the wire would not take a message."""
    try:
        ask()
    except WireError as error:
        return str(error)
    raise AssertionError("it was taken")
