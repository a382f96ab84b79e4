"""What happened to a cell, as known after a frame, and its line in ``events.jsonl``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from stream.frame import FrameRef

Kind = Literal["division", "mitosis", "death", "exit"]
Status = Literal["provisional", "confirmed", "retracted"]
KINDS: tuple[Kind, ...] = ("division", "mitosis", "death", "exit")
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
