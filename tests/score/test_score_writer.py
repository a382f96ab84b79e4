"""Result folders: labels, gaps, parents, the limit of 16 bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stream.cells import Segmentation, make_cells
from stream.errors import StoreError
from stream.event import Event, event_id
from stream.lineage import Tracks
from stream.score.ctc_writer import ResultWriter


def segmentation(*labels: int) -> Segmentation:
    image = np.zeros((4, 4 * max(1, len(labels))), np.int32)
    for i, label in enumerate(labels):
        image[1:3, 4 * i + 1 : 4 * i + 3] = label
    n = len(labels)
    cells = make_cells(
        np.array(sorted(labels), np.int32), np.zeros((n, 2), np.float32), np.zeros((n, 4), np.int32),
        np.ones(n, np.float32), np.zeros((n, 1), np.float32),
    )  # fmt: skip
    return Segmentation(image, cells)


def tracks(**parents: int) -> Tracks:
    ids = sorted(int(name[1:]) for name in parents)
    n = len(ids)
    zeros = np.zeros(n, np.int64)
    return Tracks(
        np.array(ids, np.int64), np.array([parents[f"t{i}"] for i in ids], np.int64), zeros, zeros,
        np.zeros(n, np.int8), np.zeros(n, np.int32), np.zeros((n, 2)), np.zeros((n, 2)),
    )  # fmt: skip


def division(status: str, frame: int, parent: int, *daughters: int, revision: int = 0) -> Event:
    return Event(
        "division", event_id("f", frame, "division", parent), revision, status, "f", frame, frame + revision, 0.5,  # type: ignore[arg-type]
        parent, daughters, (0.0, 0.0), ((0.0, 0.0),) * len(daughters),
    )  # fmt: skip


def write(folder: Path, frames: dict[int, list[int]], known: Tracks, events: dict[int, list[Event]]) -> ResultWriter:
    writer = ResultWriter(folder)
    for frame, labels in frames.items():
        writer.decided(frame, segmentation(*labels), known, events.get(frame, []))
    writer.close()
    return writer


FAMILY = {0: [1, 9], 1: [1, 9], 2: [2, 3, 9], 3: [2, 3, 9]}
KNOWN = tracks(t1=0, t2=1, t3=1, t9=0)
CASES = {
    "no event: as the tracker says": ([], [(1, 0, 1, 0), (2, 2, 3, 1), (3, 2, 3, 1), (9, 0, 3, 0)]),
    "confirmed": (["confirmed"], [(1, 0, 1, 0), (2, 2, 3, 1), (3, 2, 3, 1), (9, 0, 3, 0)]),
    "retracted: the first-listed daughter goes on": (
        ["retracted"],
        [(1, 0, 1, 0), (2, 2, 3, 0), (3, 2, 3, 1), (9, 0, 3, 0)],
    ),
}


@pytest.mark.parametrize(("last", "rows"), CASES.values(), ids=CASES.keys())
def test_parents(tmp_path: Path, last: list[str], rows: list[tuple[int, ...]]) -> None:
    events = {2: [division("provisional", 2, 1, 3, 2)], 3: [division(s, 2, 1, 3, 2, revision=1) for s in last]}
    write(tmp_path, FAMILY, KNOWN, events if last else {})
    lines = (tmp_path / "res_track.txt").read_text().splitlines()
    assert [tuple(map(int, line.split())) for line in lines] == rows


def test_a_track_seen_again_goes_on_under_a_new_label(tmp_path: Path) -> None:
    frames = {150: [1], 151: [], 152: [1], 154: [1], 155: [2, 3]}
    write(tmp_path, frames, tracks(t1=0, t2=1, t3=1), {155: [division("provisional", 155, 1, 2, 3)]})
    assert (
        tmp_path / "res_track.txt"
    ).read_text() == "1 150 150 0\n2 155 155 65535\n3 155 155 65535\n65535 152 154 1\n"
    assert [int(tifffile.imread(tmp_path / f"mask{f}.tif").max()) for f in frames] == [1, 0, 65535, 65535, 3]
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert (event["parent_id"], event["daughter_ids"]) == (65535, [2, 3])
    assert event["event_id"] == "f/f155/division/65535"


def test_a_parent_that_goes_on_is_none(tmp_path: Path) -> None:
    writer = write(tmp_path, {0: [1], 1: [1, 2]}, tracks(t1=0, t2=1), {})
    assert writer.rows() == [(1, 0, 1, 0), (2, 1, 1, 0)]


def test_more_tracks_than_16_bits_hold(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    writer.decided(0, segmentation(65535), tracks(), [])
    with pytest.raises(StoreError, match="more than 65535 tracks"):
        writer.decided(1, segmentation(65536), tracks(), [])
    writer.close()
    crowded = ResultWriter(tmp_path)
    for frame, labels in enumerate([[65535], [], []]):
        crowded.decided(frame, segmentation(*labels), tracks(), [])
    with pytest.raises(StoreError, match="frame 3: more than 65535 tracks"):
        crowded.decided(3, segmentation(65535), tracks(), [])
    crowded.close()


def test_an_earlier_result_is_replaced_and_names_keep_their_digits(tmp_path: Path) -> None:
    (tmp_path / "mask007.tif").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    writer = ResultWriter(tmp_path, digits=5)
    writer.decided(12, segmentation(1), tracks(t1=0), [])
    writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.jsonl",
        "mask00012.tif",
        "notes.txt",
        "res_track.txt",
    ]
    mask = tifffile.imread(tmp_path / "mask00012.tif")
    assert (mask.dtype, mask.shape) == (np.uint16, (4, 4))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write results"):
        ResultWriter(tmp_path / "file" / "res")
