"""What happened to a cell, as known after a frame, and its line in ``events.jsonl``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from stream.frame import FrameRef

Kind = Literal["division", "mitosis", "death", "exit", "frame"]
Status = Literal["provisional", "confirmed", "retracted"]
PICTURE_MOVED = "picture_moved"
"""Reason of an exit for which the stage or the ROI moved, not the cell."""
KINDS: tuple[Kind, ...] = ("division", "mitosis", "death", "exit")
TICK: Kind = "frame"
"""No event but the clock of policies that ask for one: a frame of a field was decided. It is never recorded or sent."""
STATUSES: tuple[Status, ...] = ("provisional", "confirmed", "retracted")
SCHEMA = 1
Point = tuple[float, float]


def event_id(field: str, frame: int, kind: str, parent_id: int) -> str:
    """Name an event by what it says, never by time or chance, so that a replay names it the same.

    >>> event_id("Camera:p0", 12, "division", 7)
    'Camera:p0/f12/division/7'
    """
    return f"{field}/f{frame}/{kind}/{parent_id}"


@dataclass(frozen=True, slots=True)
class Context:
    """What a policy may ask about an event beyond its record: how things stood when it was said. It is kept nowhere.

    Where the event is no more than a frame, ``mean_counts`` are those of all cells and ``states`` the highest of any.

    Parameters
    ----------
    area_mm2
        Of the picture.
    mean_counts
        Of the cell, or its daughters together, by measured channel; NaN unknown.
    states
        Probabilities of :data:`stream.cells.STATES` of the cell, or of the surest daughter; NaN unknown.
    in_state
        Cells of the field, by state, for which it is more probable than not.
    dividing
        Cells of the field that look like dividing, or like just born of a division.
    pending
        Events of this kind (on a frame: of any) that are still provisional in the field after all that this frame said.
    generation
        Divisions seen above the cell: 0 for one that was there at the start.
    age_s
        Since the cell was first seen, by the run's time.
    cells_yx_px
        Where each of the daughters, or the cell, is in the frame after which this was said; None: not in sight.
    places_um
        On a frame: where (x, y) each track that it shows is, with its id, in µm of the stage.
    exposed_ms
        Exposure that the field has had in the frames that the analysis saw.
    """

    area_mm2: float = math.nan
    mean_counts: tuple[float, ...] = ()
    states: tuple[float, ...] = ()
    in_state: tuple[int, ...] = ()
    dividing: int = 0
    pending: int = 0
    generation: int = 0
    age_s: float = math.nan
    cells_yx_px: tuple[Point | None, ...] = ()
    places_um: tuple[tuple[int, Point], ...] = ()
    exposed_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """One revision of what is known about an event.

    Parameters
    ----------
    frame
        When it happened (division: the first frame with two daughters).
    emitted_frame
        The frame after which this revision became known.
    confidence
        Probability that the event is real, 0 to 1.
    parent_yx_px, daughters_yx_px
        Centroids ``(y, x)``: the parent's in its last frame, the daughters' in ``frame``.
    position_um
        Where on the stage, ``(x, y)``; the mean of the daughters.
    cell_count
        Cells alive in the field when it was emitted.
    ref
        The frame whose analysis emitted this revision: the age of the data counts from it.
    elapsed_s
        Time of that frame since the first one of the run, as the rig stamped it.
    context
        For policies; None where none are asked.
    """

    kind: Kind
    event_id: str
    revision: int
    status: Status
    field: str
    frame: int
    emitted_frame: int
    confidence: float
    parent_id: int
    daughter_ids: tuple[int, ...]
    parent_yx_px: Point
    daughters_yx_px: tuple[Point, ...]
    reason: str = ""
    position_um: Point = (0.0, 0.0)
    cell_count: int = 0
    ref: FrameRef | None = None
    elapsed_s: float = 0.0
    context: Context | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the keys of ``events.jsonl``."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "event_id": self.event_id,
            "revision": self.revision,
            "status": self.status,
            "field": self.field,
            "frame": self.frame,
            "emitted_frame": self.emitted_frame,
            "confidence": round(self.confidence, 6),
            "parent_id": self.parent_id,
            "daughter_ids": list(self.daughter_ids),
            "parent_yx_px": [round(v, 3) for v in self.parent_yx_px],
            "daughters_yx_px": [[round(v, 3) for v in point] for point in self.daughters_yx_px],
            "reason": self.reason,
        }

    def as_line(self) -> str:
        """Return one line of ``events.jsonl`` without its newline."""
        return json.dumps(self.as_json(), separators=(",", ":"))
