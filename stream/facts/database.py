"""One SQLite file, written by one thread and readable by anyone meanwhile.

Writes are queued and committed in batches: whatever waits when the thread comes round goes into one transaction, so a
slow disk makes batches larger, not the queue longer. The queue is bounded. :meth:`Database.put` waits ``wait_ms`` for
room and then gives the write up, counted in ``cytoloop_frames_lost{stage="facts"}`` and in the table ``losses``;
:meth:`Database.commit` waits until its write is on disk, or says why it is not.

WAL with ``synchronous = NORMAL``: what is committed survives the death of the process (kill -9); a power cut may cost
the last commits, never the file.

Where the disk is full when a run begins, the file is made when there is room; until then every write fails, and there
are no rows to read.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stream.clock import wall_ns
from stream.errors import StoreError
from stream.facts.opening import connect, nothing, open_both, unusable
from stream.metrics import FRAMES_LOST

__all__ = ["Database", "connect"]

log = logging.getLogger(__name__)

Row = tuple[Any, ...]
Statement = tuple[str, Row | Callable[[], Row | list[Row]]]
"""SQL with the parameters of one row, or a callable that the writer's thread asks for one row or a list of them."""

COMMIT_TIMEOUT_S = 10.0
_BATCH = 256
_LATER_S = 0.5
"""How long what nobody waits for may stand before it is written."""
_ASK_AGAIN_S = 2.0
"""How often a disk that had no room is asked again."""

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
    additions
        Tables that older files may lack (``CREATE TABLE IF NOT EXISTS``).
    queue_size
        Writes that may wait.
    wait_ms
        How long :meth:`put` waits for room.

    Raises
    ------
    StoreError
        The file is damaged, is not ours, or was written by a newer program. It is left as it is.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: int,
        *,
        additions: str = "",
        queue_size: int = 1024,
        wait_ms: float = 20.0,
    ) -> None:
        self.path = path
        self._wait_s = wait_ms / 1e3
        self._open = partial(open_both, path, COMMON_SCHEMA + schema, version, additions)
        self._writer: sqlite3.Connection | None
        self._writer, self._reader = self._open() or (None, nothing(COMMON_SCHEMA + schema + additions))
        if self._writer is None:
            log.error("%s: the disk is full: NOTHING is recorded until there is room", path)
        self._ask_again_s = 0.0
        self._reading = threading.Lock()
        self._queue: queue.Queue[_Write | None] = queue.Queue(queue_size)
        self._later: deque[_Write] = deque(maxlen=queue_size)
        self._given_up = 0
        self._counting = threading.Lock()
        self._failure: str | None = None
        self._logged = ""
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
            raise StoreError(unusable(self.path, error)) from error

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
        more = True
        try:
            while more:
                batch, more = self._take()
                batch = [*batch, *self._confession()]
                if batch:
                    self._write(batch)
        finally:
            if self._writer is not None:
                self._writer.close()

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
        writer = self._opened()
        try:
            writer.execute("BEGIN IMMEDIATE")
            for write in batch:
                for statement in write.statements:
                    _execute(writer, *statement)
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        self._logged = ""
        for write in batch:
            if write.committed:
                write.committed.set_result(None)

    def _opened(self) -> sqlite3.Connection:
        """Return the file, which is made now where the disk had no room before."""
        if self._writer is None and time.monotonic() >= self._ask_again_s:
            self._open_late()
            self._ask_again_s = time.monotonic() + _ASK_AGAIN_S
        if self._writer is None:
            raise StoreError("the disk is full")
        return self._writer

    def _open_late(self) -> None:
        found = self._open()
        if found is None:
            return
        self._writer, reader = found
        with self._reading:
            before, self._reader = (reader, self._reader) if self._closed else (self._reader, reader)
            before.close()
        log.warning("%s: there is room: what is said from now on is recorded", self.path)

    def _write_alone(self, write: _Write) -> None:
        try:
            self._transact([write])
        except Exception as error:  # the thread's edge: disk full, a row that SQLite cannot take
            FRAMES_LOST.labels("facts", "write_failed").inc()
            self._failure = f"a write failed: {error}"
            if self._failure != self._logged:  # a full disk says the same of every row
                self._logged = self._failure
                log.error("%s: %s", self.path, self._failure)
            if write.committed:
                write.committed.set_exception(StoreError(f"{self.path}: {self._failure}"))


def _execute(writer: sqlite3.Connection, sql: str, given: Row | Callable[[], Row | list[Row]]) -> None:
    rows = given() if callable(given) else given
    if isinstance(rows, list):
        writer.executemany(sql, rows)
    else:
        writer.execute(sql, rows)
