"""How a SQLite file of facts is opened: for reading by anyone, for writing by its one writer, or not yet, without room.

A disk that is full when a run begins must not keep the run from beginning: a file that is new there waits to be made.
One that holds facts is needed, and what it cannot give is said.
"""

from __future__ import annotations

import errno
import sqlite3
import tempfile
from pathlib import Path

from stream.errors import StoreError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What an operating system says of a full disk."""

_CHECK_BYTES = 32 << 20
"""Files up to this size are checked page by page when they are opened; larger ones only where they are read."""
_NEEDED_BYTES = 1 << 20
"""Room without which a new file is not begun."""


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
        raise StoreError(unusable(path, error)) from error


def open_both(
    path: Path, schema: str, version: int, additions: str
) -> tuple[sqlite3.Connection, sqlite3.Connection] | None:
    """Open a file for its writer and for reading, and make it where it is new; None where the disk has no room for it.

    Raises
    ------
    StoreError
        The file is damaged, is not ours, or was written by a newer program. It is left as it is.
    """
    is_new = not path.exists() or not path.stat().st_size
    try:
        writer = _open(path, schema, version, additions)
        try:
            return writer, connect(path, version)
        except BaseException:
            writer.close()
            raise
    except StoreError:
        if not is_new or not is_full(path.parent):
            raise
        for begun in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            begun.unlink(missing_ok=True)  # or readers would take what was begun for a damaged file
        return None


def nothing(schema: str) -> sqlite3.Connection:
    """Return tables without rows, that are on no disk."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(schema)
    return connection


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder says that it has no room, or this user no share left in it."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            return probe.write(bytes(_NEEDED_BYTES)) < _NEEDED_BYTES
    except OSError as error:
        return error.errno in NO_ROOM


def unusable(path: Path, error: sqlite3.Error) -> str:
    """Say what is wrong with a file and what can be done."""
    return (
        f"{path}: cannot be used as a database ({error}). Nothing was changed: move the file away to go on without it, "
        f"or recover its rows with: sqlite3 '{path.name}' .recover"
    )


def _open(path: Path, schema: str, version: int, additions: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _prepare(path, connection, schema, version)
            connection.executescript(additions)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.Error as error:
        raise StoreError(unusable(path, error)) from error


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
