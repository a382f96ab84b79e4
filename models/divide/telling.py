"""Events about one cell: making them, revising them, and their form in a saved state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from models.divide.history import History
from stream.event import Event, Kind, Status, event_id
from stream.frame import FrameRef
from stream.stages import Tracked


@dataclass(frozen=True, slots=True)
class Now:
    """The frame after which something is said."""

    field: str
    number: int
    ref: FrameRef
    elapsed_s: float
    cell_count: int

    @classmethod
    def of(cls, tracked: Tracked) -> Now:
        """Return the frame of a step."""
        frame = tracked.moment.frame
        count = len(tracked.segmentation.cells)
        return cls(frame.field, frame.frame, frame.ref, tracked.moment.elapsed_s, count)

    def after(self) -> Now:
        """Return the moment after the last frame of a stream: the same frame, its number one later."""
        return replace(self, number=self.number + 1)

    def packed(self) -> list[Any]:
        """Return what :meth:`unpacked` reads."""
        return [self.field, self.number, asdict(self.ref), self.elapsed_s, self.cell_count]

    @classmethod
    def unpacked(cls, said: Any) -> Now:
        """Read what :meth:`packed` returned. Raises TypeError or ValueError."""
        field, number, ref, elapsed_s, count = said
        return cls(field, number, FrameRef(**ref), elapsed_s, count)


def provisional(kind: Kind, cell: Any, frame: int, p: float, reason: str, now: Now) -> Event:
    """Return the first word on something that befell one cell.

    Parameters
    ----------
    cell
        Its row of a :data:`models.divide.history.History`.
    frame
        When it happened.
    """
    track_id = int(cell["id"])
    return Event(
        kind=kind,
        event_id=event_id(now.field, frame, kind, track_id),
        revision=0,
        status="provisional",
        field=now.field,
        frame=frame,
        emitted_frame=now.number,
        confidence=p,
        parent_id=track_id,
        daughter_ids=(),
        parent_yx_px=(float(cell["yx_px"][0]), float(cell["yx_px"][1])),
        daughters_yx_px=(),
        reason=reason,
        position_um=(float(cell["place_um"][0]), float(cell["place_um"][1])),
        cell_count=now.cell_count,
        ref=now.ref,
        elapsed_s=now.elapsed_s,
    )


def ended(event: Event, status: Status, p: float, reason: str, now: Now) -> Event:
    """Return the last word on it."""
    return replace(
        event,
        revision=event.revision + 1,
        status=status,
        emitted_frame=now.number,
        confidence=p,
        reason=reason,
        cell_count=now.cell_count,
        ref=now.ref,
        elapsed_s=now.elapsed_s,
    )


def packed(event: Event) -> dict[str, Any]:
    """Return the event as msgpack can hold it."""
    return asdict(event)


def unpacked(said: Any) -> Event:
    """Read what :func:`packed` returned, from msgpack with tuples. Raises TypeError or KeyError."""
    ref = said["ref"]
    return Event(**{**said, "ref": None if ref is None else FrameRef(**ref)})


def row_of(history: History, track_id: int) -> Any | None:
    """Return a track's row; None where it is not there."""
    i = int(history["id"].searchsorted(track_id))
    return history[i] if i < len(history) and history["id"][i] == track_id else None
