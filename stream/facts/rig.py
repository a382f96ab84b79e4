"""What the rig knows for certain: frames taken, commands and their answers, light given, frames lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stream.clock import now_ns, wall_ns
from stream.command import FINAL_STATES, Ack, AckState, Command
from stream.errors import StoreError
from stream.facts.database import COMMIT_TIMEOUT_S, INSERT_LOSS, Database, Statement
from stream.frame import Frame, FrameRef, Gap, plan_field

log = logging.getLogger(__name__)

FILE = "rig.sqlite"
EPOCH_TIMEOUT_S = 2.0
VERSION = 1
SCHEMA = """
CREATE TABLE frames (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL, camera TEXT NOT NULL, session TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    field TEXT NOT NULL, frame INTEGER NOT NULL,
    t INTEGER NOT NULL, p INTEGER NOT NULL, c INTEGER NOT NULL, z INTEGER NOT NULL, g INTEGER NOT NULL,
    roi_px TEXT NOT NULL, sensor_px TEXT NOT NULL, binning INTEGER NOT NULL, affine_um TEXT NOT NULL,
    x_um REAL NOT NULL, y_um REAL NOT NULL, z_um REAL NOT NULL,
    exposure_ms REAL NOT NULL, channel TEXT NOT NULL, light_power REAL,
    t_camera_ns INTEGER NOT NULL, camera_source TEXT NOT NULL, t_pop_ns INTEGER NOT NULL, wall_ns INTEGER NOT NULL,
    host TEXT NOT NULL, commands TEXT NOT NULL,
    UNIQUE (camera, session, epoch, seq)
);
CREATE INDEX frames_by_field ON frames (field, frame);
CREATE TABLE effects (
    command_id TEXT NOT NULL, camera TEXT NOT NULL, session TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL
);
CREATE INDEX effects_by_frame ON effects (camera, session, epoch, seq);
CREATE TABLE gaps (
    id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL,
    camera TEXT NOT NULL, field TEXT NOT NULL, session TEXT NOT NULL, epoch INTEGER NOT NULL,
    after_seq INTEGER NOT NULL, missing INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE TABLE commands (
    id INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, command TEXT NOT NULL,
    received_wall_ns INTEGER NOT NULL, origin TEXT NOT NULL, cause_event TEXT, cause_kind TEXT,
    cause_session TEXT, cause_epoch INTEGER, cause_seq INTEGER, cause_field TEXT, cause_frame INTEGER
);
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY, command_id TEXT NOT NULL, state TEXT NOT NULL, final INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL, mono_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, readback TEXT NOT NULL, timings_ms TEXT NOT NULL, first_frame TEXT
);
CREATE INDEX transitions_by_command ON transitions (command_id);
CREATE TABLE dose (
    field TEXT PRIMARY KEY, frames INTEGER NOT NULL, exposure_ms REAL NOT NULL, full_power_ms REAL NOT NULL,
    unknown_power_ms REAL NOT NULL, uj_per_mm2 REAL, unit TEXT NOT NULL
);
"""
INSERT_FRAME = f"INSERT OR IGNORE INTO frames VALUES (NULL{', ?' * 28})"
INSERT_TRANSITION = f"INSERT INTO transitions VALUES (NULL{', ?' * 9})"
# Older runs lack this table: it is made where it is missing.
LATENESS = """
CREATE TABLE IF NOT EXISTS lateness (
    camera TEXT NOT NULL, session TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
    late_ms REAL NOT NULL, command_id TEXT, UNIQUE (camera, session, epoch, seq)
);
"""
"""From when an event was due, by the plan or by the command beside it, to when it began; MDA mode only."""
NOTICES = """
CREATE TABLE IF NOT EXISTS notices (
    id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, mono_ns INTEGER NOT NULL, notice TEXT NOT NULL, data TEXT NOT NULL
);
"""
ADD_DOSE = """
INSERT INTO dose VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (field) DO UPDATE SET
    frames = frames + excluded.frames, exposure_ms = exposure_ms + excluded.exposure_ms,
    full_power_ms = full_power_ms + excluded.full_power_ms,
    unknown_power_ms = unknown_power_ms + excluded.unknown_power_ms,
    uj_per_mm2 = uj_per_mm2 + excluded.uj_per_mm2, unit = excluded.unit
"""
UNANSWERED = "SELECT command_id FROM commands WHERE command_id NOT IN (SELECT command_id FROM transitions WHERE final)"
RESTARTED = "the rig restarted before it could answer; look at the frames to see what took effect"


@dataclass(frozen=True, slots=True)
class Dose:
    """Light that one field has had.

    ``exposure_ms`` is for how long frames were exposed. ``full_power_ms`` is light weighted with its power (0 to 1),
    that between frames and of stimulation included; ``unknown_power_ms`` is light whose power nobody knows.
    ``uj_per_mm2`` is None where the light's irradiance is not calibrated.
    """

    frames: int
    exposure_ms: float
    full_power_ms: float
    unknown_power_ms: float
    uj_per_mm2: float | None


class RigFacts:
    """``rig.sqlite`` of one run. Every method may be called from any thread.

    Commands and their transitions are on disk when the call returns, and so is the first frame of an epoch (call
    :meth:`frame` before publishing): a rig that was killed never uses an epoch again, and answers every command once.

    Parameters
    ----------
    run_dir
        The run's folder. A file that is there is taken up again; commands without an answer become ``unknown``.
    mw_per_mm2
        Irradiance at full power, where it is calibrated.

    Raises
    ------
    StoreError
        The file cannot be used; it is left as it is.
    """

    def __init__(self, run_dir: Path, *, mw_per_mm2: float | None = None) -> None:
        self._database = Database(run_dir / FILE, SCHEMA, VERSION, additions=NOTICES + LATENESS)
        self._mw_per_mm2 = mw_per_mm2
        self._epoch = self._stored_epoch()
        self._answer_open()

    def frame(self, frame: Frame, light_power: float | None = None, between_ms: float = 0.0) -> bool:
        """Record a frame and its light; False when the disk could not keep up and the row was lost (and counted).

        ``between_ms`` is light between the frame before and this one, in ms at full power.
        Waits for the disk at the first frame of an epoch, otherwise only for room in the queue.
        """
        statements = [(INSERT_FRAME, _frame_row(frame, light_power)), self._dose(frame, light_power, between_ms)]
        statements += [
            ("INSERT INTO effects VALUES (?, ?, ?, ?, ?)", (c, frame.camera, frame.session, frame.epoch, frame.seq))
            for c in frame.commands
        ]
        if (late_ms := frame.metadata.get("late_ms")) is not None:
            row = (frame.camera, frame.session, frame.epoch, frame.seq, late_ms, frame.metadata.get("command"))
            statements.append(("INSERT OR IGNORE INTO lateness VALUES (?, ?, ?, ?, ?, ?)", row))
        if frame.epoch <= self._epoch:
            return self._database.put(*statements)
        self._epoch = frame.epoch
        try:
            self._database.commit(*statements, timeout_s=EPOCH_TIMEOUT_S)
        except StoreError as error:  # a full disk must not stop the microscope
            log.error("epoch %d may be used again after a restart: %s", frame.epoch, error)
            return False
        return True

    def light(self, field: str, full_power_ms: float) -> None:
        """Record light that no frame took, in ms at full power: a stimulation, or a shutter that stayed open."""
        self._database.put(self._add(field, 0, 0.0, full_power_ms, 0.0))

    def notice(self, notice: str, data: Mapping[str, object]) -> None:
        """Record something that the rig did or found by itself: a level of the dose, a lost analysis."""
        row = (wall_ns(), now_ns(), notice, json.dumps(data, default=str))
        self._database.put(("INSERT INTO notices VALUES (NULL, ?, ?, ?, ?)", row))

    def gap(self, gap: Gap) -> None:
        """Record frames that the driver did not deliver, or a restart of the stream."""
        row = (wall_ns(), gap.camera, gap.field, gap.session, gap.epoch, gap.after_seq, gap.missing, gap.reason)
        self._database.put((f"INSERT INTO gaps VALUES (NULL{', ?' * 9})", (*row, gap.detail)))

    def command(self, command: Command, received: Ack | None = None, *, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Record a command, with its first answer if that is given, on disk on return; ask :meth:`known` first.

        Raises
        ------
        StoreError
            It could not be written, or its id is there already: refuse the command.
        """
        statements: list[Statement] = [(f"INSERT INTO commands VALUES (NULL{', ?' * 12})", _command_row(command))]
        if received is not None:
            statements.append((INSERT_TRANSITION, transition_row(received)))
        self._database.commit(*statements, timeout_s=timeout_s)

    def transition(self, ack: Ack, *, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Record an answer, on disk on return. Raises StoreError."""
        self._database.commit((INSERT_TRANSITION, transition_row(ack)), timeout_s=timeout_s)

    def progress(self, ack: Ack, *, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Record an answer that another one will follow: on disk in a second, before that one. Raises StoreError.

        After a crash the command ends as ``unknown`` with or without it, so the hardware need not wait for the disk,
        and no thread takes the processor for it while the hardware is asked.
        """
        if not self._database.put_later((INSERT_TRANSITION, transition_row(ack))):
            self.transition(ack, timeout_s=timeout_s)

    def loss(self, stage: str, reason: str, count: int = 1, *, ref: FrameRef | None = None) -> None:
        """Record frames that were taken and did not reach the next part."""
        place = (ref.field, ref.frame) if ref else (None, None)
        self._database.put((INSERT_LOSS, (wall_ns(), stage, reason, count, *place)))

    def meta(self, key: str, value: object) -> None:
        """Record one fact about the run, as JSON."""
        self._database.put(("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, default=str))))

    def known(self, command_id: str) -> Ack | None:
        """Return the newest answer to a command, before or after a restart; None for one never seen."""
        rows = self._database.query(
            "SELECT state, reason, readback, timings_ms, first_frame FROM transitions "
            "WHERE command_id = ? ORDER BY id DESC LIMIT 1",
            (command_id,),
        )
        if rows:
            return _ack(command_id, *rows[0])
        seen = self._database.query("SELECT 1 FROM commands WHERE command_id = ?", (command_id,))
        return Ack(command_id=command_id, state=AckState.RECEIVED) if seen else None

    def last_epoch(self) -> int:
        """Return the newest epoch of the run; -1 where there was none."""
        return self._epoch

    def next_frames(self) -> dict[str, int]:
        """Return, by field, the number after the highest frame: a rig that starts again goes on from there."""
        return dict(self._database.query("SELECT field, max(frame) + 1 FROM frames GROUP BY field"))

    def dose(self) -> Mapping[str, Dose]:
        """Return the light that each field has had over the whole run, restarts included."""
        rows = self._database.query(
            "SELECT field, frames, exposure_ms, full_power_ms, unknown_power_ms, uj_per_mm2 FROM dose"
        )
        return {field: Dose(*values) for field, *values in rows}

    def counts(self) -> dict[str, int]:
        """Return the number of committed rows by table."""
        tables = ("frames", "gaps", "commands", "transitions", "losses")
        return {table: self._database.query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}

    def flush(self, timeout_s: float = COMMIT_TIMEOUT_S) -> None:
        """Wait until everything said so far is on disk. Raises StoreError."""
        self._database.flush(timeout_s)

    def close(self) -> None:
        """Commit and close. Idempotent."""
        self._database.close()

    def _answer_open(self) -> None:
        """Answer what an earlier start of the rig left without an answer."""
        try:
            for (command_id,) in self._database.query(UNANSWERED):
                self.transition(Ack(command_id=command_id, state=AckState.UNKNOWN, reason=RESTARTED))
        except StoreError as error:  # a full disk must not stop the microscope; the next start tries again
            log.error("commands of an earlier start stay without an answer: %s", error)

    def _stored_epoch(self) -> int:
        newest = "SELECT max(e) FROM (SELECT max(epoch) e FROM frames UNION ALL SELECT max(epoch) FROM gaps)"
        epoch = self._database.query(newest)[0][0]
        return -1 if epoch is None else int(epoch)

    def _dose(self, frame: Frame, light_power: float | None, between_ms: float) -> Statement:
        weighted_ms = frame.exposure_ms * (light_power or 0.0) + between_ms
        unknown_ms = frame.exposure_ms * (light_power is None)
        return self._add(plan_field(frame.field), 1, frame.exposure_ms, weighted_ms, unknown_ms)

    def _add(self, field: str, frames: int, exposure_ms: float, weighted_ms: float, unknown_ms: float) -> Statement:
        energy = None if self._mw_per_mm2 is None else self._mw_per_mm2 * weighted_ms  # mW/mm² x ms = µJ/mm²
        unit = "not calibrated" if energy is None else "uJ/mm2"
        return ADD_DOSE, (field, frames, exposure_ms, weighted_ms, unknown_ms, energy, unit)


def transition_row(ack: Ack) -> tuple[Any, ...]:
    """Return the row of ``transitions`` without its id, stamped now."""
    first = json.dumps(asdict(ack.first_frame)) if ack.first_frame else None
    return (
        ack.command_id, str(ack.state), ack.state in FINAL_STATES, wall_ns(), now_ns(), ack.reason,
        json.dumps(ack.readback, default=str), json.dumps(ack.timings_ms), first,
    )  # fmt: skip


def _ack(command_id: str, state: str, reason: str, readback: str, timings_ms: str, first_frame: str | None) -> Ack:
    try:
        return Ack(
            command_id=command_id,
            state=AckState(state),
            reason=reason,
            readback=json.loads(readback),
            timings_ms=json.loads(timings_ms),
            first_frame=FrameRef(**json.loads(first_frame)) if first_frame else None,
        )
    except ValueError as error:
        raise StoreError(f"{FILE}: the answer to {command_id} cannot be read: {error}") from error


def _frame_row(frame: Frame, light_power: float | None) -> tuple[Any, ...]:
    index, stamps = frame.index, frame.stamps
    return (
        frame.run, frame.camera, frame.session, frame.epoch, frame.seq, frame.field, frame.frame,
        index.t, index.p, index.c, index.z, index.g,
        json.dumps(frame.roi_px), json.dumps(frame.sensor_px), frame.binning, json.dumps(frame.affine_um),
        *frame.stage_um, frame.exposure_ms, frame.channel, light_power,
        stamps.t_camera_ns, stamps.camera_source, stamps.t_pop_ns, stamps.wall_ns, stamps.host,
        json.dumps(frame.commands),
    )  # fmt: skip


def _command_row(command: Command) -> tuple[Any, ...]:
    event_id, frame = command.cause.event_id, command.cause.frame
    parts = event_id.rsplit("/", 2) if event_id else []  # FIELD/fN, kind, parent
    kind = parts[1] if len(parts) == 3 else None
    cause = (frame.session, frame.epoch, frame.seq, frame.field, frame.frame) if frame else (None,) * 5
    text = command.model_dump_json()
    head = (command.command_id, command.action.kind, text, wall_ns(), command.cause.origin)
    return (*head, event_id, kind, *cause)
