"""What is sent is what is read; what is not ours is refused with a sentence that says why."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.cells import make_cells
from stream.errors import Malformed, UnknownSchema
from stream.event import Event
from stream.frame import Frame, FrameRef, Gap, Index, Stamps
from stream.lineage import Tracks
from stream.wire import codec
from stream.wire.messages import Alive, CellsOf, Denoised, EventsOf, Fact, Labels, Message, TracksOf

REF = FrameRef("run", "cam", "s1", 2, 7, "cam:p0", 9)
STAMPS = Stamps(1, "core", 2, 3, 0, 5, "host", (("segment", 10, 20),))
names = st.text(max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
count = st.integers(0, 1 << 40)


def frame(**changed: Any) -> Frame:
    given: dict[str, Any] = {"pixels": np.arange(12, dtype=np.uint16).reshape(3, 4), "exposure_ms": 3.5}
    return Frame("run", "cam", "s1", 2, 7, "cam:p0", 9, **(given | changed))


def changed(message: Message, payload: bytes | None = None, **keys: Any) -> tuple[bytes, bytes, Any]:
    topic, header, sent = message.parts()
    packed: bytes = msgpack.packb(msgpack.unpackb(header) | keys)
    return topic, packed, sent if payload is None else payload


def same_frame(a: Frame, b: Frame) -> bool:
    skip = ("pixels", "metadata", "stamps")
    plain = all(getattr(a, name) == getattr(b, name) for name in Frame.__slots__ if name not in skip)
    return plain and a.pixels.dtype == b.pixels.dtype and np.array_equal(a.pixels, b.pixels)


@settings(max_examples=60, deadline=None)
@given(
    camera=names, field=names, channel=names, seq=count, number=st.integers(-5, 1 << 40),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), dtype=st.sampled_from([np.uint8, np.uint16]),
    index=st.builds(Index, count, count, count, count, count), stage=st.tuples(finite, finite, finite),
    exposure=finite, commands=st.lists(names, max_size=3).map(tuple), stamps=st.tuples(count, count, count),
    metadata=st.dictionaries(names, st.recursive(st.none() | st.booleans() | finite | names, st.lists, max_leaves=5)),
)  # fmt: skip
def test_a_frame_arrives_as_it_was(
    camera, field, channel, seq, number, shape, dtype, index, stage, exposure, commands, stamps, metadata
) -> None:
    pixels = np.arange(shape[0] * shape[1], dtype=dtype).reshape(shape)
    sent = Frame(
        "run", camera, "s", 1, seq, field, number, pixels, index, exposure_ms=exposure, stage_um=stage,
        channel=channel, commands=commands, metadata=metadata, stamps=Stamps(*stamps[:1], "camera", *stamps[1:]),
    )  # fmt: skip
    got = codec.decode(codec.encode_frame(sent).parts(), t_receive_ns=77)
    assert isinstance(got, Frame)
    assert same_frame(got, sent)
    assert got.metadata == metadata
    assert got.stamps.t_receive_ns == 77
    assert got.stamps.t_pop_ns == stamps[1]


def test_pixels_are_views_on_both_sides_and_read_only() -> None:
    sent = frame()
    message = codec.encode_frame(sent)
    received = zmq.Frame(bytes(message.payload))
    got = codec.decode((message.topic.encode(), message.header, received))
    assert isinstance(got, Frame)
    assert np.shares_memory(np.frombuffer(message.payload, np.uint16), sent.pixels)
    assert np.shares_memory(got.pixels, np.frombuffer(received.buffer, np.uint16))
    assert not got.pixels.flags.writeable


def test_publishing_is_stamped_once() -> None:
    first = codec.decode(codec.encode_frame(frame()).parts())
    kept = codec.decode(codec.encode_frame(frame(stamps=STAMPS)).parts())
    assert isinstance(first, Frame)
    assert isinstance(kept, Frame)
    assert first.stamps.t_publish_ns > 0
    assert kept.stamps == STAMPS


def test_metadata_of_any_kind_travels() -> None:
    odd = {
        "n": np.float32(1.5),
        "a": np.arange(3),
        "t": (1, {2: object}),
        "big": 1 << 80,
        "nan": float("nan"),
        "r": REF,
    }
    got = codec.decode(codec.encode_frame(frame(metadata=odd)).parts())
    assert isinstance(got, Frame)
    assert got.metadata["n"] == 1.5
    assert got.metadata["a"] == [0, 1, 2]
    assert got.metadata["t"] == [1, {"2": str(object)}]
    assert got.metadata["big"] == str(1 << 80)
    assert got.metadata["r"]["camera"] == "cam"
    assert np.isnan(got.metadata["nan"])


def test_numpy_numbers_of_a_driver_travel() -> None:
    sent = frame(exposure_ms=np.float32(2.5), binning=np.int64(2), stage_um=tuple(np.zeros(3, np.float32)))
    got = codec.decode(codec.encode_frame(sent).parts())
    assert isinstance(got, Frame)
    assert (got.exposure_ms, got.binning, got.stage_um) == (2.5, 2, (0.0, 0.0, 0.0))


@pytest.mark.parametrize("largest", [3, 1 << 15, (1 << 16) - 1, 1 << 16, (1 << 31) - 1])
def test_labels_of_any_size_travel(largest: int) -> None:
    labels = np.array([[0, 1, largest]], np.int32)
    got = codec.decode(codec.encode_labels(REF, labels, STAMPS).parts())
    assert isinstance(got, Labels)
    assert got.labels.dtype == np.int32
    assert np.array_equal(got.labels, labels)
    assert not got.labels.flags.writeable
    assert (got.ref, got.stamps) == (REF, STAMPS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_denoised_pixels_travel(dtype: Any) -> None:
    pixels = np.arange(12, dtype=dtype).reshape(3, 4)
    got = codec.decode(codec.encode_denoised(REF, pixels, STAMPS).parts())
    assert isinstance(got, Denoised)
    assert got.pixels.dtype == dtype
    assert np.array_equal(got.pixels, pixels)
    assert not got.pixels.flags.writeable
    assert (got.ref, got.stamps) == (REF, STAMPS)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_cells_travel(n: int) -> None:
    random = np.random.default_rng(n)
    cells = make_cells(
        np.arange(1, n + 1, dtype=np.int32), random.random((n, 2), np.float32),
        random.integers(0, 99, (n, 4), dtype=np.int32), random.random(n, np.float32), random.random((n, 2), np.float32),
    )  # fmt: skip
    got = codec.decode(codec.encode_cells(REF, cells, STAMPS).parts())
    assert isinstance(got, CellsOf)
    for name in type(cells).__dataclass_fields__:
        ours, theirs = getattr(cells, name), getattr(got.cells, name)
        assert ours.dtype == theirs.dtype
        assert theirs.flags.aligned
        np.testing.assert_array_equal(ours, theirs)


def tracks(n: int) -> Tracks:
    ids = np.arange(1, n + 1, dtype=np.int64)
    xy = np.full((n, 2), np.nan)
    return Tracks(ids, ids * 0, ids, ids, np.zeros(n, np.int8), ids.astype(np.int32), xy, xy.copy())


@pytest.mark.parametrize("n", [0, 1, 7])
def test_tracks_travel(n: int) -> None:
    got = codec.decode(codec.encode_tracks(REF, tracks(n)).parts())
    assert isinstance(got, TracksOf)
    for name in Tracks.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(tracks(n), name), getattr(got.tracks, name))


EVENT = Event(
    "division", "cam:p0/f9/division/4", 1, "confirmed", "cam:p0", 9, 10, 0.75, 4, (5, 6), (1.5, 2.0),
    ((1.0, 2.0), (3.0, 4.0)), "", (8.0, 9.0), 12, REF, 1.25,
)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (codec.encode_events(REF, [EVENT], STAMPS), EventsOf(REF, (EVENT,), STAMPS)),
        (codec.encode_events(REF, []), EventsOf(REF, ())),
        (codec.encode_gap(Gap("cam", "cam:p0", "s1", 2, 7, 3, "overflow", "why"), run="run"),
         Gap("cam", "cam:p0", "s1", 2, 7, 3, "overflow", "why")),
        (codec.encode_fact({"fact": "plan", "fps": 3}, REF), Fact(REF, {"fact": "plan", "fps": 3})),
        (codec.encode_alive(Alive("an", REF, 3)), Alive("an", REF, 3)),
        (codec.encode_alive(Alive("an", None, 0)), Alive("an", None, 0)),
    ],
    ids=["events", "no events", "gap", "fact", "alive", "alive before any frame"],
)  # fmt: skip
def test_small_messages_travel(message: Message, expected: object) -> None:
    assert codec.decode(message.parts()) == expected


def test_a_later_minor_with_more_keys_is_read() -> None:
    got = codec.decode(changed(codec.encode_frame(frame()), schema="1.9", novelty={"a": 1}))
    assert isinstance(got, Frame)
    assert same_frame(got, frame())


FRAME = codec.encode_frame(frame())
HUGE = 1 << 62
BAD_FRAMES: dict[str, tuple[tuple[Any, ...], str]] = {
    "two parts": (FRAME.parts()[:2], "3 parts"),
    "no parts": ((), "3 parts"),
    "torn header": ((FRAME.parts()[0], FRAME.header[:-3], FRAME.payload), "no msgpack"),
    "empty header": ((FRAME.parts()[0], b"", FRAME.payload), "no msgpack"),
    "text for header": ((FRAME.parts()[0], b"GET / HTTP/1.1", FRAME.payload), "no msgpack|not a map"),
    "a list for header": ((FRAME.parts()[0], msgpack.packb([1]), FRAME.payload), "not a map"),
    "keys that are no names": ((FRAME.parts()[0], msgpack.packb({b"k": 1}), FRAME.payload), "not a map"),
    "deep header": ((FRAME.parts()[0], b"\x91" * 5000, FRAME.payload), "no msgpack"),
    "torn payload": ((FRAME.parts()[0], FRAME.header, bytes(FRAME.payload)[:-1]), "24 bytes, the payload has 23"),
    "flipped bit": (changed(FRAME, payload=bytes(24)), "xxh3"),
    "foreign topic": ((b"frame/other", FRAME.header, FRAME.payload), "topic"),
    "topic that is no text": ((b"\xff\xfe", FRAME.header, FRAME.payload), "topic"),
    "kind": (changed(FRAME, kind="pickle"), "unknown"),
    "no schema": (changed(FRAME, schema=None), "schema"),
    "wrong dtype": (changed(FRAME, dtype="<f8"), "cannot be"),
    "object dtype": (changed(FRAME, dtype="|O"), "cannot be"),
    "shape of three": (changed(FRAME, shape=[3, 2, 2]), "shape"),
    "negative shape": (changed(FRAME, shape=[-3, -4]), "cannot be"),
    "huge shape": (changed(FRAME, shape=[HUGE, HUGE]), "the payload has"),
    "other shape of equal size": (changed(FRAME, shape=[4, 3]), "roi_px"),
    "shape of floats": (changed(FRAME, shape=[3.0, 4.0]), "shape"),
    "encoding": (changed(FRAME, encoding="zip"), "encoding"),
    "seq of text": (changed(FRAME, seq="7"), "seq"),
    "seq true": (changed(FRAME, seq=True), "seq"),
    "NaN exposure": (changed(FRAME, exposure_ms=float("nan")), "exposure_ms is nan, not a finite number"),
    "infinite stage": (changed(FRAME, stage_um=[0.0, float("inf"), 0.0]), "stage_um is inf"),
    "NaN affine": (changed(FRAME, affine_um=[1.0, 0.0, 0.0, float("nan")]), "affine_um is nan"),
    "stamps of nothing": (changed(FRAME, stamps={}), "camera_source"),
    "torn stages": (changed(FRAME, stamps=msgpack.unpackb(FRAME.header)["stamps"] | {"stages": [["a"]]}), "stages"),
    "metadata list": (changed(FRAME, metadata=[1]), "metadata"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_what_cannot_be_a_frame_is_refused(case: str) -> None:
    parts, why = BAD_FRAMES[case]
    with pytest.raises(Malformed, match=why):
        codec.decode(parts)


def test_another_major_is_refused_as_such() -> None:
    with pytest.raises(UnknownSchema, match=r"'2\.0'.*same cytoloop version"):
        codec.decode(changed(FRAME, schema="2.0"))


CELLS = codec.encode_cells(REF, make_cells(*(np.ones((2, *more), dtype) for more, dtype in (
    ((), np.int32), ((2,), np.float32), ((4,), np.int32), ((), np.float32), ((1,), np.float32)
))))  # fmt: skip
COLUMNS = msgpack.unpackb(CELLS.header)["columns"]


def with_columns(columns: list[Any]) -> tuple[bytes, bytes, Any]:
    return changed(CELLS, columns=columns)


BAD_TABLES: dict[str, tuple[tuple[Any, ...], str]] = {
    "torn": (changed(CELLS, payload=bytes(CELLS.payload)[:-8]), "xxh3"),
    "a column less": (with_columns(COLUMNS[1:]), "lacks"),
    "more rows than bytes": (with_columns([COLUMNS[0] | {"shape": [HUGE]}, *COLUMNS[1:]]), "does not fit"),
    "negative rows": (with_columns([COLUMNS[0] | {"shape": [-2]}, *COLUMNS[1:]]), "no table"),
    "uneven rows": (with_columns([COLUMNS[0] | {"shape": [1]}, *COLUMNS[1:]]), "rows|too many"),
    "object column": (with_columns([COLUMNS[0] | {"dtype": "|O"}, *COLUMNS[1:]]), "no table"),
    "no columns": (with_columns([]), "lacks"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_what_cannot_be_a_table_is_refused(case: str) -> None:
    parts, why = BAD_TABLES[case]
    with pytest.raises(Malformed, match=why):
        codec.decode(parts)


BAD_EVENTS = {
    "kind": "party",
    "status": "maybe",
    "confidence": float("nan"),
    "daughter_ids": [1.5],
    "parent_yx_px": [1],
}


@pytest.mark.parametrize("key", BAD_EVENTS)
def test_what_cannot_be_an_event_is_refused(key: str) -> None:
    message = codec.encode_events(REF, [EVENT])
    said = msgpack.unpackb(message.header)["events"][0]
    with pytest.raises(Malformed):
        codec.decode(changed(message, events=[said | {key: BAD_EVENTS[key]}]))


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.binary(max_size=40), min_size=3, max_size=3))
def test_no_foreign_bytes_crash_the_reader(parts: list[bytes]) -> None:
    with pytest.raises((Malformed, UnknownSchema)):
        codec.decode(parts)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(FRAME.header) - 1), byte=st.integers(0, 255))
def test_no_flipped_header_byte_crashes_the_reader(at: int, byte: int) -> None:
    header = bytearray(FRAME.header)
    header[at] = byte
    try:
        got = codec.decode((FRAME.parts()[0], bytes(header), FRAME.payload))
    except (Malformed, UnknownSchema):
        return
    assert isinstance(got, (Frame, Gap))
