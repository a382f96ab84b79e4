"""What a page whose node is started again takes up from the run's facts: its totals, and the rows that it lists."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.clock import wall_ns
from stream.errors import StoreError
from stream.event import PICTURE_MOVED
from stream.facts import rig
from stream.facts.both import both
from stream.watch.book import COMMANDS, COUNTED, EVENTS, MOVED_OFF, Open

log = logging.getLogger(__name__)

# The last word does not always say why the first was spoken.
_LAST = f"""
WITH last AS (
    SELECT *, max(revision), CASE WHEN sum(reason = '{PICTURE_MOVED}') THEN '{MOVED_OFF}' ELSE kind END AS counted
    FROM analysis.events GROUP BY event_id
)
"""
EVENT_COUNTS = f"{_LAST} SELECT counted, status, count(*) FROM last GROUP BY counted, status"
OPEN_EVENTS = f"{_LAST} SELECT event_id, revision, counted FROM last WHERE status = 'provisional'"
LISTED_EVENTS = f"""
{_LAST} SELECT line, ifnull(x_um, 0.0), ifnull(y_um, 0.0), cell_count,
    (SELECT min(wall_ns) FROM frames f WHERE f.field = last.field AND f.frame = last.frame)
FROM last WHERE kind NOT IN ({", ".join(f"'{kind}'" for kind in COUNTED)}) ORDER BY id DESC LIMIT {EVENTS}
"""
_ANSWERS = "WITH answers AS (SELECT *, max(id) FROM transitions GROUP BY command_id)"
COMMAND_COUNTS = f"{_ANSWERS} SELECT state, count(*) FROM answers GROUP BY state"
LISTED_COMMANDS = f"""
{_ANSWERS} SELECT c.command, a.command_id, a.state, a.reason, a.readback, a.timings_ms, a.first_frame, a.wall_ns
FROM commands c JOIN answers a USING (command_id)
WHERE NOT a.final OR c.id > (SELECT max(id) FROM commands) - {COMMANDS} ORDER BY c.id
"""
# As the wire tells them: what the driver lost stands in gaps, and rows that the facts lost were decided all the same.
LOSSES = """
SELECT 'driver', reason, sum(missing) FROM gaps WHERE missing > 0 GROUP BY reason UNION ALL
SELECT stage, reason, sum(count) FROM analysis.losses WHERE stage NOT IN ('facts', 'driver') GROUP BY stage, reason
"""


@dataclass(frozen=True, slots=True)
class Before:
    """A run so far: rows to list, the oldest first, and totals.

    ``open_events`` holds the provisional ones by id; ``commands`` each with its last answer and when (wall,
    in ms) that came.
    """

    events: Sequence[dict[str, Any]]
    open_events: Mapping[str, Open]
    event_counts: Mapping[tuple[str, str], int]
    commands: Sequence[tuple[dict[str, Any], dict[str, Any], float]]
    command_counts: Mapping[str, int]
    losses: Mapping[tuple[str, str], int]


def read(run_dir: Path) -> Before | None:
    """Read a run's facts; None where there are none: the run begins, or its rig is another machine."""
    if not (run_dir / rig.FILE).is_file():
        return None
    try:
        with both(run_dir) as facts:
            return Before(
                [_event(row) for row in facts.execute(LISTED_EVENTS)][::-1],
                {event_id: Open(revision, counted) for event_id, revision, counted in facts.execute(OPEN_EVENTS)},
                {(counted, status): n for counted, status, n in facts.execute(EVENT_COUNTS)},
                [_command(row) for row in facts.execute(LISTED_COMMANDS)],
                dict(facts.execute(COMMAND_COUNTS)),
                _losses(facts),
            )
    except (StoreError, ValueError) as error:
        log.info("the page begins here: %s", error)
        return None


def _event(row: Sequence[Any]) -> dict[str, Any]:
    line, x_um, y_um, cell_count, at_ns = row
    wall_ms = (at_ns or wall_ns()) / 1e6
    places = {"position_um": [x_um, y_um], "cell_count": cell_count}
    return {**json.loads(line), **places, "wall_ms": wall_ms, "begun_wall_ms": wall_ms}


def _command(row: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any], float]:
    command, command_id, state, reason, readback, timings_ms, first_frame, at_ns = row
    ack = {
        "command_id": command_id,
        "state": state,
        "reason": reason,
        "readback": json.loads(readback),
        "timings_ms": json.loads(timings_ms),
        "first_frame": json.loads(first_frame) if first_frame else None,
    }
    return json.loads(command), ack, at_ns / 1e6


def _losses(facts: sqlite3.Connection) -> Counter[tuple[str, str]]:
    lost: Counter[tuple[str, str]] = Counter()
    for stage, reason, count in facts.execute(LOSSES):
        lost[stage, reason] += count
    return lost
