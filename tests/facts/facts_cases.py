"""Small frames, cells, events and commands for the tests of the facts."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.cells import Cells, make_cells
from stream.command import Ack, AckState, Command
from stream.event import Event, event_id
from stream.frame import Frame, FrameRef, Stamps
from stream.lineage import Tracks

MS = 1_000_000
FIELD = "Camera:p0"


def ref(seq: int, *, epoch: int = 0, session: str = "s1", number: int | None = None) -> FrameRef:
    return FrameRef("run", "Camera", session, epoch, seq, FIELD, seq if number is None else number)


def frame(seq: int, *, commands: tuple[str, ...] = (), **where: Any) -> Frame:
    """A frame popped 100 ms after the one before it."""
    at = ref(seq, **where)
    stamps = Stamps(t_pop_ns=seq * 100 * MS + 1, host="here").with_stage("segment", 0, MS // 4)
    pixels = np.zeros((4, 6), np.uint16)
    return Frame(
        at.run, at.camera, at.session, at.epoch, at.seq, at.field, at.frame, pixels,
        stamps=stamps, commands=commands, exposure_ms=10.0,
    )  # fmt: skip


def cells(n: int = 3) -> Cells:
    """Cells whose second channel is missing."""
    label = np.arange(1, n + 1, dtype=np.int32)
    means = np.full((n, 2), 7.25, np.float32)
    means[:, 1] = np.nan
    return make_cells(
        label,
        np.stack([label * 1.5, label * 2.0], 1).astype(np.float32),
        np.zeros((n, 4), np.int32),
        np.full(n, 12.0, np.float32),
        means,
    )


def tracks(last: int, n: int = 3, state: int = 0) -> Tracks:
    ids = np.arange(1, n + 1, dtype=np.int64)
    return Tracks(
        ids, np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, last, np.int64), np.full(n, state, np.int8),
        ids.astype(np.int32), np.zeros((n, 2)), np.zeros((n, 2)),
    )  # fmt: skip


def event(at: int, emitted: int, status: Any = "confirmed", *, revision: int = 0, parent: int = 7) -> Event:
    return Event(
        "division", event_id(FIELD, at, "division", parent), revision, status, FIELD, at, emitted, 0.9, parent,
        (8, 9), (1.0, 2.0), ((1.0, 1.0), (1.0, 3.0)), position_um=(1.0, 2.0), cell_count=3, ref=ref(emitted),
        elapsed_s=emitted / 10,
    )  # fmt: skip


def command(command_id: str, kind: str, *, cause: tuple[str, FrameRef] | None = None, **values: Any) -> Command:
    named = {"event_id": cause[0], "frame": cause[1], "origin": "policy"} if cause else {}
    return Command.model_validate(
        {"command_id": command_id, "action": {"kind": kind, **values}, "cause": named, "issued_wall_ns": 1}
    )


def ack(command_id: str, state: str, **values: Any) -> Ack:
    return Ack(command_id=command_id, state=AckState(state), **values)
