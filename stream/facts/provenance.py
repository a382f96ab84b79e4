"""From any frame back to its cause: which command made each of its settings, which event asked, which frames showed it.

One query over both files of a run walks the whole chain; what stands around it (answers, losses) is read in the same
moment. All of it works while the run goes on, and where its analysis has died.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.errors import StoreError
from stream.facts.both import both
from stream.facts.chain_query import ALONE, CHAIN, LOST, SHOWING
from stream.frame import FrameRef, parse_field

_OF_THE_FRAME = ("exposure_ms", "light_power", "channel", "roi_px", "binning", "x_um", "y_um", "z_um")

_ROUND_S = 1.0
"""What was lost is told from this long before the first frame of a chain to as long after its last one."""


def why(run_dir: Path, *, frame: str = "", command: str = "", event: str = "") -> dict[str, Any]:
    """Answer for a frame ``FIELD:N`` (the newest where nothing is named), or a command or an event by its id.

    Raises
    ------
    StoreError
        The facts cannot be read or know no such thing, or more than one is asked for.
    """
    if sum(map(bool, (frame, command, event))) > 1:
        raise StoreError("ask for one: a frame, a command or an event")
    if command:
        return of_command(run_dir, command)
    if event:
        return of_event(run_dir, event)
    field, _, number = frame.rpartition(":")
    if frame and not (field and number.isdigit()):
        raise StoreError(f"frame '{frame}': name its field and number, e.g. Camera:p0:120")
    return provenance(run_dir, find_frame(run_dir, field, int(number)) if frame else find_frame(run_dir))


def provenance(run_dir: Path, ref: FrameRef) -> dict[str, Any]:
    """Say where a frame's state came from.

    Returns
    -------
    dict
        ``frame``: its row, with ``decided`` {age_ms, stage_ms, missed} (None: never, or not yet). ``settings``: {name:
        {value, command_id}}; no command: as the plan began. ``commands``: newest first, each with ``command_id``,
        ``kind``, ``state``, ``origin``, ``rule``, ``policy``, ``command``, ``sets`` (which settings it still explains),
        ``since`` (the first frame that showed it), ``answers`` (every state with its reason), ``age_ms`` of its data
        when it ``arrived`` and when it was ``applied``, and ``event``: None, or the ``events.jsonl`` object of the
        revision that it acted on, with all ``revisions`` and ``frames``, those from the one in which it happened to the
        one after which it was known, each with its stamps. ``lost``: what never came, or was dropped, around all that.

    Raises
    ------
    StoreError
        The rig's facts cannot be read, or do not know the frame.
    """
    key = (ref.camera, ref.session, ref.epoch, ref.seq)
    with both(run_dir) as facts:
        facts.row_factory = sqlite3.Row
        facts.execute("BEGIN")  # one moment of a run that goes on
        frame = _frame(facts, key)
        if frame is None:
            raise StoreError(f"{run_dir}: knows no frame {ref}")
        commands: dict[str, dict[str, Any]] = {}
        for row in facts.execute(CHAIN, key):
            command = commands.get(row["command_id"])
            if command is None:
                command = commands[row["command_id"]] = _command(facts, row)
            _add(command, row)
        settings = _settings(frame, commands.values())
        return {
            "frame": frame,
            "settings": settings,
            "commands": list(commands.values()),
            "lost": _lost(facts, frame, commands.values()),
        }


def of_command(run_dir: Path, command_id: str) -> dict[str, Any]:
    """Say what came of a command and why it was sent.

    Returns
    -------
    dict
        As from :func:`provenance`, with this command alone in ``commands``: ``frame`` is None, ``settings`` and
        ``lost`` are empty; ``since`` is None where no frame shows it.

    Raises
    ------
    StoreError
        The facts cannot be read, or know no such command.
    """
    with both(run_dir) as facts:
        facts.row_factory = sqlite3.Row
        row = facts.execute(ALONE, (command_id,)).fetchone()
        if row is None:
            raise StoreError(f"{run_dir}: knows no command '{command_id}'")
        command = _command(facts, row)
        for step in facts.execute(ALONE, (command_id,)):
            _add(command, step)
        first = next((a["first_frame"] for a in reversed(command["answers"]) if a["first_frame"]), None)
        return {"frame": None, "settings": {}, "commands": [command | {"since": first}], "lost": []}


def of_event(run_dir: Path, event_id: str) -> dict[str, Any]:
    """Say what is known of an event: ``event`` (as in :func:`provenance`), and the ``commands`` that it caused.

    Raises
    ------
    StoreError
        The facts cannot be read, or know no such event.
    """
    with both(run_dir) as facts:
        facts.row_factory = sqlite3.Row
        last = facts.execute(
            "SELECT line, field, frame, emitted_frame FROM analysis.events WHERE event_id = ? ORDER BY revision DESC",
            (event_id,),
        ).fetchone()
        if last is None:
            raise StoreError(f"{run_dir}: knows no event '{event_id}'")
        event = _event(facts, json.loads(last["line"]))
        event["frames"] = [
            _seen(row, event) for row in facts.execute(SHOWING, (last["field"], last["frame"], last["emitted_frame"]))
        ]
        ids = facts.execute("SELECT command_id FROM commands WHERE cause_event = ? ORDER BY id", (event_id,)).fetchall()
    return {"event": event, "commands": [of_command(run_dir, row[0])["commands"][0] for row in ids]}


def find_frame(run_dir: Path, field: str | None = None, number: int | None = None) -> FrameRef:
    """Return the newest frame, or that of a field and number (its first channel). Raises StoreError."""
    where = " AND ".join(f"{name} = ?" for name, value in (("field", field), ("frame", number)) if value is not None)
    given = [value for value in (field, number) if value is not None]
    with both(run_dir) as facts:
        row = facts.execute(
            f"SELECT run, camera, session, epoch, seq, field, frame FROM frames WHERE {where or 'true'} "
            f"ORDER BY epoch {'DESC' if number is None else ''}, seq {'DESC' if number is None else ''} LIMIT 1",
            given,
        ).fetchone()
        if row is not None:
            return FrameRef(*row)
        fields = [row[0] for row in facts.execute("SELECT DISTINCT field FROM frames LIMIT 20")]
        raise StoreError(f"{run_dir}: took no frame {field}:{number}; its fields are {', '.join(fields) or 'none yet'}")


_AT = ("session", "epoch", "seq", "field", "frame")


def _frame(facts: sqlite3.Connection, key: tuple[Any, ...]) -> dict[str, Any] | None:
    where = "camera = ? AND session = ? AND epoch = ? AND seq = ?"
    row = facts.execute(f"SELECT * FROM frames WHERE {where}", key).fetchone()
    if row is None:
        return None
    decided = facts.execute(
        f"SELECT t_decided_ns, t_pop_ns, same_host, stage_ms, missed FROM analysis.frames WHERE {where} "
        "AND field = ? AND frame = ?",  # by which they are sorted
        (*key, row["field"], row["frame"]),
    ).fetchone()
    return {**dict(row), "decided": _decided(decided) if decided else None}


def _decided(row: sqlite3.Row) -> dict[str, Any]:
    age_ms = (row["t_decided_ns"] - row["t_pop_ns"]) / 1e6 if row["same_host"] else None
    return {"age_ms": age_ms, "stage_ms": json.loads(row["stage_ms"]), "missed": row["missed"]}


def _command(facts: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """Return a command with its answers and the event that it acted on."""
    asked = json.loads(row["command"])
    answers = [
        {**dict(answer), **{name: json.loads(answer[name]) for name in ("readback", "timings_ms")}}
        | {"first_frame": json.loads(answer["first_frame"]) if answer["first_frame"] else None}
        for answer in facts.execute(
            "SELECT state, reason, wall_ns, mono_ns, readback, timings_ms, first_frame FROM transitions "
            "WHERE command_id = ? ORDER BY id",
            (row["command_id"],),
        )
    ]
    event = _event(facts, json.loads(row["line"])) if row["line"] else None
    return {
        "command_id": row["command_id"],
        "kind": row["kind"],
        "state": answers[-1]["state"] if answers else None,
        "origin": row["origin"],
        "rule": asked["cause"].get("rule", ""),
        "policy": row["policy"],
        "cause": row["cause_event"],
        "command": asked,
        "sets": [],
        "since": {name: row[f"since_{name}"] for name in _AT},
        "answers": answers,
        "age_ms": _ages_ms(facts, row, answers),
        "event": event,
    }


def _add(command: dict[str, Any], row: sqlite3.Row) -> None:
    """Take in one row of the chain: a setting, and a frame that showed the event."""
    if row["setting"] and row["setting"] not in command["sets"]:
        command["sets"].append(row["setting"])
    event = command["event"]
    if event is None or row["seq"] is None:
        return
    seen = _seen(row, event)
    if seen not in event["frames"]:
        event["frames"].append(seen)


def _event(facts: sqlite3.Connection, said: dict[str, Any]) -> dict[str, Any]:
    revisions = facts.execute(
        "SELECT revision, status, emitted_frame, confidence, reason FROM analysis.events WHERE event_id = ? "
        "ORDER BY revision",
        (said["event_id"],),
    )
    return {**said, "revisions": [dict(row) for row in revisions], "frames": []}


def _seen(row: sqlite3.Row, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of the frames that showed an event."""
    known = row["t_decided_ns"] is not None and row["same_host"]
    return {
        **{name: row[name] for name in (*_AT, "channel", "t_pop_ns", "wall_ns")},
        "decided_ms": (row["t_decided_ns"] - row["t_pop_ns"]) / 1e6 if known else None,
        "happened": row["frame"] == event["frame"],
        "known": row["frame"] == event["emitted_frame"],
    }


def _ages_ms(facts: sqlite3.Connection, row: sqlite3.Row, answers: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return how old the data behind a command were, by the rig's own clock; None without a frame."""
    popped = facts.execute(
        "SELECT t_pop_ns FROM frames WHERE session = ? AND epoch = ? AND seq = ? AND field = ? AND frame = ?",
        tuple(row[f"cause_{name}"] for name in _AT),
    ).fetchone()
    if popped is None or not answers:
        return None
    arrived_ms = (answers[0]["mono_ns"] - popped[0]) / 1e6
    total_ms = answers[-1]["timings_ms"].get("total")
    return {"arrived": arrived_ms} | ({"applied": arrived_ms + total_ms} if total_ms is not None else {})


def _settings(frame: Mapping[str, Any], commands: Any) -> dict[str, dict[str, Any]]:
    settings = {name: {"value": frame[name], "command_id": None} for name in _OF_THE_FRAME}
    settings["roi_px"]["value"] = json.loads(frame["roi_px"])
    for command in commands:
        readback = command["answers"][-1]["readback"] if command["answers"] else {}
        for name in command["sets"]:
            known = settings.setdefault(name, {"value": readback.get(name, readback.get(_ALIAS.get(name, "")))})
            known["command_id"] = command["command_id"]
    taken = parse_field(frame["field"])
    if taken is not None and taken.aside:
        settings.setdefault("taken", {"value": True, "command_id": taken.aside})
    return settings


_ALIAS = {"light_on": "on"}


def _lost(facts: sqlite3.Connection, frame: Mapping[str, Any], commands: Any) -> list[dict[str, Any]]:
    walls = [frame["wall_ns"]]
    for command in commands:
        walls += [shown["wall_ns"] for shown in (command["event"] or {"frames": []})["frames"]]
    span = (min(walls) - round(_ROUND_S * 1e9), frame["wall_ns"] + round(_ROUND_S * 1e9))
    return [dict(row) for row in facts.execute(LOST, span * 5)]
