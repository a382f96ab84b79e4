"""Times the loop from a command that is sent to the frame that shows it, on a real rig node in a process of its own.

Commands go the way that those of an analysis go: over ZeroMQ to the control port, through the desk, the guard and the
facts on disk, to the driver. The bench also takes the rig's frames and says that it is alive, as an analysis does.
"""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stream import session
from stream.bench.bare import BareDevices
from stream.bench.mix import SLOW, draw
from stream.bench.times import Answer, row
from stream.clock import now_ns, wall_ns
from stream.command import Ack, Action, Cause, Command
from stream.config import CameraSettings, Configuration, PlanSettings, RunSettings, WatchSettings
from stream.errors import DriverError
from stream.facts import run_folder
from stream.frame import Frame, FrameRef
from stream.safety import LimitSettings
from stream.wire.control import ControlClient
from stream.wire.policy import latest
from stream.wire.subscribe import Subscriber

Mode = Literal["stream", "mda"]
MODES: tuple[Mode, ...] = ("stream", "mda")
RIGS: dict[str, CameraSettings] = {
    "democam": CameraSettings(
        driver="micromanager", options={"properties": {"Camera.Mode": "Fluorescent Beads", "Camera.BitDepth": 16}}
    ),
    "virtual": CameraSettings(
        driver="virtual", options={"seed": 7, "cells": 60, "minutes_per_second": 1.0, "truth_dir": None}
    ),
}
_INTERVAL_MS = 50.0
_EXPOSURE_MS = 15.0
_START_S = 120.0
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """What to measure: ``commands`` of every kind in a mix that ``seed`` draws, and some slow ones beside them."""

    commands: int = 500
    seed: int = 0
    modes: Sequence[Mode] = MODES
    rigs: Sequence[str] = tuple(RIGS)


def loop(plan: LoopPlan, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure and return ``{mode: {rig: times}}``; see :func:`stream.bench.times.row` for the times.

    Raises
    ------
    DriverError
        A rig did not start, or did not answer.
    """
    return {mode: {rig: _measure(mode, rig, plan, say) for rig in plan.rigs} for mode in plan.modes}


def _measure(mode: Mode, rig: str, plan: LoopPlan, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"{mode} on {rig}: opening the devices twice …")
    actions = draw(plan.commands, plan.seed, mode, rig)
    shape = PlanSettings(mode=mode, interval_ms=_INTERVAL_MS, exposure_ms=_EXPOSURE_MS)
    chance = random.Random(plan.seed)
    bare_commands = [_command(number, action, None) for number, action in enumerate(actions)]
    with ExitStack() as stack:
        bare = stack.enter_context(closing(BareDevices(RIGS[rig], shape, bare_commands)))
        bare.wait()
        control, frames = stack.enter_context(_running(RIGS[rig], shape))
        asker = stack.enter_context(closing(Asker(control, frames)))
        answers: list[Answer] = []
        for number, action in enumerate(actions):
            asker.pause(chance.uniform(0, _INTERVAL_MS / 1e3))
            answer = asker.ask(_command(number, action, asker.shown))
            answers.append(replace(answer, bare_ms=bare.time_ms(number)))
            if (number + 1) % 100 == 0:
                say(f"{mode} on {rig}: {number + 1} of {len(actions)} commands")
    return row(answers, SLOW)


def _command(number: int, action: Action, frame: FrameRef | None) -> Command:
    """Return a command as an analysis sends it: with the frame whose data it was decided on."""
    cause = Cause(event_id=f"bench/f{number}/division/1", frame=frame, origin="bench")
    return Command(command_id=f"bench-{number}", action=action, cause=cause, issued_wall_ns=wall_ns())


@contextmanager
def _running(camera: CameraSettings, plan: PlanSettings) -> Iterator[tuple[str, str]]:
    """Run a rig under its supervisor; yields its control address and that of its frames."""
    with tempfile.TemporaryDirectory(prefix="cytoloop-bench-", dir=".", ignore_cleanup_errors=True) as folder:
        config = Configuration(
            run=RunSettings(name="bench", out=Path(folder).resolve()),
            camera=camera,
            plan=plan,
            limits=LimitSettings(rate_per_s=10_000.0, max_age_ms=60_000.0, alive_timeout_s=60.0),
            watch=WatchSettings(metrics=False),
        )
        stop, started = threading.Event(), threading.Event()
        reports: list[session.Report] = []

        def on_start(report: session.Report) -> None:
            reports.append(report)
            started.set()

        def run() -> None:
            reports.append(session.run(config, Path(folder), ("acquire",), stop=stop, on_start=on_start))
            started.set()

        thread = threading.Thread(target=run, name="bench-rig")
        thread.start()
        try:
            if not started.wait(_START_S) or reports[0].error:
                raise DriverError(f"the rig did not start: {reports[0].error if reports else 'no answer'}")
            wire = run_folder.read_configuration(reports[0].run_dir).wire
            yield wire.control, wire.frames
        finally:
            stop.set()
            thread.join()


class Asker:
    """An analysis without networks: it takes the frames, says which it decided, and sends commands."""

    def __init__(self, control: str, frames: str) -> None:
        self._client = ControlClient(control, name="analyse")
        self._client.ready()
        self._closing = threading.Event()
        self._first = threading.Event()
        self.shown: FrameRef | None = None
        """The newest frame that showed a command, or the first of all."""
        self._thread = threading.Thread(target=self._take, args=(frames,), name="bench-frames", daemon=True)
        self._thread.start()
        if not self._first.wait(_ANSWER_S):
            raise DriverError(f"no frame within {_ANSWER_S:g} s; does the rig at {control} run?")

    def pause(self, seconds: float) -> None:
        """Let the next command come at any moment of a frame, not just after one."""
        self._closing.wait(seconds)

    def ask(self, command: Command) -> Answer:
        """Send a command and wait for its final answer. Raises DriverError."""
        submitted_ns = now_ns()
        self._client.submit(command)
        ack = self._final(command.command_id)
        asked_ms = (now_ns() - submitted_ns) / 1e6
        self.shown = ack.first_frame or self.shown
        return Answer(command.action.kind, str(ack.state), ack.reason, ack.timings_ms, asked_ms)

    def close(self) -> None:
        """Leave."""
        self._closing.set()
        self._thread.join()
        self._client.close()

    def _final(self, command_id: str) -> Ack:
        until_ns = now_ns() + round(_ANSWER_S * 1e9)
        while now_ns() < until_ns:
            ack = self._client.next_ack(1.0)
            if ack is not None and ack.command_id == command_id and ack.state.final:
                return ack
        raise DriverError(f"the rig gave no final answer to {command_id} within {_ANSWER_S:g} s")

    def _take(self, address: str) -> None:
        with Subscriber(address, ["frame"], name="analyse", policy=latest()) as frames:
            while not self._closing.is_set():
                item = frames.next(0.1)
                if isinstance(item, Frame):
                    self.shown = self.shown or item.ref
                    self._first.set()
                    self._client.alive(item.ref, 0)
