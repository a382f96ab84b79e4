"""An analysis that goes on in a run's folder: open events are closed everywhere, masks stay, track ids go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from stream.analyse import restart
from stream.analyse.analysis import Analysis
from stream.analyse.chain import Decision
from stream.analyse.pipeline import Drained
from stream.analyse.results import ResultFiles
from stream.cells import Segmentation
from stream.config import Configuration
from stream.errors import StoreError
from stream.facts.analysis import AnalysisFacts
from stream.facts.eventlog import EventLog, read_events
from stream.metrics import FRAMES_LOST
from stream.score.ctc_writer import ResultWriter
from stream.stages import Moment
from stream.wire.messages import EndOfStream, EventsOf, Message
from stream.wire.read import decode
from tests.cases.family import FIELD, Shown, movie

CUT = 18
"""After this frame two divisions are open: of 10 at 17, and of 2 at 18."""
OPEN = [f"{FIELD}/f17/division/10", f"{FIELD}/f18/division/2"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The folder of an analysis that ended after the frame CUT."""
    facts, files = AnalysisFacts(tmp_path), ResultFiles(tmp_path / "labels", ResultWriter)
    for one in movie():
        if one.frame.frame <= CUT:
            for event in one.events:
                facts.event(event)
            facts.decided(one.frame, one.frame.stamps.t_pop_ns + 5, tracks=one.tracks)
            files.decided(FIELD, one.frame.frame, one.segmentation, one.tracks, one.events)
    files.close()
    facts.close()
    return tmp_path


@pytest.fixture
def facts(run_dir: Path) -> Iterator[AnalysisFacts]:
    opened = AnalysisFacts(run_dir)
    yield opened
    opened.close()


@pytest.fixture
def files(run_dir: Path) -> Iterator[ResultFiles]:
    opened = ResultFiles(run_dir / "labels", ResultWriter)
    yield opened
    opened.close()


def last_words(path: Path) -> dict[str, tuple[str, str]]:
    return {said["event_id"]: (said["status"], said["reason"]) for said in read_events(path)}


def labels_of(run_dir: Path) -> Path:
    return run_dir / "labels" / FIELD.replace(":", "_")


def test_open_events_are_closed_in_the_facts_and_in_the_result_files(
    run_dir: Path, facts: AnalysisFacts, files: ResultFiles
) -> None:
    masks = {path: path.read_bytes() for path in labels_of(run_dir).glob("mask*.tif")}
    closed = restart.take_up(facts, files).closed
    assert [(event.event_id, event.emitted_frame) for event in closed] == [(name, CUT + 1) for name in OPEN]
    for path in (run_dir / "events.jsonl", labels_of(run_dir) / "events.jsonl"):
        words = last_words(path)
        assert all(words[name] == ("retracted", "restart") for name in OPEN)
        assert {status for status, _ in words.values()} == {"confirmed", "retracted"}
    assert masks
    assert {path: path.read_bytes() for path in masks} == masks
    assert restart.take_up(facts, files).closed == []


def test_track_ids_go_on_after_the_highest_that_facts_or_masks_know(
    run_dir: Path, facts: AnalysisFacts, files: ResultFiles
) -> None:
    shown = next(iter(movie()))
    labels, cells = shown.segmentation.labels, shown.segmentation.cells
    image, table = (np.where(one == 16, 40, one).astype(np.int32) for one in (labels, cells.label))
    newer = Segmentation(image, replace(cells, label=table))
    ahead = ResultWriter(labels_of(run_dir))
    ahead.take_up([])
    ahead.decided(CUT + 1, newer, shown.tracks, [])  # the facts were not committed when the analysis died
    ahead.close()
    assert restart.first_track_id(facts, None, FIELD) == 17
    assert restart.first_track_id(facts, files, FIELD) == 41
    assert restart.first_track_id(facts, files, "Camera:p1") == 1


def test_files_that_cannot_be_gone_on_with_cost_their_frames_not_the_run(
    run_dir: Path, facts: AnalysisFacts, files: ResultFiles
) -> None:
    (labels_of(run_dir) / "res_track.txt").write_text("torn")
    refused = FRAMES_LOST.labels("results", "refused")
    before = refused._value.get()
    assert restart.take_up(facts, files).closed
    assert restart.first_track_id(facts, files, FIELD) == 17
    shown = next(iter(movie()))
    files.decided(FIELD, CUT + 1, shown.segmentation, shown.tracks, [])
    files.close()
    assert refused._value.get() == before + 1
    assert (labels_of(run_dir) / "res_track.txt").read_text() == "torn"


class Sent:
    """Takes what the analysis sends."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> bool:
        self.messages.append(message)
        return True

    def finish(self, timeout_s: float) -> bool:
        return True

    def events(self) -> list[tuple[int, list[tuple[str, str]]]]:
        told = [decode(message.parts()) for message in self.messages if message.kind == "events"]
        return [
            (one.ref.frame, [(event.event_id, event.status) for event in one.events])
            for one in told
            if isinstance(one, EventsOf)
        ]


def analyse(facts: AnalysisFacts, shown: Sequence[Shown], taken: restart.TakenUp) -> Sent:
    """Let an analysis decide these frames and end."""
    decisions = [Decision(Moment(one.frame), one.segmentation, one.tracks, one.events) for one in shown]
    outputs = iter([*decisions, Drained()])
    chain = SimpleNamespace(choice="none", finish=lambda: [])
    pipeline = SimpleNamespace(
        next=lambda timeout_s: next(outputs), chains={FIELD: chain}, in_flight=0, drain=lambda: None
    )
    frames = SimpleNamespace(next=lambda timeout_s: EndOfStream("s", "finished"))
    control = SimpleNamespace(alive=lambda ref, pending: None, next_ack=lambda timeout_s: None)
    commander = SimpleNamespace(asks=False, on_frames=False, act_on=lambda events, frame: 0)
    sent = Sent()
    parts = [cast(Any, part) for part in (frames, pipeline, commander, control, sent)]
    Analysis(Configuration(), *parts, facts, None, taken=taken).run(threading.Event())
    return sent


def test_closed_events_are_sent_once_with_the_first_decision_on_their_field(facts: AnalysisFacts) -> None:
    shown = [replace(one, events=()) for one in movie() if one.frame.frame > CUT]
    sent = analyse(facts, shown, restart.take_up(facts, None))
    first, *others = sent.events()
    assert first == (shown[0].frame.frame, [(name, "retracted") for name in OPEN])
    assert others
    assert all(not events for _, events in others)


def test_closed_events_of_a_field_that_never_comes_again_are_sent_at_the_end(facts: AnalysisFacts) -> None:
    sent = analyse(facts, [], restart.take_up(facts, None))
    assert sent.events() == [(CUT, [(name, "retracted") for name in OPEN])]


def test_a_first_start_has_nothing_to_close(tmp_path: Path) -> None:
    facts, files = AnalysisFacts(tmp_path), ResultFiles(tmp_path / "labels", ResultWriter)
    assert restart.take_up(facts, files).closed == []
    assert restart.first_track_id(facts, files, FIELD) == 1
    facts.close()
    files.close()
    assert json.dumps(last_words(labels_of(tmp_path) / "events.jsonl")) == "{}"


def test_a_disk_that_takes_nothing_leaves_all_for_the_next_start(
    run_dir: Path, facts: AnalysisFacts, files: ResultFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(log: EventLog, line: str) -> None:
        raise StoreError("events.jsonl: cannot be written: no space left on device")

    with monkeypatch.context() as full:
        full.setattr(EventLog, "append", refuses)
        assert restart.take_up(facts, files).closed == []
    assert [event.event_id for event in restart.take_up(facts, files).closed] == OPEN
