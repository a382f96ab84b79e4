"""The writer: batches, fullness, failures, damage, versions, and the death of its process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from stream.errors import StoreError
from stream.facts.database import Database, connect
from stream.metrics import REGISTRY

SCHEMA = "CREATE TABLE rows (n INTEGER NOT NULL);"
INSERT = "INSERT INTO rows VALUES (?)"


def make(tmp_path: Path, **options: float) -> Database:
    return Database(tmp_path / "t.sqlite", SCHEMA, 3, **options)  # type: ignore[arg-type]


def rows(database: Database) -> list[int]:
    return [n for (n,) in database.query("SELECT n FROM rows ORDER BY rowid")]


def lost(reason: str) -> float:
    return REGISTRY.get_sample_value("cytoloop_frames_lost_total", {"stage": "facts", "reason": reason}) or 0.0


def test_what_was_put_is_there_after_a_flush_in_order_while_the_writer_goes_on(tmp_path: Path) -> None:
    database = make(tmp_path)
    for n in range(1000):
        assert database.put((INSERT, (n,)))
    database.flush()
    assert rows(database) == list(range(1000))
    with closing(connect(tmp_path / "t.sqlite", 3)) as other:
        database.commit((INSERT, (1000,)))
        assert other.execute("SELECT count(*) FROM rows").fetchone() == (1001,)
    database.close()


def test_what_was_put_for_later_is_written_before_all_that_came_after_it(tmp_path: Path) -> None:
    database = make(tmp_path)
    for n in range(0, 600, 3):
        assert database.put((INSERT, (n,)))
        assert database.put_later((INSERT, (n + 1,)))
        database.commit((INSERT, (n + 2,)))
        assert rows(database)[-3:] in ([n, n + 1, n + 2], [n + 1, n, n + 2])
    database.close()


def test_what_was_put_for_later_is_written_though_nothing_follows(tmp_path: Path) -> None:
    database = make(tmp_path)
    database.put_later((INSERT, (1,)))
    while not rows(database):
        pass
    database.put_later((INSERT, (2,)))
    database.close()
    again = make(tmp_path)
    assert rows(again) == [1, 2]
    again.close()


def test_no_room_for_later_is_told_like_no_room_now(tmp_path: Path) -> None:
    """The writer is held inside its first row; two more wait for later and two in the queue."""
    database = make(tmp_path, queue_size=2, wait_ms=1)
    entered, gate = threading.Event(), threading.Event()

    def held() -> tuple[int]:
        entered.set()
        gate.wait(30)
        return (0,)

    database.put((INSERT, held))
    assert entered.wait(30)
    assert [database.put_later((INSERT, (n,))) for n in range(1, 6)] == [True, True, True, True, False]
    gate.set()
    database.flush()
    assert sorted(rows(database)) == [0, 1, 2, 3, 4]
    database.close()


def test_closing_commits_and_a_second_opening_goes_on(tmp_path: Path) -> None:
    database = make(tmp_path)
    database.put((INSERT, (1,)))
    database.close()
    database.close()
    again = make(tmp_path)
    assert rows(again) == [1]
    again.close()


def test_a_full_queue_gives_up_and_confesses(tmp_path: Path) -> None:
    """The writer is held inside its first row; two writes wait; the next finds no room."""
    database = make(tmp_path, queue_size=2, wait_ms=1)
    entered, gate, before = threading.Event(), threading.Event(), lost("full")

    def held() -> tuple[int]:
        entered.set()
        assert gate.wait(30)
        return (0,)

    database.put((INSERT, held))
    assert entered.wait(30)
    assert [database.put((INSERT, (n,))) for n in (1, 2, 3, 4)] == [True, True, False, False]
    gate.set()
    database.flush()
    assert rows(database) == [0, 1, 2]
    assert database.query("SELECT stage, reason, count FROM losses") == [("facts", "full", 2)]
    assert lost("full") == before + 2
    database.close()


def test_one_bad_row_costs_neither_its_neighbours_nor_the_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = make(tmp_path)
    before = lost("write_failed")
    entered, gate = threading.Event(), threading.Event()

    def held() -> tuple[int]:
        entered.set()
        assert gate.wait(30)
        return (0,)

    database.put((INSERT, held))
    assert entered.wait(30)
    for n in (1, None, 2):  # these three go into one batch
        database.put((INSERT, (n,)))
    gate.set()
    with pytest.raises(StoreError, match="a write failed: NOT NULL"):
        database.flush()
    database.flush()  # said once
    assert rows(database) == [0, 1, 2]
    assert lost("write_failed") == before + 1
    assert "NOT NULL" in caplog.text
    database.close()


def test_a_unit_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    database = make(tmp_path)
    with pytest.raises(StoreError, match="NOT NULL"):
        database.commit((INSERT, (1,)), (INSERT, (None,)))
    assert rows(database) == []
    database.close()


def test_a_row_that_cannot_be_made_is_the_callers_failure_only(tmp_path: Path) -> None:
    database = make(tmp_path)
    with pytest.raises(StoreError, match=r"a write failed: .*by zero"):
        database.commit((INSERT, lambda: (1 // 0,)))
    database.commit((INSERT, (1,)))
    assert rows(database) == [1]
    database.close()


def test_after_closing_nothing_is_taken_and_it_is_counted(tmp_path: Path) -> None:
    database = make(tmp_path)
    database.close()
    before = lost("closed")
    assert not database.put((INSERT, (1,)))
    assert lost("closed") == before + 1
    with pytest.raises(StoreError, match="already closed"):
        database.commit((INSERT, (1,)))


def spoil(path: Path, how: str) -> None:
    if how == "no database":
        path.write_bytes(b"these are my notes, not a database\n" * 400)
    elif how == "header overwritten":
        path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    elif how == "page overwritten":
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 + path.read_bytes()[8192:])
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:6000])
    elif how == "newer":
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA user_version = 4")
    elif how == "foreign":
        path.unlink()
        with closing(sqlite3.connect(path)) as file:
            file.execute("CREATE TABLE mine (a)")


SPOILT = {
    "no database": "cannot be used as a database",
    "header overwritten": "cannot be used as a database",
    "page overwritten": "cannot be used as a database",
    "cut short": "cannot be used as a database",
    "newer": "schema 4 was written by a newer cytoloop, this one knows up to 3: update",
    "foreign": "schema 0 is none of cytoloop's",
}


@pytest.mark.parametrize(("how", "message"), SPOILT.items(), ids=SPOILT)
def test_a_file_that_cannot_be_used_is_refused_and_left_as_it_is(tmp_path: Path, how: str, message: str) -> None:
    database = make(tmp_path)
    for n in range(2000):
        database.put((INSERT, (n,)))
    database.close()
    path = tmp_path / "t.sqlite"
    assert not (tmp_path / "t.sqlite-wal").exists()  # everything is in the file
    spoil(path, how)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"t\.sqlite: {message}"):
        make(tmp_path)
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone.*t\.sqlite"):
        make(tmp_path / "gone")


WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from stream.facts.database import Database

database = Database(Path(sys.argv[1]), "CREATE TABLE rows (n INTEGER NOT NULL);", 3)
n = 0
while True:
    for _ in range(7):
        database.put(("INSERT INTO rows VALUES (?)", (n,)))
        n += 1
    database.flush()
    print(n, flush=True)
"""


def test_every_acknowledged_row_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITES_UNTIL_KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    with writer:
        acknowledged = 0
        while acknowledged < 700:
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    database = make(tmp_path)
    found = rows(database)
    assert found == list(range(len(found)))
    assert len(found) >= acknowledged
    database.close()


def test_closing_does_not_wait_for_ever_for_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream.facts.database.COMMIT_TIMEOUT_S", 0.2)
    database = make(tmp_path, queue_size=2, wait_ms=1)
    hangs, alive = threading.Event(), threading.Event()
    monkeypatch.setattr(database, "_write", lambda batch: (hangs.set(), alive.wait(30)))
    database.put((INSERT, (0,)))
    assert hangs.wait(10)
    while database.put((INSERT, (1,))):
        pass
    closing_it = threading.Thread(target=database.close, daemon=True)
    closing_it.start()
    closing_it.join(10)
    assert not closing_it.is_alive()
    assert "left open" in caplog.text
    alive.set()
    database._thread.join(10)
    assert not database._thread.is_alive()


def test_the_writer_is_the_last_one_out_even_where_it_looks_up_at_the_close(tmp_path: Path) -> None:
    database = make(tmp_path)
    database.commit((INSERT, (1,)))
    reader, waited = database._reader, threading.Event()

    class Slow:
        """A reader that takes longer to close than the writer waits for something to write."""

        def close(self) -> None:
            waited.wait(0.7)
            reader.close()

    database._reader = Slow()  # type: ignore[assignment]
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == ["t.sqlite"]
