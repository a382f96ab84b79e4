"""What came of a run in figures, while it goes on or afterwards."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stream.command import FINAL_STATES
from stream.facts.both import both

# A time point is a field's frame number within one start of its producer. What a command asked for beside the plan has
# a field "CAMERA:pN/COMMAND" of its own, and nobody is to decide it.
BESIDE = "field GLOB '*:p[0-9]*/*'"
UNDECIDED = f"""
SELECT count(*) FROM (
    SELECT DISTINCT field, session, frame FROM frames WHERE NOT {BESIDE}
    EXCEPT SELECT field, session, frame FROM analysis.frames
)
"""
TAKEN = f"""
SELECT count(*) FROM (
    SELECT field, session, frame FROM frames WHERE NOT {BESIDE} UNION SELECT field, session, frame FROM analysis.frames
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


def summary(run_dir: Path) -> dict[str, Any]:
    """Say what came of a run, or of the run so far.

    Returns
    -------
    dict
        ``frames`` (time points taken), ``beside_plan`` (frames that commands asked for besides), ``decided``, ``lost``
        (those that never reached a decision, by reason; ``undecided`` where nobody owned up), ``fps``, ``latency_ms``
        {p50, p95, p99} (popped → decided; None where the nodes had different clocks), ``stage_ms`` {stage: {p50, p99}},
        ``events`` {"kind.status": count}, ``commands`` {final state: count, "by_division", "unanswered"}.

    Raises
    ------
    StoreError
        The rig's facts cannot be read.
    """
    with both(run_dir) as facts:
        pops = [r[0] for r in facts.execute("SELECT t_pop_ns FROM analysis.frames WHERE t_pop_ns > 0")]
        span_s = (max(pops) - min(pops)) / 1e9 if pops else 0.0
        return {
            "frames": facts.execute(TAKEN).fetchone()[0],
            "beside_plan": facts.execute(f"SELECT count(*) FROM frames WHERE {BESIDE}").fetchone()[0],
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
