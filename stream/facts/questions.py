"""What is asked of a run's facts, while it goes on or afterwards: where a frame's state came from, and a summary."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stream.command import FINAL_STATES
from stream.errors import StoreError
from stream.facts import analysis, rig
from stream.facts.database import COMMON_SCHEMA, connect
from stream.frame import FrameRef

# The newest command of each kind whose effect is in the frame or before it; the revision of the event that it acted
# on; and the frames of that event from the one in which it happened to the one after which it was known.
PROVENANCE = """
WITH shown AS (SELECT * FROM frames WHERE camera = ? AND session = ? AND epoch = ? AND seq = ?),
effective AS (
    SELECT c.*, f.id AS since_id, f.session AS since_session, f.epoch AS since_epoch, f.seq AS since_seq,
        f.field AS since_field, f.frame AS since_frame,
        row_number() OVER (
            PARTITION BY CASE c.kind WHEN 'recentre' THEN 'move_stage' WHEN 'resume' THEN 'pause' ELSE c.kind END
            ORDER BY f.id DESC, c.id DESC
        ) AS age
    FROM effects e JOIN frames f USING (camera, session, epoch, seq) JOIN commands c USING (command_id), shown
    WHERE f.camera = shown.camera AND f.id <= shown.id
)
SELECT
    e.command_id, e.kind, e.command, e.origin, e.cause_event,
    e.since_session, e.since_epoch, e.since_seq, e.since_field, e.since_frame,
    (SELECT state FROM transitions t WHERE t.command_id = e.command_id ORDER BY t.id DESC LIMIT 1) AS state,
    v.line, s.session, s.epoch, s.seq, s.field, s.frame
FROM effective e
LEFT JOIN analysis.events v ON v.event_id = e.cause_event AND v.emitted_frame = e.cause_frame
LEFT JOIN frames s ON s.field = v.field AND s.session = v.session AND s.frame BETWEEN v.frame AND v.emitted_frame
WHERE e.age = 1
ORDER BY e.since_id DESC, e.id DESC, v.revision, s.id
"""
# A time point is a field's frame number within one start of its producer.
UNDECIDED = """
SELECT count(*) FROM (
    SELECT DISTINCT field, session, frame FROM frames
    EXCEPT SELECT field, session, frame FROM analysis.frames
)
"""
TAKEN = """
SELECT count(*) FROM (
    SELECT field, session, frame FROM frames UNION SELECT field, session, frame FROM analysis.frames
)
"""
# Rows that the facts lost were decided all the same, and what a driver lost stands in gaps.
LOSSES = """
SELECT stage || '.' || reason, sum(count) FROM {} WHERE stage NOT IN ('facts', 'driver') GROUP BY stage, reason
"""
ANSWERS = """
SELECT c.kind, c.cause_kind, c.origin, (
    SELECT state FROM transitions t WHERE t.command_id = c.command_id AND t.final ORDER BY t.id DESC LIMIT 1
) FROM commands c
"""


def provenance(run_dir: Path, ref: FrameRef) -> dict[str, Any]:
    """Say where a frame's state came from, by one query over both databases.

    Returns
    -------
    dict
        ``frame`` (its row), ``commands``: newest first, each with ``command_id``, ``kind``, ``state``, ``origin``,
        ``command``, ``since`` (the first frame that showed it) and ``event``: None, or its ``events.jsonl`` object with
        ``frames``, those that showed the event.

    Raises
    ------
    StoreError
        The rig's facts cannot be read, or do not know the frame.
    """
    key = (ref.camera, ref.session, ref.epoch, ref.seq)
    with _both(run_dir) as facts:
        facts.row_factory = sqlite3.Row
        where = "camera = ? AND session = ? AND epoch = ? AND seq = ?"
        frame = facts.execute(f"SELECT * FROM frames WHERE {where}", key).fetchone()
        if frame is None:
            raise StoreError(f"{run_dir}: knows no frame {ref}")
        commands: dict[str, dict[str, Any]] = {}
        for row in facts.execute(PROVENANCE, key):
            command = commands.setdefault(row["command_id"], _command(row))
            if row["line"]:
                command["event"] = command["event"] or {**json.loads(row["line"]), "frames": []}
                if row["seq"] is not None:
                    command["event"]["frames"].append(
                        {k: row[k] for k in ("session", "epoch", "seq", "field", "frame")}
                    )
        return {"frame": dict(frame), "commands": list(commands.values())}


def summary(run_dir: Path) -> dict[str, Any]:
    """Say what came of a run, or of the run so far.

    Returns
    -------
    dict
        ``frames`` (time points taken), ``decided``, ``lost`` (those that never reached a decision, by reason;
        ``undecided`` where nobody owned up), ``fps``, ``latency_ms`` {p50, p95, p99} (popped → decided; None where the
        nodes had different clocks), ``stage_ms`` {stage: {p50, p99}}, ``events`` {"kind.status": count}, ``commands``
        {final state: count, "by_division", "unanswered"}.

    Raises
    ------
    StoreError
        The rig's facts cannot be read.
    """
    with _both(run_dir) as facts:
        pops = [r[0] for r in facts.execute("SELECT t_pop_ns FROM analysis.frames WHERE t_pop_ns > 0")]
        span_s = (max(pops) - min(pops)) / 1e9 if pops else 0.0
        return {
            "frames": facts.execute(TAKEN).fetchone()[0],
            "decided": facts.execute("SELECT count(*) FROM analysis.frames").fetchone()[0],
            "lost": _lost(facts),
            "fps": round((len(pops) - 1) / span_s, 3) if span_s else None,
            "latency_ms": _latency_ms(facts),
            "stage_ms": _stage_ms(facts),
            "events": dict(
                facts.execute("SELECT kind || '.' || status, count(*) FROM analysis.events GROUP BY kind, status")
            ),
            "commands": _answers(facts),
        }


def _command(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "command_id": row["command_id"],
        "kind": row["kind"],
        "state": row["state"],
        "origin": row["origin"],
        "command": json.loads(row["command"]),
        "since": {k: row[f"since_{k}"] for k in ("session", "epoch", "seq", "field", "frame")},
        "event": None,
    }


def _lost(facts: sqlite3.Connection) -> dict[str, int]:
    gaps = "SELECT 'driver.' || reason, sum(missing) FROM gaps WHERE missing > 0 GROUP BY reason"
    lost = Counter(dict(facts.execute(gaps)))
    told = Counter(dict(facts.execute(LOSSES.format("losses"))))
    told.update(dict(facts.execute(LOSSES.format("analysis.losses"))))
    untold = facts.execute(UNDECIDED).fetchone()[0] - told.total()
    if untold > 0:
        told["undecided"] = untold
    return dict(lost + told)


def _latency_ms(facts: sqlite3.Connection) -> dict[str, float] | None:
    both = "SELECT t_decided_ns - t_pop_ns FROM analysis.frames WHERE same_host AND t_pop_ns > 0"
    waits_ms = [ns / 1e6 for (ns,) in facts.execute(both)]
    return _percentiles(waits_ms, 50, 95, 99) if waits_ms else None


def _stage_ms(facts: sqlite3.Connection) -> dict[str, dict[str, float]]:
    stages: dict[str, list[float]] = {}
    for (text,) in facts.execute("SELECT stage_ms FROM analysis.frames"):
        for name, ms in json.loads(text).items():
            stages.setdefault(name, []).append(ms)
    return {name: _percentiles(values, 50, 99) for name, values in stages.items()}


def _percentiles(values: list[float], *percents: int) -> dict[str, float]:
    return {f"p{p}": round(float(v), 3) for p, v in zip(percents, np.percentile(values, percents), strict=True)}


def _answers(facts: sqlite3.Connection) -> dict[str, int]:
    counts = {str(state): 0 for state in FINAL_STATES} | {"by_division": 0, "unanswered": 0}
    for _kind, cause_kind, _origin, state in facts.execute(ANSWERS):
        counts[state or "unanswered"] += 1
        counts["by_division"] += state == "applied" and cause_kind == "division"
    return counts


@contextmanager
def _both(run_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the rig's facts for reading with the analysis' beside them (empty where it has written none)."""
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
