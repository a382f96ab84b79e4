"""How a run ends: by Ctrl-C, by message from another terminal, by the death of its supervisor."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream.examples import folder
from tests.cases.command_line import cytoloop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these ends are POSIX signals")
CODE = "from stream.cli import main; main()"


EXPOSURE = "exposure_ms = 33.0"


class Terminal:
    """``cytoloop run`` in a process group of its own, as in a terminal; at 10 frames/s, which any machine follows."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.cwd = cwd
        example = (folder() / "democam.toml").read_text("utf-8")
        assert EXPOSURE in example
        config = cwd / "democam.toml"
        config.write_text(example.replace(EXPOSURE, "exposure_ms = 100.0"), "utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, "run", str(config), "--json", *arguments],
            cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def wait(self, what: Callable[[], Any], seconds: float = 60) -> None:
        end, tick = time.monotonic() + seconds, threading.Event()
        while not what():
            assert time.monotonic() < end, self.process.stderr.read() if self.process.poll() is not None else "late"
            tick.wait(0.1)

    def decided(self) -> int:
        return self.query("analysis.sqlite", "SELECT count(*) FROM frames")

    def taken(self) -> int:
        return self.query("rig.sqlite", "SELECT count(*) FROM frames")

    def lost(self) -> int:
        """Frames that a busy machine did not decide."""
        return self.query("analysis.sqlite", "SELECT coalesce(sum(count), 0) FROM losses")

    def query(self, file: str, sql: str) -> int:
        for path in self.cwd.glob(f"runs/*/{file}"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as facts:
                try:
                    return int(facts.execute(sql).fetchone()[0])
                except sqlite3.OperationalError:
                    return 0  # the schema is not there yet
        return 0

    def group(self) -> list[int]:
        """Processes of the group that still live."""
        listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in listed.splitlines()]
        return [int(pid) for pid, pgid, stat in rows if int(pgid) == self.process.pid and not stat.startswith("Z")]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, "--no-page")
    terminal.wait(lambda: terminal.decided() > 5)
    yield terminal
    for pid in terminal.group():
        os.kill(pid, signal.SIGKILL)
    terminal.process.communicate(timeout=30)


def finished_well(terminal: Terminal) -> dict[str, Any]:
    out, err = terminal.process.communicate(timeout=60)
    assert terminal.process.returncode == 0, err
    terminal.wait(lambda: terminal.group() == [])  # helpers of the interpreter may outlive it by a moment
    result = json.loads(out.splitlines()[-1])
    assert set(result["lost"]) <= {"analyse.deadline"}, "a slow machine may drop whole frames, nothing else is lost"
    assert result["frames"] == result["decided"] + sum(result["lost"].values())
    return dict(result)


def test_ctrl_c_ends_everything_cleanly(terminal: Terminal) -> None:
    os.killpg(terminal.process.pid, signal.SIGINT)  # a terminal sends it to every process of the group
    assert finished_well(terminal)["frames"] > 5


def test_ctrl_c_while_the_nodes_warm_up_exposes_nothing(tmp_path: Path) -> None:
    starting = Terminal(tmp_path, "--no-page")
    starting.wait(lambda: list(tmp_path.glob("runs/*/logs/*.log")))  # the handlers of the nodes are there by now
    os.killpg(starting.process.pid, signal.SIGINT)
    _, err = starting.process.communicate(timeout=60)
    assert starting.process.returncode == 1
    assert err.splitlines()[-1] == "cytoloop: stopped before the camera started: no frame was taken"
    starting.wait(lambda: starting.group() == [])
    for path in tmp_path.glob("runs/*/rig.sqlite"):
        with closing(sqlite3.connect(path)) as facts:
            assert facts.execute("SELECT count(*) FROM sqlite_master WHERE name = 'frames'").fetchone()[0] == 0 or (
                facts.execute("SELECT count(*) FROM frames").fetchone()[0] == 0
            )


def ask(terminal: Terminal, word: str) -> str:
    asked = cytoloop(word, "--json", cwd=terminal.cwd)
    assert asked.returncode == 0, asked.stderr
    return str(json.loads(asked.stdout.splitlines()[-1])["answer"])


def test_from_another_terminal_a_rig_takes_no_frame_until_it_is_resumed_and_a_stop_ends_everything_cleanly(
    terminal: Terminal,
) -> None:
    assert ask(terminal, "pause") == "applied"
    terminal.wait(lambda: terminal.taken() == terminal.decided() + terminal.lost())
    before = terminal.taken()
    assert ask(terminal, "resume") == "applied"
    terminal.wait(lambda: terminal.taken() > before + 5)
    epochs = terminal.query("rig.sqlite", "SELECT count(DISTINCT epoch) FROM frames")
    assert epochs == 2, "the pause began a new epoch, and nothing was taken in between"
    assert ask(terminal, "stop") == "applied"
    finished_well(terminal)


def test_nodes_end_by_themselves_when_their_supervisor_is_killed(terminal: Terminal) -> None:
    terminal.process.kill()
    terminal.wait(lambda: terminal.group() == [])
