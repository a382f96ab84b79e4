"""What every command shares: where its words go, its ``--json`` option, and Ctrl-C as a request to stop."""

from __future__ import annotations

import json as jsonlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from stream.surroundings import asked_to_end

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="See deploy/examples for complete ones.")]
_LINE = 60
"""Characters of a list that is printed in one line."""


class Screen:
    """Prints for a person; with ``--json`` to stderr, so that stdout ends with the object."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False)

    def result(self, value: dict[str, Any], table: Callable[[dict[str, Any]], str] | None = None) -> None:
        """Print the result: as JSON, or as a person reads it."""
        if self.as_json:
            print(jsonlib.dumps(value, default=str), flush=True)
        else:
            self.say(table(value) if table else lines(value))


def lines(value: dict[str, Any], indent: str = "") -> str:
    """Return a table of tables and lists as indented lines."""
    rows: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict):
            rows += [f"{indent}{key}:", lines(item, indent + "  ")] if item else [f"{indent}{key}: none"]
        elif isinstance(item, list | tuple):
            one_line = ", ".join(map(str, item)) or "none"
            fits = len(one_line) <= _LINE or not item
            rows += [f"{indent}{key}: {one_line}"] if fits else [f"{indent}{key}:", *(f"{indent}  {x}" for x in item)]
        else:
            rows.append(f"{indent}{key}: {item}")
    return "\n".join(rows)


@contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a request to stop; the second one is as hard as ever."""
    stop = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *asked_to_end())}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
