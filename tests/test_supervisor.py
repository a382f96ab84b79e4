"""The supervisor at its own end: nobody is left behind, and the light is closed."""

from __future__ import annotations

import json
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from stream import supervisor
from stream.config import Configuration, RunSettings
from stream.supervisor import CONFIG_EXIT, Supervisor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there a process is told by message alone")
DARK = "dark"


def node(name: str, config: Configuration, run_dir: Path, base: Path, reports: Connection) -> None:
    """A node that has something to close, and one that hears nothing."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, (lambda *_: stop.set()) if name == "acquire" else signal.SIG_IGN)
    reports.send_bytes(json.dumps(["started", 1]).encode())
    stop.wait(60)
    (run_dir / DARK).write_text(name)


def deaf(name: str, config: Configuration, run_dir: Path, base: Path, reports: Connection) -> None:
    """A node that hears nothing."""
    node("deaf", config, run_dir, base, reports)


def end(tmp_path: Path, target: Any, fault: BaseException) -> Supervisor:
    """Run nodes under a supervisor that fails once both have begun."""
    heard: list[str] = []

    def fail(name: str, word: str, detail: Any) -> None:
        heard.append(name)
        if len(heard) == 2:
            raise fault

    rig = Supervisor(Configuration(), tmp_path, tmp_path, ["acquire", "analyse"], target, lambda: None, fail)
    with pytest.raises(type(fault)):
        rig.run(lambda: False)
    assert not any(child.process.is_alive() for child in rig._children.values())
    return rig


@pytest.mark.parametrize("fault", [BrokenPipeError("stdout is gone"), KeyboardInterrupt()], ids=["fault", "Ctrl-C"])
def test_the_light_is_closed_before_everything_is_killed(tmp_path: Path, fault: BaseException) -> None:
    rig = end(tmp_path, node, fault)
    assert (tmp_path / DARK).read_text() == "acquire"
    assert rig._children["acquire"].process.exitcode == 0
    assert rig._children["analyse"].process.exitcode == -signal.SIGKILL


def test_a_camera_that_does_not_hear_is_killed_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_DARK_S", 0.3)
    rig = end(tmp_path, deaf, OSError("a fault"))
    assert rig._children["acquire"].process.exitcode == -signal.SIGKILL


def without_a_page(name: str, config: Configuration, run_dir: Path, base: Path, reports: Connection) -> None:
    """A camera that goes on until it is told, and a page that always dies; for good in a run that is ``hopeless``."""
    if name == "watch":
        reports.send_bytes(json.dumps(["error", "the page cannot be served"]).encode())
        sys.exit(CONFIG_EXIT if config.run.name == "hopeless" else 1)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if "watch" not in config.run.wait_for:
        reports.send_bytes(json.dumps(["started", 1]).encode())
    while not (run_dir / "stop").exists() and not stop.wait(0.02):
        pass


def a_run_without_a_page(tmp_path: Path, **run: Any) -> Supervisor:
    config = Configuration(run=RunSettings(restart_limit=1, **run))
    stop = (tmp_path / "stop").touch
    return Supervisor(config, tmp_path, tmp_path, ["acquire", "watch"], without_a_page, stop)


@pytest.mark.parametrize(
    ("name", "said"),
    [("dies", "watch died 2 times within a minute; given up"), ("hopeless", "watch ended with status 2")],
)
def test_a_run_goes_on_without_its_page(tmp_path: Path, name: str, said: str) -> None:
    rig = a_run_without_a_page(tmp_path, name=name)
    went_on: list[bool] = []

    def given_up() -> bool:
        if rig._children["watch"].done:
            went_on.append(rig._stopping_at is None and rig._children["acquire"].process.is_alive())
        return bool(went_on)

    outcome = rig.run(given_up)
    assert (outcome.error, went_on[0]) == ("", True)
    assert outcome.warnings[0] == "watch: the page cannot be served"
    assert outcome.warnings[-1] == said


@pytest.mark.parametrize("name", ["dies", "hopeless"])
def test_a_page_that_the_camera_waits_for_ends_the_start(tmp_path: Path, name: str) -> None:
    outcome = a_run_without_a_page(tmp_path, name=name, wait_for=("watch",)).run(lambda: False)
    assert outcome.error == "watch: the page cannot be served"
