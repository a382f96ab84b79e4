"""A run that begins on a full disk: it goes on, nothing is recorded, and what finds room later is."""

from __future__ import annotations

import errno
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stream.command import MoveStage
from stream.config import Configuration, RunSettings
from stream.errors import StoreError
from stream.facts import database, opening, run_folder
from stream.facts.analysis import AnalysisFacts
from stream.facts.database import Database, connect
from stream.facts.eventlog import EventLog, read_events
from stream.metrics import FRAMES_LOST
from tests.cases.hand_rig import Table

SCHEMA = "CREATE TABLE rows (n INTEGER NOT NULL);"
INSERT = "INSERT INTO rows VALUES (?)"


class Disk:
    """Full until a test makes room: it takes the first page of a database and no more."""

    def __init__(self) -> None:
        self.full = True
        self._prepare = opening._prepare

    def prepare(self, path: Path, connection: sqlite3.Connection, schema: str, version: int) -> None:
        if self.full:
            connection.execute("PRAGMA journal_mode = WAL")
            raise sqlite3.OperationalError("database or disk is full")
        self._prepare(path, connection, schema, version)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(opening, "_prepare", disk.prepare)
    monkeypatch.setattr(opening, "is_full", lambda folder: disk.full)
    monkeypatch.setattr(database, "_ASK_AGAIN_S", 0.0)
    return disk


def lost() -> float:
    return float(FRAMES_LOST.labels("facts", "write_failed")._value.get())


def test_facts_without_room_are_lost_and_counted_and_told_once(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    before, facts = lost(), Database(tmp_path / "t.sqlite", SCHEMA, 3)
    for n in range(5):
        facts.put((INSERT, (n,)))
    with pytest.raises(StoreError, match="the disk is full"):
        facts.commit((INSERT, (5,)))
    assert facts.query("SELECT * FROM rows") == []
    facts.close()
    assert lost() - before == 6
    assert list(tmp_path.iterdir()) == [], "a reader would take it for a damaged file"
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"], "that none is taken, and of a write"
    assert "NOTHING is recorded until there is room" in caplog.text


def test_what_is_said_when_there_is_room_is_recorded(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    facts = Database(tmp_path / "t.sqlite", SCHEMA, 3, additions="CREATE TABLE IF NOT EXISTS more (n INTEGER);")
    facts.put((INSERT, (1,)))
    with pytest.raises(StoreError):
        facts.flush()
    disk.full = False
    facts.commit((INSERT, (2,)), ("INSERT INTO more VALUES (?)", (3,)))
    assert facts.query("SELECT n FROM rows UNION SELECT n FROM more") == [(2,), (3,)]
    facts.close()
    assert "there is room" in caplog.text
    with closing(connect(tmp_path / "t.sqlite", 3)) as again:
        assert again.execute("SELECT n FROM rows").fetchall() == [(2,)]


def test_facts_that_are_there_are_needed_and_kept(tmp_path: Path, disk: Disk) -> None:
    """What a field has had of light, for one: a rig that starts again may not begin as if it were nothing."""
    disk.full = False
    facts = Database(tmp_path / "t.sqlite", SCHEMA, 3)
    facts.commit((INSERT, (1,)))
    facts.close()
    disk.full = True
    with pytest.raises(StoreError, match="disk is full"):
        Database(tmp_path / "t.sqlite", SCHEMA, 3)
    with closing(connect(tmp_path / "t.sqlite", 3)) as again:
        assert again.execute("SELECT n FROM rows").fetchall() == [(1,)]


def refuse(number: int) -> Any:
    def write(*args: Any, **more: Any) -> Any:
        raise OSError(number, "the disk says no")

    return write


def test_a_log_of_events_without_room_is_made_with_the_first_line_that_finds_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(Path, "open", refuse(errno.ENOSPC))
        log = EventLog(tmp_path / "events.jsonl")
        with pytest.raises(StoreError, match="cannot be written"):
            log.append("{}")
    log.append('{"n": 1}')
    log.close()
    assert list(read_events(tmp_path / "events.jsonl")) == [{"n": 1}]


def test_a_log_of_events_that_may_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", refuse(errno.EACCES))
    with pytest.raises(StoreError, match="cannot be written"):
        EventLog(tmp_path / "events.jsonl")


def test_a_run_folder_without_room_for_its_files_is_a_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Path, "write_text", refuse(errno.ENOSPC))
    made = run_folder.create(Configuration(run=RunSettings(out=tmp_path)))
    assert list(made.iterdir()) == []
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    monkeypatch.setattr(Path, "write_text", refuse(errno.EACCES))
    with pytest.raises(StoreError, match="cannot be written"):
        run_folder.create(Configuration(run=RunSettings(out=tmp_path)))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 2 MB, full but for what a test removes."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path]
    made = subprocess.run(mount, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only root may mount a small disk")
    (tmp_path / "full").mkdir()
    with (tmp_path / "fill").open("wb", buffering=0) as fill:
        fill.write(bytes(4 << 20))  # as much of it as there is room for
    yield tmp_path / "full"
    subprocess.run(["umount", tmp_path], check=True)


def test_a_rig_on_a_full_disk_goes_on_refuses_feedback_and_records_when_there_is_room(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_ASK_AGAIN_S", 0.0)
    analysis = AnalysisFacts(small)
    rig = Table(small)
    assert len(rig.take()) == 1
    answer = rig.said("a", MoveStage(x_um=1))
    assert (answer.state, rig.driver.applied) == ("refused", [])
    assert "cannot write it down" in answer.reason
    (small.parent / "fill").unlink()
    assert rig.said("b", MoveStage(x_um=1)).state == "applied"
    rig.close()
    analysis.close()
    with closing(connect(small / "rig.sqlite", 1)) as facts:
        assert facts.execute("SELECT command_id FROM commands").fetchall() == [("b",)]
        assert facts.execute("SELECT count(*) FROM frames").fetchone()[0] >= 1
