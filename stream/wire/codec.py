"""Messages as they travel: ``[topic][msgpack header][payload]``. No pickle, ever.

Payloads are views of the sender's arrays and, on the other side, of the received buffer: pixels are never copied here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from stream.cells import Cells
from stream.clock import now_ns
from stream.errors import FrameError, Malformed
from stream.event import KINDS, STATUSES, Event
from stream.frame import Frame, FrameRef, Gap, Index, Stamps
from stream.lineage import Tracks
from stream.wire.header import (
    SCHEMA,
    Header,
    finite,
    finites,
    item_point,
    item_text,
    item_tree,
    item_whole,
    listed,
    pack,
    plain,
    text,
    tree,
    unpack,
    whole,
    wholes,
)
from stream.wire.messages import (
    NO_STAMPS,
    Alive,
    CellsOf,
    Decoded,
    EventsOf,
    Fact,
    Labels,
    Message,
    MessageKind,
    TracksOf,
)
from stream.wire.tables import pack_table, unpack_table

Part = Any
"""One part of a multipart message: bytes, memoryview or ``zmq.Frame``."""

_STAMPS = tuple(column.name for column in dataclasses.fields(Stamps))
_IDENTITY = tuple(column.name for column in dataclasses.fields(FrameRef))
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
    topic = f"frame/{frame.camera}"
    return Message(topic, pack(header), payload, "frame", frame.camera, frame.field, born_ns)


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


def decode(parts: Sequence[Part], *, t_receive_ns: int = 0) -> Decoded:
    """Return what a message says; arrays are read-only views of the received buffers.

    Raises
    ------
    Malformed
        The message is torn, foreign, or says something that cannot be true; the text says what.
    UnknownSchema
        It is of another major schema.
    """
    if len(parts) != 3:
        raise Malformed(f"a message has 3 parts, topic, header and payload, not {len(parts)}")
    topic, head, payload = (_buffer(part) for part in parts)
    header = unpack(head)
    kind = text(header, "kind")
    reader = _READERS.get(kind)
    if reader is None:
        raise Malformed(f"kind {kind!r} is unknown; known are {', '.join(_READERS)}")
    ref = _ref(header)
    expected = f"frame/{ref.camera}" if kind in ("frame", "gap") else {"fact": "facts"}.get(kind, kind)
    if bytes(topic) != expected.encode():
        raise Malformed(f"topic {bytes(topic)[:80]!r} does not fit a {kind} of camera {ref.camera!r}")
    return reader(ref, header, payload, t_receive_ns)


def alive_header(alive: Alive) -> Header:
    """Return the keys of a sign of life; the control link uses the same."""
    last = alive.last_decided
    return {"node": alive.node, "pending": alive.pending, "last_decided": None if last is None else plain(last)}


def read_alive(header: Header) -> Alive:
    """Read the keys of a sign of life. Raises Malformed."""
    last = None if header.get("last_decided") is None else _ref(tree(header, "last_decided"))
    return Alive(text(header, "node"), last, whole(header, "pending", 0))


def _bytes_of(image: NDArray[Any]) -> memoryview:
    return memoryview(image.data).cast("B")


def _buffer(part: Part) -> memoryview:
    data = part.buffer if hasattr(part, "buffer") else memoryview(part)
    return data.toreadonly()


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


def _ref(header: Header) -> FrameRef:
    return FrameRef(
        text(header, "run"),
        text(header, "camera"),
        text(header, "session"),
        whole(header, "epoch"),
        whole(header, "seq"),
        text(header, "field"),
        whole(header, "frame"),
    )


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


def _read_stamps(header: Header, t_receive_ns: int = 0) -> Stamps:
    said = tree(header, "stamps")
    source = text(said, "camera_source")
    if source not in ("camera", "core", "none"):
        raise Malformed(f"header camera_source is {source!r}, not camera, core or none")
    return Stamps(
        t_camera_ns=whole(said, "t_camera_ns"),
        camera_source=source,  # type: ignore[arg-type]
        t_pop_ns=whole(said, "t_pop_ns"),
        t_publish_ns=whole(said, "t_publish_ns"),
        t_receive_ns=t_receive_ns or whole(said, "t_receive_ns"),
        wall_ns=whole(said, "wall_ns"),
        host=text(said, "host"),
        stages=listed(said, "stages", _item_stage),
    )


def _item_stage(key: str, value: Any) -> tuple[str, int, int]:
    if not isinstance(value, list) or len(value) != 3:
        raise Malformed(f"header {key} has {value!r:.80}, not [name, begin_ns, end_ns]")
    return item_text(key, value[0]), item_whole(key, value[1]), item_whole(key, value[2])


def _checked(header: Header, payload: memoryview) -> None:
    """Check that the payload is the one that was sent."""
    encoding = text(header, "encoding")
    if encoding != "raw":
        raise Malformed(f"encoding {encoding!r} is unknown; this version reads raw")
    if xxhash.xxh3_64_intdigest(payload) != whole(header, "xxh3"):
        raise Malformed(f"the payload of {len(payload)} bytes does not match its xxh3: it is torn or was changed")


def _read_image(header: Header, payload: memoryview, dtypes: Sequence[str]) -> NDArray[Any]:
    dtype, shape = text(header, "dtype"), wholes(header, "shape", 2)
    if dtype not in dtypes or min(shape) < 1:
        raise Malformed(f"an image of {dtype} {shape} cannot be: expected (y, x) of {' or '.join(dtypes)}")
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    if size != len(payload):
        raise Malformed(f"{dtype} {shape} takes {size} bytes, the payload has {len(payload)}")
    _checked(header, payload)
    image: NDArray[Any] = np.frombuffer(payload, dtype).reshape(shape)
    return image if image.flags.aligned else image.copy()


def _read_frame(ref: FrameRef, header: Header, payload: memoryview, t_receive_ns: int) -> Frame:
    exposure_ms = finite(header, "exposure_ms")
    a, b, c, d = finites(header, "affine_um", 4)
    x_um, y_um, z_um = finites(header, "stage_um", 3)
    x, y, w, h = wholes(header, "roi_px", 4)
    sensor_w, sensor_h = wholes(header, "sensor_px", 2)
    try:
        return Frame(
            **_identity(ref),
            pixels=_read_image(header, payload, ("|u1", "<u2")),
            index=Index(*wholes(header, "index", 5)),
            roi_px=(x, y, w, h),
            sensor_px=(sensor_w, sensor_h),
            binning=whole(header, "binning", 1),
            affine_um=((a, b), (c, d)),
            stage_um=(x_um, y_um, z_um),
            exposure_ms=exposure_ms,
            channel=text(header, "channel"),
            stamps=_read_stamps(header, t_receive_ns),
            commands=listed(header, "commands", item_text),
            metadata=tree(header, "metadata"),
        )
    except FrameError as error:
        raise Malformed(str(error)) from error


def _identity(ref: FrameRef) -> dict[str, Any]:
    return {name: getattr(ref, name) for name in _IDENTITY}


def _read_gap(ref: FrameRef, header: Header, _payload: memoryview, _t: int) -> Gap:
    missing, reason, detail = whole(header, "missing", 0), text(header, "reason"), text(header, "detail")
    return Gap(ref.camera, ref.field, ref.session, ref.epoch, ref.seq, missing, reason, detail)


def _read_labels(ref: FrameRef, header: Header, payload: memoryview, t_receive_ns: int) -> Labels:
    image = _read_image(header, payload, ("<u2", "<i4"))
    labels = image.astype(np.int32, copy=False)
    labels.flags.writeable = False
    return Labels(ref, labels, _read_stamps(header, t_receive_ns))


def _read_cells(ref: FrameRef, header: Header, payload: memoryview, t_receive_ns: int) -> CellsOf:
    _checked(header, payload)
    return CellsOf(ref, unpack_table(Cells, header, payload), _read_stamps(header, t_receive_ns))


def _read_tracks(ref: FrameRef, header: Header, payload: memoryview, t_receive_ns: int) -> TracksOf:
    _checked(header, payload)
    return TracksOf(ref, unpack_table(Tracks, header, payload), _read_stamps(header, t_receive_ns))


def _read_events(ref: FrameRef, header: Header, _payload: memoryview, t_receive_ns: int) -> EventsOf:
    events = tuple(_read_event(said) for said in listed(header, "events", item_tree))
    return EventsOf(ref, events, _read_stamps(header, t_receive_ns))


def _read_event(said: Header) -> Event:
    kind, status = text(said, "kind"), text(said, "status")
    if kind not in KINDS or status not in STATUSES:
        raise Malformed(f"an event of kind {kind!r} and status {status!r} is unknown")
    return Event(
        kind=kind,
        event_id=text(said, "event_id"),
        revision=whole(said, "revision", 0),
        status=status,
        field=text(said, "field"),
        frame=whole(said, "frame"),
        emitted_frame=whole(said, "emitted_frame"),
        confidence=finite(said, "confidence"),
        parent_id=whole(said, "parent_id"),
        daughter_ids=listed(said, "daughter_ids", item_whole),
        parent_yx_px=item_point("parent_yx_px", said.get("parent_yx_px")),
        daughters_yx_px=listed(said, "daughters_yx_px", item_point),
        reason=text(said, "reason"),
        position_um=item_point("position_um", said.get("position_um")),
        cell_count=whole(said, "cell_count", 0),
        ref=None if said.get("ref") is None else _ref(tree(said, "ref")),
        elapsed_s=finite(said, "elapsed_s"),
    )


def _read_fact(ref: FrameRef, header: Header, _payload: memoryview, _t: int) -> Fact:
    return Fact(ref, tree(header, "data"))


def _read_alive(_ref: FrameRef, header: Header, _payload: memoryview, _t: int) -> Alive:
    return read_alive(header)


_READERS: dict[str, Callable[[FrameRef, Header, memoryview, int], Decoded]] = {
    "frame": _read_frame,
    "gap": _read_gap,
    "labels": _read_labels,
    "cells": _read_cells,
    "tracks": _read_tracks,
    "events": _read_events,
    "fact": _read_fact,
    "alive": _read_alive,
}
