"""What is kept of many fields: all that is small, and the pictures that a budget has room for."""

from __future__ import annotations

import numpy as np
import pytest

from stream.frame import Frame, Index
from stream.watch import fields as module
from stream.watch.bounded import Bounded
from stream.watch.fields import Fields, Shown

SIDE = 64
LABELS = np.zeros((SIDE, SIDE), np.int32)


def a_frame(number: int, field: int = 0, z: int = 0) -> Frame:
    pixels = np.full((SIDE, SIDE), z, np.uint16)
    return Frame("run", "Camera", "s", 1, number, f"Camera:p{field}", number, pixels, Index(z=z))


def decide(fields: Fields, frame: Frame) -> None:
    fields.frame(frame, 0)
    fields.labels(frame.field, frame.frame, LABELS)


def shown(fields: Fields, field: int = 0) -> Shown | None:
    return fields.shown(f"Camera:p{field}", False, 0)


def test_a_plan_of_many_tiles_keeps_all_of_them_though_labels_come_late() -> None:
    fields = Fields()
    tiles = [a_frame(number, tile) for number in range(5) for tile in range(96)]
    for frame, before in zip(tiles, [None, *tiles], strict=False):
        fields.frame(frame, 0)
        if before is not None:
            fields.labels(before.field, before.frame, LABELS)
    assert [field.name for field in fields] == [f"Camera:p{tile}" for tile in range(96)]
    assert {(field.count, field.behind) for field in fields} == {(5, 0), (5, 1)}
    assert all(shown(fields, tile) for tile in range(96))


def test_the_field_that_was_used_longest_ago_is_forgotten_and_the_others_stay_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIELDS", 3)
    fields = Fields()
    for field in (0, 1, 2):
        decide(fields, a_frame(0, field))
    assert shown(fields, 0), "somebody looks at it"
    decide(fields, a_frame(0, 3))
    assert [field.name for field in fields] == ["Camera:p0", "Camera:p2", "Camera:p3"]


def test_labels_of_a_forgotten_field_find_no_frame_that_was_counted_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIELDS", 3)
    fields = Fields()
    for number in range(30):
        decide(fields, a_frame(number))
    fields.frame(a_frame(30), 0)
    for field in (1, 2, 3):
        fields.frame(a_frame(0, field), 0)
    fields.labels("Camera:p0", 30, LABELS)
    for number in range(31, 34):
        decide(fields, a_frame(number))
    field = fields.get("Camera:p0")
    assert field is not None
    assert (field.decided, field.behind) == (33, 0)


def test_pictures_share_a_budget_and_what_is_small_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    one = a_frame(0).pixels.nbytes + LABELS.nbytes
    monkeypatch.setattr(module, "PICTURE_BYTES", 3 * one)
    fields = Fields()
    for number in range(4):
        for field in (0, 1, 2, 3):
            decide(fields, a_frame(number, field))
            shown(fields, 0)
    assert [bool(shown(fields, field)) for field in (0, 1, 2, 3)] == [True, False, True, True]
    assert {(field.count, field.decided, field.behind) for field in fields} == {(4, 3, 0)}
    decide(fields, a_frame(4, 1))
    back = shown(fields, 1)
    assert back is not None
    assert (back.frame.frame, back.labels is LABELS, back.behind) == (4, True, 0)


def test_raw_frames_share_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    size = a_frame(0).pixels.nbytes
    monkeypatch.setattr(module, "RAW_BYTES", 3 * size)
    fields = Fields()
    for number in range(20):
        fields.frame(a_frame(number, number % 4), 0)
    assert [bool(fields.raw(f"Camera:p{number % 4}", number)) for number in range(15, 20)] == [False] * 2 + [True] * 3
    assert fields._raw.nbytes == 3 * size


@pytest.mark.parametrize(("plane", "expected"), [(None, 1), (1, 1), (3, 3)])
def test_the_plane_that_is_segmented_is_shown_or_the_first_one_where_all_are(plane: int | None, expected: int) -> None:
    fields = Fields(plane=plane)
    for z in (1, 2, 3):
        fields.frame(a_frame(7, z=z), 0)
    fields.labels("Camera:p0", 7, LABELS)
    under = shown(fields)
    assert under is not None
    assert (under.frame.index.z, under.labels is LABELS) == (expected, True)


def test_a_size_that_changes_counts_anew_and_too_large_a_thing_stays_alone() -> None:
    kept = Bounded[str, str](10)
    for name, nbytes in (("a", 4), ("a", 6), ("b", 4)):
        kept.put(name, name, nbytes)
    assert (list(kept), kept.nbytes) == (["a", "b"], 10)
    kept.touch("a")
    kept.put("c", "c", 4)
    assert (list(kept), kept.get("b"), kept.nbytes) == (["a", "c"], None, 10)
    kept.put("d", "d", 99)
    assert (list(kept), kept.nbytes) == (["d"], 99)
    kept.drop("d")
    kept.drop("d")
    assert (list(kept), kept.nbytes) == ([], 0)
