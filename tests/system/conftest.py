"""Whole runs in the background: supervised processes, real ports, real cores."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream import session
from stream.config import Configuration, load
from stream.facts.questions import summary
from stream.settings import parse

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


class BackgroundRun:
    """A supervised run on a thread, which a test watches and disturbs."""

    def __init__(self, config: Configuration, base: Path, nodes: tuple[str, ...]) -> None:
        self._config, self._base, self._nodes = config, base, nodes
        self.lines: list[str] = []
        self.stop = threading.Event()
        self.started = threading.Event()
        self.report: session.Report | None = None
        self.seen: session.Report | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.report = session.run(
            self._config, self._base, self._nodes, say=self.lines.append, stop=self.stop, on_start=self._on_start
        )

    def _on_start(self, report: session.Report) -> None:
        self.seen = report
        self.started.set()

    @property
    def run_dir(self) -> Path:
        assert self.seen is not None
        return self.seen.run_dir

    def pid(self, node: str) -> int:
        assert self.seen is not None
        return self.seen.pids()[node]

    def wait(self, what: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Wait until ``what`` is true and return it."""
        end = time.monotonic() + seconds
        tick = threading.Event()
        while time.monotonic() < end:
            if value := what():
                return value
            assert self._thread.is_alive(), (self.report, self.lines)
            tick.wait(0.05)
        raise AssertionError(f"not within {seconds} s; said: {self.lines[-10:]}")

    def query(self, file: str, sql: str, *parameters: object) -> list[Any]:
        """Ask one of the run's databases while it goes on."""
        with closing(sqlite3.connect(f"file:{self.run_dir / file}?mode=ro", uri=True)) as facts:
            return facts.execute(sql, parameters).fetchall()

    def decided(self) -> int:
        return int(self.query("analysis.sqlite", "SELECT count(*) FROM frames")[0][0])

    def taken(self) -> int:
        return int(self.query("rig.sqlite", "SELECT count(*) FROM frames")[0][0])

    def end(self) -> dict[str, Any]:
        """Stop the run and return its summary."""
        self.stop.set()
        self._thread.join(60)
        assert self.report is not None, "the run did not end within a minute of its stop"
        return summary(self.report.run_dir)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., BackgroundRun]]:
    """Begin a run: ``begin("democam.toml", {"plan": {...}}, nodes=(...))``; ends it after the test."""
    running: list[BackgroundRun] = []

    def start(
        example: str, changes: dict[str, dict[str, Any]] | None = None, nodes: tuple[str, ...] = ("acquire", "analyse")
    ) -> BackgroundRun:
        data = load(EXAMPLES / example).model_dump()
        for table, values in {"run": {"out": tmp_path}, **(changes or {})}.items():
            data[table] |= values
        run = BackgroundRun(parse(Configuration, data, example), EXAMPLES, nodes)
        running.append(run)
        assert run.started.wait(60), run.lines
        return run

    yield start
    for run in running:
        run.stop.set()
        run._thread.join(60)
