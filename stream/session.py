"""One supervised run on this machine: its folder, its nodes, what a person sees meanwhile, and how it ended."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.acquire.approvals import WAITS
from stream.clock import wall_ns
from stream.command import Ack, Action, Command, Decision, Stop
from stream.config import Configuration, load
from stream.errors import ConfigError, WireError
from stream.event import Event
from stream.facts import run_folder
from stream.nodes import run_node
from stream.supervisor import Supervisor, settle_ports
from stream.wire.control import ControlClient, Query
from stream.wire.messages import EndOfStream, EventsOf, Fact, Item
from stream.wire.policy import latest
from stream.wire.subscribe import Subscriber

log = logging.getLogger(__name__)

_STOP_ANSWER_S = 5.0


@dataclass(slots=True)
class Report:
    """How a run went, as its supervisor saw it."""

    run_dir: Path
    error: str = ""
    started: bool = False
    """Whether the camera ever started."""
    startup_s: float = 0.0
    page: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    pids: Callable[[], dict[str, int]] = dict
    """Process ids by node, as they are now."""


UNTOLD = ("exit",)
"""Kinds of event that the console leaves out: where the stage moves they come by the dozen."""
Say = Callable[[str], None]


def run(
    config: Configuration,
    base: Path,
    nodes: Sequence[str],
    *,
    seconds: float | None = None,
    say: Say = lambda line: None,
    stop: threading.Event | None = None,
    on_start: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Run nodes until the stream ends, ``seconds`` of it have passed, or ``stop`` is set.

    Parameters
    ----------
    base
        Where relative paths of the configuration start.
    say
        Takes lines for a person: events, answers to commands, what nodes report.
    on_start
        Called once the camera has started.
    """
    begun = time.monotonic()
    config = settle_ports(_for_nodes(config, base, nodes))
    run_dir = run_folder.create(config).resolve()
    config = _with_truth(config, run_dir)
    report = Report(run_dir)
    stop = stop or threading.Event()
    started = threading.Event()
    until: list[float] = []

    def heard(node: str, word: str, detail: Any) -> None:
        if word == "started" and not started.is_set():
            report.startup_s = time.monotonic() - begun
            started.set()
            if seconds is not None:
                until.append(time.monotonic() + seconds)
            on_start(report)
        elif word == "page":
            report.page = str(detail)
            say(f"live page: {detail}")
        elif word == "metrics":
            report.ports[node] = int(detail)
        elif word == "restarted":
            say(f"{node} died (status {detail}) and was started again")

    def over() -> bool:
        return stop.is_set() or bool(until and time.monotonic() > until[0])

    def ask() -> None:
        ask_stop(config.wire.control)

    supervisor = Supervisor(config, run_dir, base, nodes, run_node, ask, heard)
    report.pids = lambda: supervisor.pids
    ended = threading.Event()
    listener = threading.Thread(target=_tell, args=(config, say, ended), name="console", daemon=True)
    listener.start()
    try:
        outcome = supervisor.run(over)
        for warning in outcome.warnings:
            say(f"{warning}; the run went on without it")
    finally:
        ended.set()
        listener.join(3)
    report.started = started.is_set()
    report.error = outcome.error or ("" if report.started else "stopped before the camera started: no frame was taken")
    report.restarts = {name: n for name, n in outcome.restarts.items() if n}
    return report


def ask_stop(control: str) -> str:
    """Send the rig its Stop message and return its answer in words."""
    return ask_rig(control, Stop())


def ask_rig(control: str, action: Action) -> str:
    """Send the rig an operator's command and return its answer in words."""
    command = Command(command_id=f"operator/{uuid.uuid4().hex[:8]}", action=action, issued_wall_ns=wall_ns())
    client = ControlClient(control, name=_operator())
    try:
        answer = client.request(command, _STOP_ANSWER_S)
        return str(answer.state) if isinstance(answer, Ack) else str(dict(answer))
    except WireError as error:
        log.info("the rig did not answer: %s", error)
        return str(error)
    finally:
        client.close()


def waiting_for_approval(control: str) -> list[dict[str, Any]]:
    """Return the commands that wait for an operator's word. Raises WireError."""
    with ControlClient(control, name=_operator()) as client:
        status = client.request(Query("status"), _STOP_ANSWER_S)
    return list(dict(status).get("approvals", ())) if isinstance(status, Mapping) else []


def decide(control: str, command_ids: Sequence[str], approve: bool) -> dict[str, str]:
    """Give an operator's word on commands that wait; return what came of each. Raises WireError."""
    with ControlClient(control, name=_operator()) as client:
        answers = {
            command_id: client.request(Decision(command_id=command_id, approve=approve), _STOP_ANSWER_S)
            for command_id in command_ids
        }
    return {name: str(dict(a).get("decided", a)) for name, a in answers.items() if isinstance(a, Mapping)}


def _operator() -> str:
    return f"operator-{uuid.uuid4().hex[:6]}"


def control_address(rig: str | None) -> str:
    """Return where a rig listens, from an address, a run folder, a configuration, or nothing: the newest run here.

    Raises
    ------
    ConfigError
        There is no such rig, or its configuration names no port.
    """
    if rig and rig.startswith("tcp://"):
        return rig
    path = Path(rig) if rig else _newest_run()
    config = run_folder.read_configuration(path) if path.is_dir() else load(path)
    if config.wire.control.endswith(":0"):
        raise ConfigError(f"{path}: [wire] control has no fixed port; give the run's folder or its control address")
    return config.wire.control


def _newest_run() -> Path:
    runs = sorted(Path("runs").glob(f"*/{run_folder.CONFIGURATION_FILE}"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise ConfigError("there is no run in ./runs; name a run folder, a configuration or a control address")
    return runs[-1].parent


def _for_nodes(config: Configuration, base: Path, nodes: Sequence[str]) -> Configuration:
    """Wait for exactly the nodes that are started here, and write where the configuration's own folder says."""
    out = config.run.out if config.run.out.is_absolute() else Path.cwd() / config.run.out
    waiting = tuple(name for name in nodes if name != "acquire")
    return config.model_copy(update={"run": config.run.model_copy(update={"wait_for": waiting, "out": out})})


def _with_truth(config: Configuration, run_dir: Path) -> Configuration:
    """Let the virtual microscope write its truth beside the run, where the pipeline never looks."""
    camera = config.camera
    if camera.driver != "virtual" or "truth_dir" in camera.options:
        return config
    options = {**camera.options, "truth_dir": str(run_dir / "truth" / "TRA")}
    return config.model_copy(update={"camera": camera.model_copy(update={"options": options})})


def _tell(config: Configuration, say: Say, ended: threading.Event) -> None:
    """Say what happens while the run goes on: divisions, warnings, deaths, and the answers to commands."""
    frames = Subscriber(config.wire.frames, ["facts"], name="console", policy=latest())
    results = Subscriber(config.wire.results, ["events"], name="console", policy=latest())
    try:
        over = False
        while not over and not ended.is_set():
            for item in (*_waiting(frames), *_waiting(results)):
                if isinstance(item, EventsOf):
                    for event in item.events:
                        if event.kind not in UNTOLD:
                            say(_event_line(event))
                elif isinstance(item, Fact):
                    _tell_fact(item, say)
                over = over or (isinstance(item, EndOfStream) and item.session == results.session)
    finally:
        frames.close()
        results.close()


def _waiting(link: Subscriber) -> Iterator[Item]:
    """Yield all that waits on a link; wait a moment for the first."""
    item = link.next(0.05)
    while item is not None:
        yield item
        item = link.next(0)


def _event_line(event: Event) -> str:
    said = f"frame {event.emitted_frame}: {event.kind} {event.status} in {event.field}"
    return f"{said} (confidence {event.confidence:.2f}) {event.reason}".rstrip()


def _tell_fact(fact: Fact, say: Say) -> None:
    data = fact.data
    if data.get("fact") == "base_plan":
        say(f"base plan {'on' if data['on'] else 'off'}: {data['reason']}")
    if data.get("fact") == "dose":
        say(f"light dose: {data['field']} has reached '{data['level']}'; {data['does'] or 'nothing is done yet'}")
    if data.get("fact") == "ack" and data["ack"]["reason"] == WAITS:
        say(f"{data['command']['action']['kind']} waits: cytoloop approve|deny {data['ack']['command_id']}")
    if data.get("fact") != "ack" or data["ack"]["state"] in ("received", "accepted"):
        return
    command, ack = data["command"], data["ack"]
    first = ack.get("first_frame")
    seen = f", first seen in frame {first['frame']}" if first else ""
    reason = f": {ack['reason']}" if ack["reason"] else ""
    say(f"{command['action']['kind']} {ack['state']}{reason}{seen} (by {command['cause']['origin']})")
