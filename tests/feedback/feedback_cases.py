"""Events for the tests of policies."""

from __future__ import annotations

from typing import Any

from stream.event import Event, event_id


def event(
    status: Any = "confirmed", *, kind: Any = "division", parent: int = 7, at_s: float = 0.0, **values: Any
) -> Event:
    """A division in frame 12 of the first field, in the middle of the stage."""
    told: dict[str, Any] = {
        "field": "Camera:p0", "frame": 12, "emitted_frame": 13, "confidence": 0.9, "daughter_ids": (8, 9),
        "parent_yx_px": (1.0, 1.0), "daughters_yx_px": ((0.0, 1.0), (2.0, 1.0)), "position_um": (3.0, -4.0),
        "cell_count": 100, "revision": 0,
    }  # fmt: skip
    told |= values
    name = event_id(told["field"], told["frame"], kind, parent)
    return Event(kind=kind, event_id=name, status=status, parent_id=parent, elapsed_s=at_s, **told)
