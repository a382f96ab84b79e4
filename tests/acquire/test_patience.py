"""A source that can wait goes at the analysis' pace: all of it is decided, and nobody takes the analysis for lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tifffile

from drivers.replay.driver import ReplayDriver
from stream import command as c
from stream.acquire.deadman import DeadMan
from stream.acquire.patience import Unhurried
from stream.acquire.rig import Rig
from stream.analyse.analysis import Analysis
from stream.analyse.pipeline import Pipeline
from stream.clock import FakeClock, wall_ns
from stream.config import Configuration
from stream.facts.analysis import AnalysisFacts
from stream.facts.questions import summary
from stream.facts.rig import RigFacts
from stream.frame import Frame, Stamps
from stream.settings import parse
from stream.wire.control import ControlClient, ControlServer
from stream.wire.messages import EndOfStream
from stream.wire.policy import lossless
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber
from tests.cases.hand_analysis import Blind

FRAMES = 30
WAIT_S = 30.0
SECOND = 10**9


class Replayed:
    """A rig that plays a recording at full speed, with the link to it of an analysis of small means.

    The link keeps ten frames, so that what is not held back is lost.
    """

    def __init__(self, folder: Path) -> None:
        tifffile.imwrite(folder / "movie.tif", np.zeros((FRAMES, 8, 8), np.uint16), photometric="minisblack")
        camera = {"driver": "replay", "options": {"source": str(folder / "movie.tif"), "speed": "max"}}
        settings = {"camera": camera, "limits": {"alive_timeout_s": 1.0}, "chain": {"queue": 1}}
        self.config = parse(Configuration, settings, "test")
        self.driver, self.folder = ReplayDriver(), folder
        self.driver.open(self.config.camera, run="r", session="s")
        self._facts = RigFacts(folder)
        publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire")
        control = ControlServer("tcp://127.0.0.1:0")
        self.rig = Rig(self.config, self.driver, self._facts, publisher, control)
        self.rig.listen()
        self.link = Subscriber(publisher.address, ["frame/"], name="analyse", policy=lossless(10), credits=4)
        self.control = ControlClient(control.address, name="analyse")
        self.stop, self.reasons = threading.Event(), list[str]()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        while not self.link.session:
            self.link.next(0.05)
        assert self.rig.begin()
        self._thread.start()

    def ended(self) -> list[str]:
        self._thread.join(WAIT_S)
        return self.reasons

    def close(self) -> None:
        self.stop.set()
        self._thread.join(WAIT_S)
        self.link.close()
        self.control.close()
        self.driver.stop()
        self._facts.close()

    def _run(self) -> None:
        self.reasons.append(self.rig.run(self.stop))
        self.rig.close(self.reasons[-1])


@pytest.fixture
def replayed(tmp_path: Path) -> Any:
    made = Replayed(tmp_path)
    yield made
    made.close()


def test_a_replay_at_full_speed_waits_for_a_slow_analysis(replayed: Replayed) -> None:
    """Four frames under way and two in the chain's queues are longer on their way than the dead-man has patience."""
    slow = Blind(segment=lambda work: threading.Event().wait(0.2) and None)
    facts = AnalysisFacts(replayed.folder)
    parts: list[Any] = [
        replayed.link, Pipeline(replayed.config.chain, lambda field: slow.as_chain()),
        SimpleNamespace(asks=False, on_frames=False, act_on=lambda events, frame: 0), replayed.control,
        SimpleNamespace(send=lambda message: True, finish=lambda timeout_s: True),
    ]  # fmt: skip
    analysis = Analysis(replayed.config, *[cast(Any, part) for part in parts], facts, None)
    replayed.control.ready()
    replayed.begin()
    analysis.run(threading.Event())
    facts.close()
    replayed.close()
    result = summary(replayed.folder)
    assert (result["decided"], result["lost"]) == (FRAMES, {})
    again = RigFacts(replayed.folder)
    assert again._database.query("SELECT notice FROM notices WHERE notice = 'base_plan'") == []
    again.close()


def test_an_analysis_that_is_started_again_is_waited_for(replayed: Replayed) -> None:
    replayed.begin()
    publisher = replayed.rig._publisher
    while publisher.wait_taken("analyse", 0.05):
        pass
    replayed.link.close()
    assert publisher.wait_until(lambda known: not known, WAIT_S)
    replayed.link = Subscriber(publisher.address, ["frame/"], name="analyse", policy=lossless(10), credits=4)
    seqs = []
    while not isinstance(item := replayed.link.next(WAIT_S), EndOfStream):
        seqs += [item.seq] if isinstance(item, Frame) else []
    assert seqs == list(range(seqs[0], FRAMES))
    assert seqs[0] <= 4 + 2, "only what was under way to the first one is gone"


STOPS: dict[str, Callable[[Replayed], Any]] = {
    "by message": lambda replayed: replayed.control.submit(
        c.Command(command_id="end", action=c.Stop(), cause=c.Cause(origin="operator"), issued_wall_ns=wall_ns())
    ),
    "by signal": lambda replayed: replayed.stop.set(),
}


@pytest.mark.parametrize("how", STOPS)
def test_a_stop_ends_a_replay_whose_analysis_takes_nothing(replayed: Replayed, how: str) -> None:
    replayed.begin()
    while replayed.rig._publisher.wait_taken("analyse", 0.05):
        pass
    STOPS[how](replayed)
    while not isinstance(item := replayed.link.next(WAIT_S), EndOfStream):
        assert item is not None, "the replay did not end"
    assert replayed.ended() == ["stopped by command" if how == "by message" else "stopped"]


def test_a_slow_analysis_is_not_lost_while_it_goes_on() -> None:
    """Ten frames at once, each decided within a second: the last one after ten."""
    clock = FakeClock(10**12)
    recent = Unhurried(clock)
    dead = DeadMan(2 * SECOND, recent)
    frames = [
        Frame("r", "c", "s", 0, n, "c:p0", n, np.zeros((2, 2), np.uint8), stamps=Stamps(t_pop_ns=clock()))
        for n in range(10)
    ]
    for frame in frames:
        recent.took(frame)
    for frame in frames:
        clock.advance_ms(1000)
        dead.alive(frame.ref, clock())
        assert dead.fault(clock()) is None


def test_an_analysis_that_repeats_itself_is_lost_though_its_source_waits() -> None:
    clock = FakeClock(10**12)
    recent = Unhurried(clock)
    dead = DeadMan(2 * SECOND, recent)
    for n in range(2):
        stamps = Stamps(t_pop_ns=clock())
        frame = Frame("r", "c", "s", 0, n, "c:p0", n, np.zeros((2, 2), np.uint8), stamps=stamps)
        recent.took(frame)
        if n == 0:
            first = frame.ref
    for _ in range(21):
        clock.advance_ms(100)
        dead.alive(first, clock())
    assert dead.fault(clock()) is None
    clock.advance_ms(100)
    dead.alive(first, clock())
    assert dead.fault(clock()) == "undecided"
