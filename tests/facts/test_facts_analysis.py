"""What the analysis writes: decisions, tables, revisions, commands sent."""

from __future__ import annotations

import json
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from facts_cases import FIELD, ack, cells, command, event, frame, ref, tracks

from stream.errors import StoreError
from stream.facts.analysis import AnalysisFacts
from stream.facts.database import connect
from stream.facts.eventlog import EventLog, read_events


def read(run_dir: Path, sql: str) -> list[tuple[object, ...]]:
    connection = connect(run_dir / "analysis.sqlite", 1)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_decision_brings_its_stamps_cells_and_tracks(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.decided(frame(2), 205_000_000, missed=1, cells=cells(2), tracks=tracks(2, 2))
    facts.flush()
    assert read(tmp_path, "SELECT seq, missed, cells, t_decided_ns, same_host, stage_ms FROM frames") == [
        (2, 1, 2, 205_000_000, 1, '{"segment": 0.25}')
    ]
    assert read(
        tmp_path, "SELECT field, session, frame, track_id, y_px, x_px, area_px, score, mean_counts FROM measured"
    ) == [
        (FIELD, "s1", 2, 1, 1.5, 2.0, 12.0, 1.0, "[7.25,null]"),
        (FIELD, "s1", 2, 2, 3.0, 4.0, 12.0, 1.0, "[7.25,null]"),
    ]
    assert read(tmp_path, "SELECT field, track_id, parent_id, born, last, state FROM tracks") == [
        (FIELD, 1, 0, 0, 2, "alive"), (FIELD, 2, 0, 0, 2, "alive")
    ]  # fmt: skip
    facts.close()


def test_a_track_is_one_row_that_follows_its_state(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.decided(frame(1), 1, tracks=tracks(1, 2))
    facts.decided(frame(2), 2, tracks=tracks(2, 3, state=2))
    facts.flush()
    assert read(tmp_path, "SELECT track_id, last, state FROM tracks") == [
        (1, 2, "divided"), (2, 2, "divided"), (3, 2, "divided")
    ]  # fmt: skip
    assert read(tmp_path, "SELECT cells FROM frames") == [(None,), (None,)]
    facts.close()


def test_an_empty_frame_is_a_decision_too(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.decided(frame(0), 1, cells=cells(0), tracks=tracks(0, 0))
    facts.flush()
    assert facts.counts() | {"frames": 1, "cells": 0, "tracks": 0} == facts.counts()
    assert read(tmp_path, "SELECT cells FROM frames") == [(0,)]
    facts.close()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_cells_that_measure_no_channel_are_kept(tmp_path: Path, n: int) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.decided(frame(0), 1, cells=replace(cells(n), mean_counts=np.zeros((n, 0), np.float32)))
    facts.flush()
    assert read(tmp_path, "SELECT track_id, mean_counts FROM measured") == [(i + 1, "[]") for i in range(n)]
    facts.close()


def test_track_ids_go_on_after_a_restart(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    assert facts.last_track_id(FIELD) == 0
    facts.decided(frame(0), 1, tracks=tracks(0, 41))
    facts.close()
    again = AnalysisFacts(tmp_path)
    assert (again.last_track_id(FIELD), again.last_track_id("Camera:p1")) == (41, 0)
    again.close()


def test_track_ids_that_only_an_event_knows_are_not_given_again(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.decided(frame(0), 1, tracks=tracks(0, 3))
    facts.event(event(2, 2))  # of 7 into 8 and 9
    facts.flush()
    assert (facts.last_track_id(FIELD), facts.last_track_id("Camera:p1")) == (9, 0)
    facts.close()


def test_events_that_were_left_open_are_retracted_once(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.decided(frame(6), 1, tracks=tracks(6, 3))
    left = event(4, 5, "provisional", revision=1, parent=1)
    for one in (event(4, 4, "provisional", parent=1), left, event(2, 2, "provisional"), event(2, 5, revision=1)):
        facts.event(one)
    facts.close()
    again = AnalysisFacts(tmp_path)
    closed = again.close_open()
    assert closed == [
        replace(left, revision=2, status="retracted", reason="restart", emitted_frame=7, ref=ref(6))
    ]  # one frame after the last that is known, as at the end of a stream
    assert again.close_open() == []
    again.close()
    assert (tmp_path / "events.jsonl").read_text().splitlines()[-1] == closed[0].as_line()
    assert read(tmp_path, "SELECT status, reason, seq FROM events ORDER BY id DESC LIMIT 1") == [
        ("retracted", "restart", 6)
    ]


def test_revisions_that_only_the_log_has_are_taken_into_the_table(tmp_path: Path) -> None:
    """A killed analysis has said them, written them to the log, and not committed them."""
    facts = AnalysisFacts(tmp_path)
    facts.event(event(2, 2, "provisional"))
    facts.close()
    lost = [event(2, 4, revision=1), event(5, 5, "provisional", parent=20)]
    with (tmp_path / "events.jsonl").open("a") as log:
        log.writelines(one.as_line() + "\n" for one in lost)
    again = AnalysisFacts(tmp_path)
    assert [(one.event_id, one.revision, one.emitted_frame) for one in again.close_open()] == [(lost[1].event_id, 1, 6)]
    assert again.last_track_id(FIELD) == 20
    assert [one.as_line() for one in again.revisions(FIELD)] == (tmp_path / "events.jsonl").read_text().splitlines()
    assert again.fields() == [FIELD]
    again.close()
    assert read(tmp_path, "SELECT status, x_um FROM events ORDER BY id") == [
        ("provisional", 1.0), ("confirmed", None), ("provisional", None), ("retracted", 0.0)
    ]  # fmt: skip


def test_a_log_that_a_full_disk_tore_in_the_middle_is_no_reason_not_to_start(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.event(event(2, 2, "provisional"))
    facts.close()
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write('{"schema":1,"ki{"schema":1}\n')
    again = AnalysisFacts(tmp_path)
    assert [one.event_id for one in again.close_open()] == [event(2, 2).event_id]
    again.close()


def test_every_revision_is_kept_in_the_table_and_in_the_log(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    told = [event(2, 2, "provisional"), event(2, 4, "retracted", revision=1)]
    for one in told:
        facts.event(one)
        assert (tmp_path / "events.jsonl").read_text().endswith(one.as_line() + "\n")  # at once, not at close
    facts.close()
    assert list(read_events(tmp_path / "events.jsonl")) == [one.as_json() for one in told]
    assert read(tmp_path, "SELECT event_id, revision, status, emitted_frame, seq FROM events ORDER BY id") == [
        (told[0].event_id, 0, "provisional", 2, 2),
        (told[0].event_id, 1, "retracted", 4, 4),
    ]


def test_a_command_is_on_disk_before_it_is_sent(tmp_path: Path) -> None:
    facts = AnalysisFacts(tmp_path)
    facts.sent(command("c", "pause", cause=("e", ref(3))), policy="catch")
    assert read(tmp_path, "SELECT command_id, kind, policy, cause_event FROM sent") == [("c", "pause", "catch", "e")]
    facts.answered(ack("c", "applied"))
    facts.dropped("slow", "overrun", event(1, 1))
    facts.flush()
    assert read(tmp_path, "SELECT command_id, state, final FROM transitions") == [("c", "applied", 1)]
    assert read(tmp_path, "SELECT policy, reason, event_id FROM dropped") == [("slow", "overrun", event(1, 1).event_id)]
    facts.close()


def test_a_torn_last_line_is_left_out_by_readers_and_cut_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n{"c": ')
    assert list(read_events(path)) == [{"a": 1}, {"b": 2}]
    log = EventLog(path)
    log.append('{"d": 4}')
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"b": 2}, {"d": 4}]


@pytest.mark.parametrize(
    ("text", "message"), [('{"a": 1}\n{"b"\n{}\n', "line 2 is no JSON"), ("3\n", "line 1 is no event")]
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    with pytest.raises(StoreError, match=message):
        list(read_events(path))


class NearlyFull(FileIO):
    """A file on a disk that takes ten bytes of the second line."""

    lines = 0

    def write(self, text: Any) -> int:
        self.lines += 1
        return super().write(text[:10] if self.lines == 2 else text)


def test_a_line_that_found_room_in_part_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"before": true}\n')
    log = EventLog(path)
    log._file.close()
    log._file = NearlyFull(path, "ab")
    log.append('{"line": 1}')
    with pytest.raises(StoreError, match="only 10 of 12 bytes"):
        log.append('{"line": 2}')
    assert list(read_events(path)) == [{"before": True}, {"line": 1}]
    log.append('{"line": 3}')
    log.close()
    assert list(read_events(path)) == [{"before": True}, {"line": 1}, {"line": 3}]


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.close()
    with pytest.raises(StoreError, match="cannot be written"):
        log.append("{}")
