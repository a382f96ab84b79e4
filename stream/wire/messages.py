"""What travels and what a subscriber hands out, as small tagged types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stream.cells import Cells
from stream.event import Event
from stream.frame import Frame, FrameRef, Gap, Stamps
from stream.lineage import Tracks

NO_STAMPS = Stamps()
MessageKind = Literal["frame", "gap", "labels", "denoised", "cells", "tracks", "events", "fact", "alive"]


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One encoded message; queues share it, nobody copies its payload.

    ``born_ns`` is when its data were popped at the rig, or when it was encoded where it has no frame. ``channel`` and
    ``z`` say which of a field's pictures a frame is.
    """

    topic: str
    header: bytes
    payload: bytes | memoryview
    kind: MessageKind
    camera: str = ""
    field: str = ""
    born_ns: int = 0
    channel: str = ""
    z: int = 0

    def parts(self) -> tuple[bytes, bytes, bytes | memoryview]:
        """Return what goes on the wire."""
        return self.topic.encode(), self.header, self.payload


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The label image ``(y, x)`` int32 of one frame."""

    ref: FrameRef
    labels: NDArray[np.int32]
    stamps: Stamps = NO_STAMPS


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """The denoised pixels ``(y, x)`` of one frame, in counts of the camera's type; only some frames have them."""

    ref: FrameRef
    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    stamps: Stamps = NO_STAMPS


@dataclass(frozen=True, slots=True, eq=False)
class CellsOf:
    """The cells of one frame."""

    ref: FrameRef
    cells: Cells
    stamps: Stamps = NO_STAMPS


@dataclass(frozen=True, slots=True, eq=False)
class TracksOf:
    """The tracks of a field after one frame."""

    ref: FrameRef
    tracks: Tracks
    stamps: Stamps = NO_STAMPS


@dataclass(frozen=True, slots=True)
class EventsOf:
    """The event revisions that one frame brought; may be empty."""

    ref: FrameRef
    events: Sequence[Event]
    stamps: Stamps = NO_STAMPS


@dataclass(frozen=True, slots=True)
class Fact:
    """Anything worth telling that has no type of its own: acks, plans, summaries. ``data["fact"]`` says which."""

    ref: FrameRef
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alive:
    """A node's deciding thread says which frame it decided last and how many wait."""

    node: str
    last_decided: FrameRef | None
    pending: int


Decoded = Frame | Gap | Labels | Denoised | CellsOf | TracksOf | EventsOf | Fact | Alive


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages of one kind that this subscriber will never see.

    ``reason`` is the publisher's (``overflow``, ``deadline``, ``superseded``) or this side's own finding: ``refused``
    (it could not be decoded), ``link`` (gone with a broken connection), ``restart`` (published before this subscriber
    was known to a restarted publisher).
    """

    camera: str
    count: int
    reason: str
    kind: str = "frame"


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """The publisher finished and everything it had for this subscriber has been handed out."""

    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The publisher of ``session`` is gone, or has not been heard for the heartbeat timeout."""

    session: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """A publisher answered again; ``restarted`` says whether it is a new session."""

    session: str
    restarted: bool


Item = Decoded | Lost | EndOfStream | Disconnected | Reconnected
