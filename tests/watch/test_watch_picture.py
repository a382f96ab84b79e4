"""Pictures: tone, outlines and the message that carries them."""

from __future__ import annotations

import itertools
import json
import struct

import cv2
import numpy as np
import pytest

from stream.frame import Frame
from stream.lineage import Tracks
from stream.watch.fields import Shown
from stream.watch.picture import MAX_SIDE_PX, PALETTE, Encoder, ToneMap, outline_png, stretch, strip_jpeg


def shown(height: int, width: int, with_labels: bool = True) -> Shown:
    pixels = np.random.default_rng(0).integers(200, 1200, (height, width)).astype(np.uint16)
    frame = Frame("run", "Camera", "s", 1, 3, "Camera:p0", 3, pixels, affine_um=((0.5, 0), (0, 0.5)))
    if not with_labels:
        return Shown((1, False), frame, None, None, 4, ())
    labels = np.zeros((height, width), np.int32)
    labels[20:40, 30:60] = 70_001
    um = frame.to_stage_um(np.array([[29.5, 44.5], [5.0, 5.0]]))
    whole = np.array([70_001, 70_002], np.int64)
    zero = np.zeros(2, np.int64)
    label = np.array([70_001, 0], np.int32)
    tracks = Tracks(whole, zero, zero, zero, np.zeros(2, np.int8), label, um, np.zeros((2, 2)))
    return Shown((1, True), frame, labels, tracks, 0, ())


def opened(packet: bytes) -> tuple[dict[str, object], bytes, bytes, np.ndarray]:
    (length,) = struct.unpack_from("<I", packet)
    header = json.loads(packet[4 : 4 + length])
    ends = np.cumsum([4 + length, *header["parts"]])
    assert ends[-1] == len(packet)
    image, outline, cells = (packet[a:b] for a, b in itertools.pairwise(ends))
    return header, image, outline, np.frombuffer(cells, "<i4").reshape(-1, 3)


def test_packet_holds_image_outline_and_cells() -> None:
    header, image, outline, cells = opened(Encoder().encode(shown(101, 97), 5, 0))
    assert (header["serial"], header["frame"], header["size"], header["decided"]) == (5, 3, [97, 101], True)
    assert header["pixel_um"] == 0.5
    assert cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED).shape == (101, 97)
    assert cv2.imdecode(np.frombuffer(outline, np.uint8), cv2.IMREAD_UNCHANGED).shape[:2] == (101, 97)
    assert cells.tolist() in ([[70_001, 44, 30]], [[70_001, 45, 30]], [[70_001, 44, 29]], [[70_001, 45, 29]])


def test_raw_packet_says_so() -> None:
    header, _, outline, cells = opened(Encoder().encode(shown(50, 50, with_labels=False), 1, 0))
    assert (header["decided"], header["behind"], outline, len(cells)) == (False, 4, b"", 0)


def test_large_images_shrink_but_keep_their_coordinates() -> None:
    header, image, outline, cells = opened(Encoder().encode(shown(600, MAX_SIDE_PX + 100), 1, 0))
    assert header["size"] == [MAX_SIDE_PX + 100, 600]
    for data in (image, outline):
        assert max(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape) == (MAX_SIDE_PX + 100) // 2
    assert len(cells) == 1


@pytest.mark.parametrize(("height", "width"), [(40, 40), (40, 41), (1, 1), (7, 300)])
def test_outline_is_the_rim_of_each_cell_in_its_colour(height: int, width: int) -> None:
    labels = np.zeros((height, width), np.int32)
    labels[5:15, 5:15] = 9
    labels[5:15, 15:25] = 10
    picture = cv2.imdecode(np.frombuffer(outline_png(labels), np.uint8), cv2.IMREAD_UNCHANGED)
    eroded = {label: cv2.erode((labels == label).astype(np.uint8), np.ones((3, 3)), borderValue=1) for label in (9, 10)}
    expected = np.zeros((height, width, 4), np.uint8)
    for label, inside in eroded.items():
        red, green, blue = bytes.fromhex(PALETTE[label % len(PALETTE)][1:])
        expected[(labels == label) & (inside == 0)] = (blue, green, red, 255)
    assert np.array_equal(picture, expected)


def test_stretch_is_monotonic_and_saturates() -> None:
    counts = np.array([[0, 100, 200, 300, 65535]], np.uint16)
    assert stretch(counts, 100, 300).tolist() == [[0, 0, 128, 255, 255]]


def test_tone_follows_slowly_then_arrives() -> None:
    tone = ToneMap()
    dark = np.tile(np.arange(100, 200, dtype=np.uint16), (50, 1))
    bright = dark + 1000
    first = tone(dark, 0)
    soon = tone(bright, 50_000_000)
    later = tone(bright, 60_000_000_000)
    assert soon.min() == 255
    assert np.array_equal(later, first)


def test_flat_image_is_no_error() -> None:
    assert ToneMap()(np.zeros((4, 4), np.uint8), 0).max() == 0


def test_event_strip_stands_side_by_side() -> None:
    crops = (np.full((72, 72), 5, np.uint16), np.full((60, 72), 9, np.uint16))
    assert cv2.imdecode(np.frombuffer(strip_jpeg(crops), np.uint8), cv2.IMREAD_UNCHANGED).shape == (60, 144)
