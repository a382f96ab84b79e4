"""Messages as they travel: ``[topic][msgpack header][payload]``. No pickle, ever.

Payloads are views of the sender's arrays and, on the other side, of the received buffer: pixels are never copied here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from stream.cells import Cells
from stream.clock import now_ns
from stream.event import Event
from stream.frame import Frame, FrameRef, Gap, Stamps
from stream.lineage import Tracks
from stream.wire.header import (
    SCHEMA,
    Header,
    pack,
    plain,
)
from stream.wire.messages import (
    NO_STAMPS,
    Alive,
    Message,
    MessageKind,
)
from stream.wire.read import Part, decode
from stream.wire.tables import pack_table

__all__ = [
    "Part",
    "alive_header",
    "decode",
    "encode_alive",
    "encode_cells",
    "encode_denoised",
    "encode_events",
    "encode_fact",
    "encode_frame",
    "encode_gap",
    "encode_labels",
    "encode_tracks",
]

_STAMPS = tuple(column.name for column in dataclasses.fields(Stamps))
_NOWHERE = FrameRef("", "", "", 0, 0, "", 0)


def encode_frame(frame: Frame) -> Message:
    """Encode a frame; its payload is its own pixels. ``t_publish_ns`` is stamped where it is still 0."""
    pixels = np.ascontiguousarray(frame.pixels)
    payload = _bytes_of(pixels)
    stamps = _stamps(frame.stamps)
    stamps["t_publish_ns"] = stamps["t_publish_ns"] or now_ns()
    header = _head("frame", frame.ref) | {
        "index": [frame.index.t, frame.index.p, frame.index.c, frame.index.z, frame.index.g],
        "roi_px": frame.roi_px,
        "sensor_px": frame.sensor_px,
        "binning": frame.binning,
        "affine_um": [*frame.affine_um[0], *frame.affine_um[1]],
        "stage_um": frame.stage_um,
        "exposure_ms": frame.exposure_ms,
        "channel": frame.channel,
        "stamps": stamps,
        "commands": frame.commands,
        "metadata": plain(frame.metadata),
        **_image(pixels),
        "xxh3": xxhash.xxh3_64_intdigest(payload),
    }
    born_ns = frame.stamps.t_pop_ns or stamps["t_publish_ns"]
    topic, z = f"frame/{frame.camera}", frame.index.z
    return Message(topic, pack(header), payload, "frame", frame.camera, frame.field, born_ns, frame.channel, z)


def encode_gap(gap: Gap, *, run: str) -> Message:
    """Encode a discontinuity; it travels among its camera's frames."""
    ref = FrameRef(run, gap.camera, gap.session, gap.epoch, gap.after_seq, gap.field, 0)
    header = _head("gap", ref) | {"missing": gap.missing, "reason": gap.reason, "detail": gap.detail}
    return _message(f"frame/{gap.camera}", "gap", ref, header)


def encode_labels(ref: FrameRef, labels: NDArray[np.int32], stamps: Stamps = NO_STAMPS) -> Message:
    """Encode a label image ``(y, x)``; it travels as uint16 where the labels allow it."""
    narrow = labels.size == 0 or (labels.min() >= 0 and labels.max() < 1 << 16)
    image = np.ascontiguousarray(labels, dtype="<u2" if narrow else "<i4")
    payload = _bytes_of(image)
    header = _head("labels", ref) | _image(image) | {"xxh3": xxhash.xxh3_64_intdigest(payload)}
    return _message("labels", "labels", ref, header | {"stamps": _stamps(stamps)}, payload, stamps.t_pop_ns)


def encode_denoised(
    ref: FrameRef, pixels: NDArray[np.uint8] | NDArray[np.uint16], stamps: Stamps = NO_STAMPS
) -> Message:
    """Encode denoised pixels ``(y, x)``, uint8 or uint16."""
    image = np.ascontiguousarray(pixels)
    payload = _bytes_of(image)
    header = _head("denoised", ref) | _image(image) | {"xxh3": xxhash.xxh3_64_intdigest(payload)}
    return _message("denoised", "denoised", ref, header | {"stamps": _stamps(stamps)}, payload, stamps.t_pop_ns)


def encode_cells(ref: FrameRef, cells: Cells, stamps: Stamps = NO_STAMPS) -> Message:
    """Encode the cells of a frame as packed columns."""
    return _table_message("cells", ref, cells, stamps)


def encode_tracks(ref: FrameRef, tracks: Tracks, stamps: Stamps = NO_STAMPS) -> Message:
    """Encode the tracks after a frame as packed columns."""
    return _table_message("tracks", ref, tracks, stamps)


def encode_events(ref: FrameRef, events: Sequence[Event], stamps: Stamps = NO_STAMPS) -> Message:
    """Encode the event revisions that a frame brought."""
    header = _head("events", ref) | {"events": [plain(event) for event in events], "stamps": _stamps(stamps)}
    return _message("events", "events", ref, header, born_ns=stamps.t_pop_ns)


def encode_fact(data: Mapping[str, Any], ref: FrameRef = _NOWHERE) -> Message:
    """Encode plain data, with the frame that it belongs to if there is one."""
    return _message("facts", "fact", ref, _head("fact", ref) | {"data": plain(data)})


def encode_alive(alive: Alive, ref: FrameRef = _NOWHERE) -> Message:
    """Encode a node's sign of life; ``ref`` gives run and session where nothing is decided yet."""
    ref = alive.last_decided or ref
    return _message("alive", "alive", ref, _head("alive", ref) | alive_header(alive))


def alive_header(alive: Alive) -> Header:
    """Return the keys of a sign of life; the control link uses the same."""
    last = alive.last_decided
    return {"node": alive.node, "pending": alive.pending, "last_decided": None if last is None else plain(last)}


def _bytes_of(image: NDArray[Any]) -> memoryview:
    return memoryview(image.data).cast("B")


def _head(kind: MessageKind, ref: FrameRef) -> Header:
    return {
        "schema": SCHEMA,
        "kind": kind,
        "run": ref.run,
        "camera": ref.camera,
        "session": ref.session,
        "epoch": ref.epoch,
        "seq": ref.seq,
        "field": ref.field,
        "frame": ref.frame,
    }


def _message(
    topic: str, kind: MessageKind, ref: FrameRef, header: Header, payload: bytes | memoryview = b"", born_ns: int = 0
) -> Message:
    return Message(topic, pack(header), payload, kind, ref.camera, ref.field, born_ns or now_ns())


def _table_message(kind: MessageKind, ref: FrameRef, table: Cells | Tracks, stamps: Stamps) -> Message:
    columns, payload = pack_table(table)
    header = _head(kind, ref) | {"columns": columns, "stamps": _stamps(stamps), "encoding": "raw"}
    header["xxh3"] = xxhash.xxh3_64_intdigest(payload)
    return _message(kind, kind, ref, header, payload, stamps.t_pop_ns)


def _image(image: NDArray[Any]) -> Header:
    return {"dtype": image.dtype.str, "shape": list(image.shape), "encoding": "raw"}


def _stamps(stamps: Stamps) -> Header:
    return {name: getattr(stamps, name) for name in _STAMPS}
