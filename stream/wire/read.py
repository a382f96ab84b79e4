"""Reads messages with suspicion: what cannot be true is refused with a sentence that says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from stream.cells import Cells
from stream.errors import FrameError, Malformed
from stream.event import KINDS, STATUSES, Event
from stream.frame import Frame, FrameRef, Gap, Index, Stamps
from stream.lineage import Tracks
from stream.wire.header import (
    Header,
    finite,
    finites,
    item_point,
    item_text,
    item_tree,
    item_whole,
    listed,
    text,
    tree,
    unpack,
    whole,
    wholes,
)
from stream.wire.messages import (
    Alive,
    CellsOf,
    Decoded,
    Denoised,
    EventsOf,
    Fact,
    Labels,
    TracksOf,
)
from stream.wire.tables import unpack_table

Part = Any
"""One part of a multipart message: bytes, memoryview or ``zmq.Frame``."""

_IDENTITY = tuple(column.name for column in dataclasses.fields(FrameRef))


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


def read_alive(header: Header) -> Alive:
    """Read the keys of a sign of life. Raises Malformed."""
    last = None if header.get("last_decided") is None else _ref(tree(header, "last_decided"))
    return Alive(text(header, "node"), last, whole(header, "pending", 0))


def _buffer(part: Part) -> memoryview:
    data = part.buffer if hasattr(part, "buffer") else memoryview(part)
    return data.toreadonly()


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


def _read_denoised(ref: FrameRef, header: Header, payload: memoryview, t_receive_ns: int) -> Denoised:
    return Denoised(ref, _read_image(header, payload, ("|u1", "<u2")), _read_stamps(header, t_receive_ns))


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
    "denoised": _read_denoised,
    "cells": _read_cells,
    "tracks": _read_tracks,
    "events": _read_events,
    "fact": _read_fact,
    "alive": _read_alive,
}
