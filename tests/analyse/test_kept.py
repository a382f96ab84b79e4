"""A field's state on disk: an analysis that dies after any frame goes on as if it had not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tifffile

from stream.analyse import restart
from stream.analyse.analysis import Analysis
from stream.analyse.chain import Chain
from stream.analyse.kept import Keeper, Kept
from stream.analyse.pipeline import Pipeline
from stream.analyse.results import ResultFiles
from stream.clock import FakeClock
from stream.config import CameraSettings, ChainSettings, Configuration, PlanSettings, RecordSettings
from stream.errors import StoreError
from stream.event import Event
from stream.facts.analysis import AnalysisFacts
from stream.facts.eventlog import read_events
from stream.frame import Frame, FrameRef, Stamps
from stream.score.ctc_writer import ResultWriter
from stream.simulate import simulate
from stream.stages import Moment
from stream.wire.messages import EndOfStream

FRAMES = 14
CUTS = (2, 5, 6, 7, 8, 9, 12)
FIELD = "Camera:p0"
CHAIN = ChainSettings(segment="classical-nuclei")
REF = FrameRef("run", "Camera", "s", 0, 7, FIELD, 7)
KEPT = Kept(REF, "rig", 7_000, 7.5, 3, ("a", "b"), [[[3, 0]], [[0, 1, 2.5, 4]], 8, 1.5], b"chain")


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Cells that divide often, seen by two channels of one camera; a frame a second."""
    folder = tmp_path_factory.mktemp("movie")
    specimen = {"cells": 14, "fields": 1, "size_px": [224, 224], "minutes_per_second": 150.0, "cycle_min": 150.0}
    camera = CameraSettings(driver="virtual", options={**specimen, "bleach_s": 1e6})
    told = simulate(Configuration(camera=camera, plan=PlanSettings(interval_ms=100.0)), folder, FRAMES, 5)
    assert told["divisions"] > 2
    pictures = [tifffile.imread(path) for path in sorted((folder / "01").glob("*.tif"))]
    frames = []
    for number, pixels in enumerate(pictures):
        stamps = Stamps(t_pop_ns=5_000 + number * 10**9, host="rig")
        for channel, shown in (("dna", pixels), ("empty", np.full_like(pixels, 100))):
            seq = len(frames)
            frames.append(Frame("run", "Camera", "s", 0, seq, FIELD, number, shown, channel=channel, stamps=stamps))
    return frames


class Life:
    """One analysis of a run's folder, from its start to its end or death."""

    def __init__(self, run_dir: Path, *, state: float = 1.0) -> None:
        run_dir.mkdir(exist_ok=True)
        config = Configuration(chain=CHAIN, record=RecordSettings(labels=True, state=state))
        self.facts = AnalysisFacts(run_dir)
        self.files = ResultFiles(run_dir / "labels", ResultWriter)
        self.keeper = Keeper(run_dir / "state", CHAIN, state, FakeClock())  # to which every write takes no time
        self.taken = restart.take_up(self.facts, self.files, self.keeper.found(), self._chain)
        self.told: list[Event] = []
        self._pipeline = Pipeline(CHAIN, lambda field: self.taken.chains.get(field) or self._chain(field),
                                  keeps=self.keeper.wants)  # fmt: skip
        self._shown: list[Frame] = []
        parts = (
            SimpleNamespace(next=self._next), self._pipeline,
            SimpleNamespace(asks=True, on_frames=False, act_on=lambda events, frame: self.told.extend(events)),
            SimpleNamespace(alive=lambda ref, pending: None, next_ack=lambda timeout_s: None),
            SimpleNamespace(send=lambda message: True, finish=lambda timeout_s: True),
        )  # fmt: skip
        wires = [cast(Any, part) for part in parts]
        self._analysis = Analysis(config, *wires, self.facts, self.files, (), self.taken, self.keeper)

    def _chain(self, field: str) -> Chain:
        return Chain(CHAIN, None, restart.first_track_id(self.facts, self.files, field))

    def _next(self, timeout_s: float) -> Frame | EndOfStream:
        return self._shown.pop(0) if self._shown else EndOfStream("s", "finished")

    def sees(self, frames: Sequence[Frame], *, dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shown = list(frames)
        with monkeypatch.context() as patch:
            if dies:
                patch.setattr(Analysis, "_end_of_stream", lambda analysis: None)
            self._analysis.run(threading.Event())
        self.keeper.close(ended=False)
        self.files.close()
        self.facts.close()


@dataclass(frozen=True)
class Whole:
    """What came of an analysis that nothing stopped."""

    told: list[Event]
    files: dict[str, bytes]
    tracks: list[Any]


def lived(run_dir: Path, parts: Sequence[Sequence[Frame]], monkeypatch: pytest.MonkeyPatch, **how: Any) -> list[Event]:
    """Let one analysis after the other see a part of a movie; all but the last die. Return what policies were told."""
    told = []
    for number, frames in enumerate(parts):
        life = Life(run_dir, **how)
        life.sees(frames, dies=number < len(parts) - 1, monkeypatch=monkeypatch)
        told += life.told
    return told


def files_of(run_dir: Path) -> dict[str, bytes]:
    paths = [run_dir / "events.jsonl", *(run_dir / "labels").glob("*/*")]
    return {str(path.relative_to(run_dir)): _content(path) for path in paths}


def _content(path: Path) -> bytes:
    return tifffile.imread(path).tobytes() if path.suffix == ".tif" else path.read_bytes()


def tracks_of(run_dir: Path) -> list[Any]:
    facts = AnalysisFacts(run_dir)
    rows = facts._database.query("SELECT * FROM tracks ORDER BY track_id")
    facts.close()
    return rows


@pytest.fixture(scope="module")
def whole(movie: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One analysis that saw the whole movie: what each cut one is held against."""
    run_dir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        told = lived(run_dir, [movie], monkeypatch)
    return Whole(told, files_of(run_dir), tracks_of(run_dir))


@pytest.mark.parametrize("cut", CUTS)
def test_an_analysis_that_died_goes_on_as_if_it_had_not(
    cut: int, movie: list[Frame], whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 2 * cut + 2
    turned = [movie[at + 1], movie[at], *movie[at + 2 :]]  # the channel that nobody segments comes first now
    told = lived(tmp_path / "cut", [movie[:at], turned], monkeypatch)
    assert files_of(tmp_path / "cut") == whole.files
    assert tracks_of(tmp_path / "cut") == whole.tracks
    assert any(event.kind == "division" and event.context for event in whole.told)
    assert told == whole.told
    assert not list((tmp_path / "cut" / "state").iterdir()), "a stream that ended leaves nothing to go on with"


def test_without_a_state_tracks_begin_anew(movie: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(tmp_path, [movie[:16], movie[16:]], monkeypatch, state=0.0)
    born = {row[1]: row[3] for row in tracks_of(tmp_path)}
    assert min(track for track, frame in born.items() if frame >= 8) > max(t for t, frame in born.items() if frame < 8)
    words = {said["event_id"]: said["reason"] for said in read_events(tmp_path / "events.jsonl")}
    assert "restart" in words.values()


def test_a_state_that_is_older_than_what_was_decided_is_left_alone(
    movie: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Life(tmp_path).sees(movie[:12], dies=True, monkeypatch=monkeypatch)
    old = next((tmp_path / "state").iterdir()).read_bytes()
    life = Life(tmp_path)
    assert life.taken.chains.keys() == {FIELD}
    life.sees(movie[12:16], dies=True, monkeypatch=monkeypatch)
    next((tmp_path / "state").iterdir()).write_bytes(old)
    life = Life(tmp_path)
    assert life.taken.chains == {}
    life.sees([], dies=False, monkeypatch=monkeypatch)


def test_a_state_that_a_stage_cannot_take_up_is_left_alone(
    movie: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Life(tmp_path).sees(movie[:12], dies=True, monkeypatch=monkeypatch)

    def refuse(chain: Chain, state: bytes) -> None:
        raise KeyError("a stage of the user's")

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "load", refuse)
        life = Life(tmp_path)
    assert life.taken.chains == {}
    life.sees(movie[12:], dies=False, monkeypatch=monkeypatch)
    assert {said["status"] for said in read_events(tmp_path / "events.jsonl")} >= {"confirmed"}


def test_an_open_event_that_the_state_does_not_know_is_closed(
    movie: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Life(tmp_path).sees(movie[:16], dies=True, monkeypatch=monkeypatch)
    facts = AnalysisFacts(tmp_path)
    stray = Event("division", "stray", 0, "provisional", FIELD, 7, 7, 0.5, 1, (900, 901), (1.0, 1.0), ((1.0, 1.0),) * 2)
    facts.event(stray)
    facts.close()
    life = Life(tmp_path)
    assert [(event.event_id, event.reason) for event in life.taken.closed] == [("stray", "restart")]
    assert life.taken.chains.keys() == {FIELD}
    life.sees(movie[16:], dies=False, monkeypatch=monkeypatch)
    for path in (tmp_path / "events.jsonl", next((tmp_path / "labels").glob("*/events.jsonl"))):
        words = [(said["status"], said["reason"]) for said in read_events(path) if said["frame"] == 7]
        assert ("retracted", "restart") in words
    assert min(row[1] for row in tracks_of(tmp_path) if row[3] >= 8) > 901, "no number that was said comes again"


def test_what_is_kept_comes_back_whole_or_not_at_all() -> None:
    data = KEPT.packed("me")
    assert Kept.unpacked(data, "me") == KEPT
    torn = {"cut": data[:-1], "empty": b"", "turned": data[:30] + bytes([data[30] ^ 1]) + data[31:]}
    for name, bad in torn.items():
        with pytest.raises(StoreError, match="torn"):
            Kept.unpacked(bad, "me")
        assert name
    with pytest.raises(StoreError, match="another"):
        Kept.unpacked(data, "somebody else")


def test_files_that_cannot_be_used_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper(tmp_path, CHAIN, 1.0)
    keeper.keep(KEPT)
    keeper.keep(replace(KEPT, ref=replace(REF, field="Camera:p1")))
    keeper.close(ended=False)
    (tmp_path / "Camera_p1.state").write_bytes(b"torn")
    again = Keeper(tmp_path, CHAIN, 1.0)
    assert again.found() == [KEPT]
    assert "Camera_p1.state: passed over" in caplog.text
    other = Keeper(tmp_path, CHAIN.model_copy(update={"queue": CHAIN.queue + 1}), 1.0)
    assert other.found() == []
    for one in (again, other):
        one.close(ended=True)
    assert list(tmp_path.iterdir()) == []


def test_a_slow_write_is_not_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is cold once; then it is fast."""
    clock, slow_ms, write = FakeClock(), [300.0], Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        clock.advance_ms(slow_ms.pop() if slow_ms else 5.0)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    keeper = Keeper(tmp_path, CHAIN, 0.01, clock)
    moment = Moment(Frame("run", "Camera", "s", 0, 0, FIELD, 0, np.zeros((4, 4), np.uint8)))
    kept = []
    for number in range(20):
        if keeper.wants(moment):
            keeper._write(KEPT)
            kept.append(number)
        clock.advance_ms(10_000)
    assert kept == [0, *range(3, 20)]
    keeper.close(ended=True)


def test_a_disk_that_refuses_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("in the way")
    keeper = Keeper(tmp_path / "state", CHAIN, 1.0)
    for _ in range(2):
        keeper._write(KEPT)
    assert caplog.text.count("cannot be written") == 1
    (tmp_path / "state").unlink()
    keeper._write(KEPT)
    assert keeper.found() == [KEPT]
    keeper.close(ended=True)
