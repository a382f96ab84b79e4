"""``events.jsonl``: one revision of an event a line, whole after every line even when the process is killed."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from stream.errors import StoreError
from stream.facts.opening import NO_ROOM

log = logging.getLogger(__name__)


class EventLog:
    """Appends lines. A file that ends in a torn line loses that fragment, so that every line of it can be read.

    Where a full disk has no room for a new file, it is made with the first line that finds some.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        try:
            _cut_torn_line(path)
            self._opened()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise StoreError(f"{path}: cannot be written: {error}") from error

    def append(self, line: str) -> None:
        """Write one line and hand it to the operating system at once. Raises StoreError: nothing of it is there."""
        try:
            with self._lock:
                self._write(line.encode() + b"\n")
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._path}: cannot be written: {error}") from error

    def _write(self, text: bytes) -> None:
        """Write all or nothing: a disk that is nearly full may take a part, and what follows would be glued to it."""
        file = self._opened()
        written = file.write(text)
        if written < len(text):
            file.truncate(file.tell() - written)
            raise OSError(f"only {written} of {len(text)} bytes of a line found room")

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            if self._file is not None:
                self._file.close()

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)  # one write call a line: a kill can tear only the last one
        return self._file


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file that may still be growing; a torn last line is left out.

    Raises
    ------
    StoreError
        The file is missing, or a line that is not the last is no JSON object; its number is named.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines[:-1], 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise StoreError(f"{path}: line {number} is no JSON: {error}") from None
        if not isinstance(event, dict):
            raise StoreError(f"{path}: line {number} is no event: {line[:60]!r}")
        yield event


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        text = file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            log.warning("%s: cut a torn last line of %d bytes", path, len(text) - whole)
            file.truncate(whole)
