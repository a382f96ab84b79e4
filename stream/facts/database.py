"""One SQLite file, written by one thread and readable by anyone meanwhile.

Writes are queued and committed in batches: whatever waits when the thread comes round goes into one transaction, so a
slow disk makes batches larger, not the queue longer. The queue is bounded. :meth:`Database.put` waits ``wait_ms`` for
room and then gives the write up, counted in ``cytoloop_frames_lost{stage="facts"}`` and in the table ``losses``;
:meth:`Database.commit` waits until its write is on disk, or says why it is not.

WAL with ``synchronous = NORMAL``: what is committed survives the death of the process (kill -9); a power cut may cost
the last commits, never the file.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.clock import wall_ns
from stream.errors import StoreError
from stream.metrics import FRAMES_LOST

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Statement = tuple[str, Row | Callable[[], Row | list[Row]]]
"""SQL with the parameters of one row, or a callable that the writer's thread asks for one row or a list of them."""

COMMIT_TIMEOUT_S = 10.0
_BATCH = 256
_LATER_S = 0.5
"""How long what nobody waits for may stand before it is written."""
_CHECK_BYTES = 32 << 20
"""Files up to this size are checked page by page when they are opened; larger ones only where they are read."""

COMMON_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE losses (
    id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL,
    count INTEGER NOT NULL, field TEXT, frame INTEGER
);
"""
INSERT_LOSS = "INSERT INTO losses (wall_ns, stage, reason, count, field, frame) VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class _Write:
    """Statements that are committed together or not at all."""

    statements: Sequence[Statement]
    committed: Future[None] | None = None


class Database:
    """A node's facts.

    Parameters
    ----------
    path
        Made when it does not exist; its folder must.
    schema, version
        The tables of a new file, and their number in ``PRAGMA user_version``.
    queue_size
        Writes that may wait.
    wait_ms
        How long :meth:`put` waits for room.

    Raises
    ------
    StoreError
        The file is damaged, is not ours, or was written by a newer program. It is left as it is.
    """

    def __init__(self, path: Path, schema: str, version: int, *, queue_size: int = 1024, wait_ms: float = 20.0) -> None:
        self.path = path
        self._wait_s = wait_ms / 1e3
        self._writer = _open(path, COMMON_SCHEMA + schema, version)
        self._reader = connect(path, version)
        self._reading = threading.Lock()
        self._queue: queue.Queue[_Write | None] = queue.Queue(queue_size)
        self._later: deque[_Write] = deque(maxlen=queue_size)
        self._given_up = 0
        self._counting = threading.Lock()
        self._failure: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"facts-{path.stem}", daemon=True)
        self._thread.start()

    def put(self, *statements: Statement) -> bool:
        """Queue statements as one unit; False when there was no room and the unit is lost (and counted)."""
        try:
            if self._closed:
                raise queue.Full
            self._queue.put(_Write(statements), timeout=self._wait_s)
        except queue.Full:
            reason = "closed" if self._closed else "full"
            FRAMES_LOST.labels("facts", reason).inc()
            with self._counting:
                self._given_up += 1
            return False
        return True

    def put_later(self, *statements: Statement) -> bool:
        """Queue statements without waking the writer: with its next batch, at most half a second from now.

        Nobody's processor is taken meanwhile. They may overtake what :meth:`put` queued just before, never what is
        queued after. False when there was no room.
        """
        if self._closed or len(self._later) == self._later.maxlen:
            return self.put(*statements)
        self._later.append(_Write(statements))
        return True

    def commit(self, *statements: Statement, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Write statements as one unit, after all that was queued before, and return when they are on disk.

        Raises
        ------
        StoreError
            They are not, or nobody knows after ``timeout_s``.
        """
        if self._closed:
            raise StoreError(f"{self.path}: already closed")
        committed: Future[None] = Future()
        try:
            self._queue.put(_Write(statements, committed), timeout=timeout_s)
            committed.result(timeout_s)
        except (queue.Full, TimeoutError):
            raise StoreError(f"{self.path}: nothing was committed for {timeout_s:g} s; is the disk alive?") from None

    def flush(self, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Wait until all that was queued is on disk. Raises StoreError where a write failed since the last flush."""
        self.commit(timeout_s=timeout_s)
        failure, self._failure = self._failure, None
        if failure:
            raise StoreError(f"{self.path}: {failure}")

    def query(self, sql: str, parameters: Row = ()) -> list[Row]:
        """Read what is committed. Raises StoreError."""
        try:
            with self._reading:
                return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(_unusable(self.path, error)) from error

    def close(self) -> None:
        """Commit what is queued and close the file. Idempotent."""
        if self._closed:
            return
        with self._reading:
            self._reader.close()  # first, so that the writer is the last one out and folds the WAL into the file
        self._closed = True
        with suppress(queue.Full):  # a disk that hangs; the thread also sees that nothing more will come
            self._queue.put(None, timeout=COMMIT_TIMEOUT_S)
            self._thread.join(COMMIT_TIMEOUT_S)
        if self._thread.is_alive():
            log.error("%s: still writing after %g s; left open", self.path, COMMIT_TIMEOUT_S)

    def _run(self) -> None:
        with closing(self._writer):
            more = True
            while more:
                batch, more = self._take()
                batch = [*batch, *self._confession()]
                if batch:
                    self._write(batch)

    def _take(self) -> tuple[list[_Write], bool]:
        """Wait a little for something to write; return what there is and whether more may come."""
        batch: list[_Write] = []
        more = True
        try:
            write = self._queue.get(timeout=_LATER_S)
            while write is not None:
                batch.append(write)
                if len(batch) == _BATCH:
                    break
                write = self._queue.get_nowait()
            more = write is not None
        except queue.Empty:
            more = not self._closed
        return [*(self._later.popleft() for _ in range(len(self._later))), *batch], more

    def _confession(self) -> list[_Write]:
        """Return a row that says how many units were given up since the last one."""
        with self._counting:
            count, self._given_up = self._given_up, 0
        return [_Write([(INSERT_LOSS, (wall_ns(), "facts", "full", count, None, None))])] if count else []

    def _write(self, batch: Sequence[_Write]) -> None:
        try:
            self._transact(batch)
        except Exception:  # one bad unit must not cost its neighbours: find it by writing each alone
            for write in batch:
                self._write_alone(write)

    def _transact(self, batch: Sequence[_Write]) -> None:
        execute = self._writer.execute
        try:
            execute("BEGIN IMMEDIATE")
            for write in batch:
                for statement in write.statements:
                    self._execute(*statement)
            execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                execute("ROLLBACK")
            raise
        for write in batch:
            if write.committed:
                write.committed.set_result(None)

    def _execute(self, sql: str, given: Row | Callable[[], Row | list[Row]]) -> None:
        rows = given() if callable(given) else given
        if isinstance(rows, list):
            self._writer.executemany(sql, rows)
        else:
            self._writer.execute(sql, rows)

    def _write_alone(self, write: _Write) -> None:
        try:
            self._transact([write])
        except Exception as error:  # the thread's edge: disk full, a row that SQLite cannot take
            FRAMES_LOST.labels("facts", "write_failed").inc()
            self._failure = f"a write failed: {error}"
            log.error("%s: %s", self.path, self._failure)
            if write.committed:
                write.committed.set_exception(StoreError(f"{self.path}: {self._failure}"))


def connect(path: Path, version: int) -> sqlite3.Connection:
    """Open a file for reading, while a run goes on or after it.

    Raises
    ------
    StoreError
        It does not exist, is damaged, or was written by a newer program.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; is {path.parent} the folder of a run?")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            _check_version(path, connection, version)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.Error as error:
        raise StoreError(_unusable(path, error)) from error


def _open(path: Path, schema: str, version: int) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _prepare(path, connection, schema, version)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.Error as error:
        raise StoreError(_unusable(path, error)) from error


def _prepare(path: Path, connection: sqlite3.Connection, schema: str, version: int) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables:
        _check_version(path, connection, version)
        _check_pages(path, connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    if not tables:
        connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {version}; COMMIT;")


def _check_version(path: Path, connection: sqlite3.Connection, version: int) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > version:
        raise StoreError(
            f"{path}: schema {found} was written by a newer cytoloop, this one knows up to {version}: update cytoloop"
        )
    if found < version:
        raise StoreError(f"{path}: schema {found} is none of cytoloop's (expected {version}); name another folder")


def _check_pages(path: Path, connection: sqlite3.Connection) -> None:
    if path.stat().st_size > _CHECK_BYTES:
        return
    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise sqlite3.DatabaseError(answer)


def _unusable(path: Path, error: sqlite3.Error) -> str:
    return (
        f"{path}: cannot be used as a database ({error}). Nothing was changed: move the file away to go on without it, "
        f"or recover its rows with: sqlite3 '{path.name}' .recover"
    )
