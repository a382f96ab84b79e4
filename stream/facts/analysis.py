"""What the analysis knows: frames decided, cells, tracks, every revision of every event, and what it asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.cells import Cells
from stream.clock import wall_ns
from stream.command import Ack, Command
from stream.errors import StoreError
from stream.event import Event
from stream.facts.database import COMMIT_TIMEOUT_S, INSERT_LOSS, Database, Row, Statement
from stream.facts.eventlog import EventLog, read_events
from stream.facts.rig import INSERT_TRANSITION, transition_row
from stream.frame import Frame, FrameRef, Gap
from stream.lineage import Tracks, TrackState

log = logging.getLogger(__name__)

FILE = "analysis.sqlite"
EVENTS_FILE = "events.jsonl"
VERSION = 1
SCHEMA = """
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL, camera TEXT NOT NULL, session TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    field TEXT NOT NULL, frame INTEGER NOT NULL, missed INTEGER NOT NULL, cells INTEGER,
    host TEXT NOT NULL, t_pop_ns INTEGER NOT NULL, t_publish_ns INTEGER NOT NULL, t_receive_ns INTEGER NOT NULL,
    t_decided_ns INTEGER NOT NULL, same_host INTEGER NOT NULL, stage_ms TEXT NOT NULL
);
CREATE INDEX frames_by_field ON frames (field, frame);
CREATE TABLE cells (
    frame_id INTEGER NOT NULL, track_id INTEGER NOT NULL,
    y_px REAL NOT NULL, x_px REAL NOT NULL, area_px REAL NOT NULL, score REAL, mean_counts TEXT NOT NULL,
    PRIMARY KEY (frame_id, track_id)
) WITHOUT ROWID;
CREATE VIEW measured AS SELECT f.run, f.session, f.field, f.frame, c.track_id, c.y_px, c.x_px, c.area_px, c.score,
    c.mean_counts FROM frames f JOIN cells c ON c.frame_id = f.id;
CREATE TABLE tracks (
    field TEXT NOT NULL, track_id INTEGER NOT NULL, parent_id INTEGER NOT NULL, born INTEGER NOT NULL,
    last INTEGER NOT NULL, state TEXT NOT NULL, x_um REAL, y_um REAL,
    PRIMARY KEY (field, track_id)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, event_id TEXT NOT NULL, revision INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    field TEXT NOT NULL, frame INTEGER NOT NULL, emitted_frame INTEGER NOT NULL, confidence REAL NOT NULL,
    parent_id INTEGER NOT NULL, daughter_ids TEXT NOT NULL, x_um REAL, y_um REAL, cell_count INTEGER NOT NULL,
    elapsed_s REAL NOT NULL, reason TEXT NOT NULL,
    session TEXT, epoch INTEGER, seq INTEGER, line TEXT NOT NULL
);
CREATE INDEX events_by_id ON events (event_id, revision);
CREATE TABLE sent (
    id INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, policy TEXT NOT NULL,
    cause_event TEXT, wall_ns INTEGER NOT NULL, command TEXT NOT NULL
);
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY, command_id TEXT NOT NULL, state TEXT NOT NULL, final INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL, mono_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, readback TEXT NOT NULL, timings_ms TEXT NOT NULL, first_frame TEXT
);
CREATE INDEX transitions_by_command ON transitions (command_id);
CREATE TABLE dropped (
    id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, policy TEXT NOT NULL, reason TEXT NOT NULL, event_id TEXT
);
CREATE TABLE gaps (
    id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL,
    camera TEXT NOT NULL, field TEXT NOT NULL, session TEXT NOT NULL, epoch INTEGER NOT NULL,
    after_seq INTEGER NOT NULL, missing INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
);
"""
# The frame was inserted just before, by the same thread. No index by track: it would cost three times what the rows do,
# and a track's frames are known: born to last.
INSERT_CELLS = "INSERT OR IGNORE INTO cells VALUES ((SELECT max(id) FROM frames), ?, ?, ?, ?, ?, ?)"
UPSERT_TRACKS = """
INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (field, track_id) DO UPDATE SET
    parent_id = excluded.parent_id, last = excluded.last, state = excluded.state, x_um = excluded.x_um,
    y_um = excluded.y_um
"""
INSERT_EVENT = f"INSERT INTO events VALUES (NULL{', ?' * 19})"
REVISIONS = "SELECT line, x_um, y_um, cell_count, elapsed_s FROM events WHERE field = ? ORDER BY id"
# The last revision of each event that has neither been confirmed nor retracted.
OPEN = """
SELECT line, x_um, y_um, cell_count, elapsed_s FROM events said WHERE status = 'provisional' AND NOT EXISTS
    (SELECT 1 FROM events later WHERE later.event_id = said.event_id AND later.revision > said.revision) ORDER BY id
"""
LAST_FRAME = (
    "SELECT run, camera, session, epoch, seq, field, frame FROM frames WHERE field = ? ORDER BY id DESC LIMIT 1"
)
NEWEST_FRAME = """
SELECT ifnull(max(number), -1) FROM (
    SELECT max(frame) AS number FROM frames WHERE field = ?1
    UNION ALL SELECT max(emitted_frame) FROM events WHERE field = ?1
)
"""
# Events are written ahead of tracks: a daughter may be known by her event alone.
LAST_TRACK_ID = """
SELECT ifnull(max(id), 0) FROM (
    SELECT track_id AS id FROM tracks WHERE field = ?1 UNION ALL SELECT parent_id FROM events WHERE field = ?1
    UNION ALL SELECT one.value FROM events, json_each(daughter_ids) one WHERE field = ?1
)
"""
_STATES = tuple(state.name.lower() for state in TrackState)


class AnalysisFacts:
    """``analysis.sqlite`` and ``events.jsonl`` of one run. Every method may be called from any thread.

    A run's files that are there are taken up again.

    Raises
    ------
    StoreError
        A file cannot be used; it is left as it is.
    """

    def __init__(self, run_dir: Path) -> None:
        self._database = Database(run_dir / FILE, SCHEMA, VERSION)
        self._log = EventLog(run_dir / EVENTS_FILE)
        self._events_path = run_dir / EVENTS_FILE

    def decided(
        self,
        frame: Frame,
        decided_ns: int,
        *,
        same_host: bool = True,
        missed: int = 0,
        cells: Cells | None = None,
        tracks: Tracks | None = None,
    ) -> bool:
        """Record a frame after its decision; False when the disk could not keep up (the loss is counted).

        Parameters
        ----------
        frame
            The moment's frame with the stamps of every stage.
        decided_ns
            When the decision was made, on this host's clock; compared with ``t_pop_ns`` only where ``same_host``.
        cells, tracks
            Left out, they are not recorded. Labels must be track ids.
        """
        statements: list[Statement] = [_decided(frame, decided_ns, same_host, missed, cells)]
        if cells is not None:
            statements.append((INSERT_CELLS, lambda: _cells_rows(cells)))
        if tracks is not None:
            statements.append((UPSERT_TRACKS, lambda: _tracks_rows(frame.field, tracks)))
        return self._database.put(*statements)

    def event(self, event: Event) -> None:
        """Append one revision to ``events.jsonl`` at once, and to the table. Raises StoreError."""
        self._log.append(event.as_line())
        self._database.put((INSERT_EVENT, _event_row(event)))

    def sent(self, command: Command, policy: str = "") -> None:
        """Record a command before it is sent: on disk on return. Raises StoreError: do not send it."""
        row = (command.command_id, command.action.kind, policy, command.cause.event_id, wall_ns())
        self._database.commit(
            (f"INSERT OR IGNORE INTO sent VALUES (NULL{', ?' * 6})", (*row, command.model_dump_json()))
        )

    def answered(self, ack: Ack) -> None:
        """Record what the rig answered."""
        self._database.put((INSERT_TRANSITION, transition_row(ack)))

    def dropped(self, policy: str, reason: str, event: Event | None = None) -> None:
        """Record a wish that was dropped, and why."""
        row = (wall_ns(), policy, reason, event.event_id if event else None)
        self._database.put(("INSERT INTO dropped VALUES (NULL, ?, ?, ?, ?)", row))

    def gap(self, gap: Gap) -> None:
        """Record a gap as it arrived."""
        row = (wall_ns(), gap.camera, gap.field, gap.session, gap.epoch, gap.after_seq, gap.missing, gap.reason)
        self._database.put((f"INSERT INTO gaps VALUES (NULL{', ?' * 9})", (*row, gap.detail)))

    def loss(self, stage: str, reason: str, count: int = 1, *, ref: FrameRef | None = None) -> None:
        """Record frames that were received and did not reach a decision."""
        place = (ref.field, ref.frame) if ref else (None, None)
        self._database.put((INSERT_LOSS, (wall_ns(), stage, reason, count, *place)))

    def meta(self, key: str, value: object) -> None:
        """Record one fact about the run, as JSON."""
        self._database.put(("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, default=str))))

    def last_track_id(self, field: str) -> int:
        """Return the highest track id that a track or an event of the field bears; 0 where there is none."""
        return int(self._database.query(LAST_TRACK_ID, (field,))[0][0])

    def fields(self) -> list[str]:
        """Return the fields with a decided frame or an event, by name."""
        asked = "SELECT field FROM frames UNION SELECT field FROM events ORDER BY field"
        return [row[0] for row in self._database.query(asked)]

    def revisions(self, field: str) -> list[Event]:
        """Return every revision of every event of a field, as they were said."""
        return [_event_of(row) for row in self._database.query(REVISIONS, (field,))]

    def known(self, key: str) -> Any:
        """Return what :meth:`meta` recorded; None where it did not."""
        found = self._database.query("SELECT value FROM meta WHERE key = ?", (key,))
        return json.loads(found[0][0]) if found else None

    def newest_frame(self, field: str) -> int:
        """Return the newest frame of a field that was decided, or after which something was said; -1: none."""
        return int(self._database.query(NEWEST_FRAME, (field,))[0][0])

    def close_open(self, reason: str = "restart", but: Collection[str] = ()) -> list[Event]:
        """Retract every event that is still provisional, because whoever said it is gone.

        Parameters
        ----------
        but
            Ids of events that stay open: somebody goes on with them.

        Returns
        -------
        list
            The revisions that close them, in the order in which the events were first said; on disk on return.

        Raises
        ------
        StoreError
            They cannot be written.
        """
        self.catch_up()
        left = [event for event in map(_event_of, self._database.query(OPEN)) if event.event_id not in but]
        closed = [self._retracted(event, reason) for event in left]
        if closed:
            for event in closed:
                self._log.append(event.as_line())
            rows = [_event_row(event) for event in closed]
            self._database.commit((INSERT_EVENT, lambda: rows))
        return closed

    def catch_up(self) -> None:
        """Copy what the table of events lacks from the log, which is ahead where a process was killed.

        Raises
        ------
        StoreError
            The table cannot be written.
        """
        known: dict[str, int] = dict(
            self._database.query("SELECT event_id, max(revision) FROM events GROUP BY event_id")
        )
        try:
            logged = list(read_events(self._events_path))
        except StoreError as error:  # torn in the middle by a full disk: the table is what there is
            log.warning("%s; only the events in %s are gone on with", error, FILE)
            return
        missing = [_logged_row(said) for said in logged if said["revision"] > known.get(said["event_id"], -1)]
        if missing:
            self._database.commit((INSERT_EVENT, lambda: missing))

    def _retracted(self, event: Event, reason: str) -> Event:
        found = self._database.query(LAST_FRAME, (event.field,))
        ref = FrameRef(*found[0]) if found else None
        last = max(event.emitted_frame, ref.frame if ref else event.emitted_frame)
        return replace(
            event, revision=event.revision + 1, status="retracted", reason=reason, emitted_frame=last + 1, ref=ref
        )

    def counts(self) -> dict[str, int]:
        """Return the number of committed rows by table."""
        tables = ("frames", "cells", "tracks", "events", "sent", "transitions", "dropped", "gaps", "losses")
        return {table: self._database.query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}

    def flush(self, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Wait until everything said so far is on disk. Raises StoreError."""
        self._database.flush(timeout_s)

    def close(self) -> None:
        """Commit and close. Idempotent."""
        self._database.close()
        self._log.close()


def _decided(frame: Frame, decided_ns: int, same_host: bool, missed: int, cells: Cells | None) -> Statement:
    stamps = frame.stamps
    stage_ms: dict[str, float] = {}
    for name, begin_ns, end_ns in stamps.stages:
        stage_ms[name] = round(stage_ms.get(name, 0.0) + (end_ns - begin_ns) / 1e6, 4)
    row = (
        frame.run, frame.camera, frame.session, frame.epoch, frame.seq, frame.field, frame.frame, missed,
        None if cells is None else len(cells), stamps.host, stamps.t_pop_ns, stamps.t_publish_ns, stamps.t_receive_ns,
        decided_ns, same_host, json.dumps(stage_ms),
    )  # fmt: skip
    return f"INSERT INTO frames VALUES (NULL{', ?' * 16})", row


def _event_row(event: Event) -> Row:
    where = (event.ref.session, event.ref.epoch, event.ref.seq) if event.ref else (None,) * 3
    return (
        event.event_id, event.revision, event.kind, event.status, event.field, event.frame, event.emitted_frame,
        event.confidence, event.parent_id, json.dumps(event.daughter_ids), *event.position_um, event.cell_count,
        event.elapsed_s, event.reason, *where, event.as_line(),
    )  # fmt: skip


def _logged_row(said: Mapping[str, Any]) -> Row:
    """Return the row of a line of ``events.jsonl``, which does not say where on the stage it was, nor when."""
    event = _event_of((json.dumps(said), None, None, 0, 0.0))
    row = list(_event_row(event))
    row[10:12] = None, None
    return tuple(row)


def _event_of(row: Row) -> Event:
    """Return the event of a row ``line, x_um, y_um, cell_count, elapsed_s``; a place that is unknown is the origin."""
    line, x_um, y_um, cell_count, elapsed_s = row
    said = json.loads(line)
    (y, x), daughters = said["parent_yx_px"], said["daughters_yx_px"]
    return Event(
        said["kind"], said["event_id"], said["revision"], said["status"], said["field"], said["frame"],
        said["emitted_frame"], said["confidence"], said["parent_id"], tuple(said["daughter_ids"]), (y, x),
        tuple((y, x) for y, x in daughters), said["reason"], (x_um or 0.0, y_um or 0.0), cell_count,
        elapsed_s=elapsed_s,
    )  # fmt: skip


def _cells_rows(cells: Cells) -> list[Row]:
    columns = (cells.label, *cells.centroid_px.T, cells.area_px, cells.score)
    return list(zip(*(column.tolist() for column in columns), _as_json(cells.mean_counts), strict=True))


def _as_json(values: NDArray[np.float32]) -> list[str]:
    """Return each row of a table as a JSON array, made in one go; JSON knows no NaN: null."""
    text = json.dumps(np.round(values.astype(np.float64), 3).tolist(), separators=(",", ":"))
    return [f"[{row}]" for row in text.replace("NaN", "null")[2:-2].split("],[")] if len(values) else []


def _tracks_rows(field: str, tracks: Tracks) -> list[Row]:
    states = [_STATES[state] for state in tracks.state.tolist()]
    known = (tracks.track_id, tracks.parent_id, tracks.born, tracks.last)
    columns = (*(column.tolist() for column in known), states, *tracks.position_um.T.tolist())
    return [(field, *row) for row in zip(*columns, strict=True)]
