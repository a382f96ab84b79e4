"""Both files of a run as one database, for reading, while the run goes on or after it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stream.errors import StoreError
from stream.facts import analysis, rig
from stream.facts.database import COMMON_SCHEMA, connect


@contextmanager
def both(run_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the rig's facts for reading with the analysis' beside them (empty where it has written none).

    Raises
    ------
    StoreError
        They cannot be read.
    """
    path = run_dir / analysis.FILE
    with closing(connect(run_dir / rig.FILE, rig.VERSION)) as facts:
        try:
            if path.is_file():
                connect(path, analysis.VERSION).close()
                facts.execute("ATTACH ? AS analysis", (f"{path.absolute().as_uri()}?mode=ro",))
            else:
                _attach_nothing(facts)
            yield facts
        except sqlite3.Error as error:
            raise StoreError(f"{run_dir}: the facts cannot be read: {error}") from error


def _attach_nothing(facts: sqlite3.Connection) -> None:
    facts.execute("ATTACH ':memory:' AS analysis")
    for statement in re.findall(r"CREATE TABLE [^;]+", COMMON_SCHEMA + analysis.SCHEMA):
        facts.execute(statement.replace("CREATE TABLE ", "CREATE TABLE analysis."))
