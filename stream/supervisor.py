"""Starts the nodes of one machine as processes, restarts the ones that die, and ends them in order."""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stream.config import Configuration
from stream.wire.ports import free_ports

log = logging.getLogger(__name__)

CONFIG_EXIT = 2
"""Exit status of a node whose configuration, hardware or recording cannot be used: starting it again would not help."""

_WINDOW_S = 60.0
_GRACE_S = 20.0
_DRAIN_S = 80.0
"""The same once the camera has ended, and again once its node has: what waits is still decided and written."""
_IDLE_GRACE_S = 2.0
"""The analysis and the page have nothing to finish while there is no camera that runs."""
_PAGE = "watch"
"""The node that a run goes on without."""
_DARK_S = 5.0
"""How long the camera's node has to close its light where everything else is just killed."""

Target = Callable[[str, Configuration, Path, Path, Connection], None]


def settle_ports(config: Configuration) -> Configuration:
    """Replace every port 0 of ``[wire]`` by a free one, so that a restarted node comes back to the same place.

    Raises
    ------
    WireError
        No port is free.
    """
    wire = config.wire
    hosts = {name: host for name in ("frames", "control", "results") if (host := _host_of_any(getattr(wire, name)))}
    settled: dict[str, str] = {}
    for host in set(hosts.values()):
        names = [name for name, its in hosts.items() if its == host]
        ports = free_ports(host.strip("[]"), len(names))
        settled |= {name: f"tcp://{host}:{port}" for name, port in zip(names, ports, strict=True)}
    return config.model_copy(update={"wire": wire.model_copy(update=settled)})


def _host_of_any(address: str) -> str:
    """Return the host of an address whose port is 0, else nothing."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host if port == "0" else ""


@dataclass(slots=True)
class _Child:
    name: str
    process: BaseProcess
    reports: Connection
    starts: deque[float] = field(default_factory=deque)
    restart_at: float = 0.0
    done: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the run ended: an error in words (empty: well), how often nodes were started again, what it went without."""

    error: str
    restarts: dict[str, int]
    warnings: tuple[str, ...] = ()


class Supervisor:
    """Runs named nodes as processes of this machine.

    A node that cannot be kept alive ends the run, except the page's once the camera has started: nobody's images are
    worth less because nobody can look at them.

    Parameters
    ----------
    target
        Runs one node in its process: ``target(name, config, run_dir, base, reports)``.
    ask_stop
        Sends the rig its Stop message.
    on_report
        Called with ``(node, word, detail)`` for what nodes report: ``ready``, ``started``, ``page``, ``error``, …
    """

    def __init__(
        self,
        config: Configuration,
        run_dir: Path,
        base: Path,
        names: Sequence[str],
        target: Target,
        ask_stop: Callable[[], None],
        on_report: Callable[[str, str, Any], None] = lambda node, word, detail: None,
    ) -> None:
        self._config, self._run_dir, self._base, self._target = config, run_dir, base, target
        self._ask_stop, self._on_report = ask_stop, on_report
        self._context = multiprocessing.get_context("spawn")
        self._children = {name: self._start(name, deque()) for name in names}
        self._restarts = dict.fromkeys(names, 0)
        self._error = ""
        self._warnings: list[str] = []
        self._begun = False
        self._stopping_at: float | None = None
        self._grace_s = _GRACE_S

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by node."""
        return {name: child.process.pid or 0 for name, child in self._children.items()}

    def run(self, should_stop: Callable[[], bool]) -> Outcome:
        """Watch over the nodes until all have ended; ``should_stop`` is asked a few times a second."""
        try:
            while not all(child.done for child in self._children.values()):
                self._hear(0.2)
                self._look_after()
                if should_stop():
                    self.stop()
                self._press()
        finally:
            self._end_all()
        return Outcome(self._error, dict(self._restarts), tuple(self._warnings))

    def stop(self) -> None:
        """Ask the rig to stop; the others end with the stream. Asked twice it changes nothing.

        Before the camera has started there is no stream: every node is told by signal.
        """
        if self._stopping_at is not None:
            return
        self._stopping_at = time.monotonic()
        if self._begun:
            self._ask_stop()
            return
        for child in self._children.values():
            child.process.terminate()

    def _start(self, name: str, starts: deque[float]) -> _Child:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=self._target, args=(name, self._config, self._run_dir, self._base, theirs), name=f"cytoloop-{name}"
        )
        process.start()
        theirs.close()
        starts.append(time.monotonic())
        return _Child(name, process, ours, starts)

    def _hear(self, timeout_s: float) -> None:
        """Take in reports; a closed pipe or a finished process wakes this too."""
        heard = [child for child in self._children.values() if not child.reports.closed]
        by_pipe: dict[Any, _Child] = {child.reports: child for child in heard}
        sentinels = [child.process.sentinel for child in self._children.values() if child.process.is_alive()]
        if not by_pipe and not sentinels:
            time.sleep(timeout_s)  # every process is dead and waits for its back-off
        for ready in wait([*by_pipe, *sentinels], timeout=timeout_s):
            child = by_pipe.get(ready)
            if child is None:
                continue
            try:
                word, detail = json.loads(child.reports.recv_bytes())
            except (EOFError, OSError):
                child.reports.close()
                continue
            if word == "error":
                self._note(child, f"{child.name}: {detail}")
            self._begun = self._begun or word == "started"
            if word == "over":
                self._drain()
            self._on_report(child.name, word, detail)

    def _look_after(self) -> None:
        for name, child in list(self._children.items()):
            if child.done or child.process.is_alive():
                continue
            status = child.process.exitcode
            if status == 0:
                child.done = True
                if name == "acquire":
                    self._drain()
            elif self._stopping_at is not None or status == CONFIG_EXIT:
                # A node that was told to end while it started may just die.
                self._lose(child, f"{name} ended with status {status}" if self._begun or status == CONFIG_EXIT else "")
            else:
                self._revive(child, status)

    def _drain(self) -> None:
        """The camera has ended, or its node: those behind it have their time from now on."""
        self._stopping_at, self._grace_s = time.monotonic(), _DRAIN_S

    def _revive(self, child: _Child, status: int | None) -> None:
        now = time.monotonic()
        while child.starts and now - child.starts[0] > _WINDOW_S:
            child.starts.popleft()
        if len(child.starts) > self._config.run.restart_limit:
            self._lose(child, f"{child.name} died {len(child.starts)} times within a minute; given up")
            return
        if not child.restart_at:
            child.restart_at = now + 0.1 * 2 ** (len(child.starts) - 1)
            log.warning("%s died with status %s; starting it again", child.name, status)
        elif now >= child.restart_at:
            self._restarts[child.name] += 1
            self._on_report(child.name, "restarted", status)
            child.reports.close()
            self._children[child.name] = self._start(child.name, child.starts)

    def _lose(self, child: _Child, said: str) -> None:
        """Give a node up, and the run with it where it needs that node."""
        child.done = True
        if said:
            self._note(child, said)
        if self._needs(child):
            self.stop()

    def _note(self, child: _Child, said: str) -> None:
        """Keep the first error of a node that the run needs; of the page it is a warning."""
        if self._needs(child):
            self._error = self._error or said
        else:
            self._warnings.append(said)
            log.warning("%s; the run does without it", said)

    def _needs(self, child: _Child) -> bool:
        awaited = not self._begun and child.name in self._config.run.wait_for
        return child.name != _PAGE or awaited

    def _press(self) -> None:
        """After the grace time, end by signal what did not end by message."""
        if self._stopping_at is None:
            return
        waited_s = time.monotonic() - self._stopping_at
        for child in self._children.values():
            grace_s = self._grace_s if self._begun or child.name == "acquire" else _IDLE_GRACE_S
            if child.done or waited_s < grace_s:
                continue
            if child.process.is_alive() and grace_s != _IDLE_GRACE_S:
                self._note(child, f"{child.name} did not end within {grace_s:.0f} s of the stop")
                log.warning("%s did not end in time; terminating it", child.name)
            self._kill(child)

    def _kill(self, child: _Child) -> None:
        child.process.terminate()
        child.process.join(3 if self._begun else 0.2)
        if child.process.is_alive():
            child.process.kill()
            child.process.join(3)
        child.done = True

    def _end_all(self) -> None:
        """Kill what still runs, after a fault of this process or a second Ctrl-C; the light is closed first."""
        try:
            camera = self._children.get("acquire")
            if camera is not None and camera.process.is_alive():
                self._let_close(camera)
        finally:
            for child in self._children.values():
                if child.process.is_alive():
                    child.process.kill()
                child.process.join(3)
                if not child.reports.closed:
                    child.reports.close()

    def _let_close(self, camera: _Child) -> None:
        """Have the camera's node end by itself; where a signal would kill it at once it is told by message."""
        log.warning("ending all nodes at once; waiting for the light to be closed")
        if sys.platform == "win32":
            with suppress(Exception):  # whatever keeps the message from it, it is killed in a moment
                self._ask_stop()
        else:
            camera.process.terminate()
        camera.process.join(_DARK_S)
