"""Result folders: labels, gaps, parents, beyond 16 bits, a disk that refuses, and going on with what was left."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stream.cells import Segmentation, make_cells
from stream.clock import FakeClock
from stream.errors import StoreError
from stream.event import Event, event_id
from stream.facts.eventlog import EventLog
from stream.lineage import Tracks
from stream.score.ctc_writer import ResultWriter
from stream.score.track_labels import MOST_TRACKS
from tests.cases.family import Shown, movie


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


def own(track_id: int) -> int:
    """Return the label that a track begins with beyond 16 bits."""
    return 65536 + 2 * track_id


def test_masks_become_wider_with_the_first_label_that_16_bits_do_not_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = {0: [65534], 1: [1], 2: [65534], 3: [], 4: [65534, 65535, 65536], 5: [1], 6: []}
    with caplog.at_level(logging.WARNING):
        writer = write(tmp_path, frames, tracks(), {})
    assert writer.rows() == [
        (1, 1, 1, 0), (65534, 0, 0, 0), (65535, 2, 2, 65534), (65537, 4, 4, 65535), (65539, 5, 5, 1),
        (own(65535), 4, 4, 0), (own(65536), 4, 4, 0),
    ]  # fmt: skip
    masks = [tifffile.imread(tmp_path / f"mask00{frame}.tif") for frame in frames]
    assert [str(mask.dtype) for mask in masks] == ["uint16"] * 4 + ["uint32"] * 3
    assert np.unique(masks[4]).tolist() == [0, 65537, own(65535), own(65536)]
    (warning,) = caplog.messages
    assert "masks have 32 from frame 4 on" in warning


def test_more_tracks_than_masks_can_name_are_refused_and_change_nothing(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    writer.decided(0, segmentation(1), tracks(), [])
    with pytest.raises(StoreError, match=f"frame 1: masks name {MOST_TRACKS} tracks at most"):
        writer.decided(1, segmentation(1, 2, MOST_TRACKS + 1), tracks(), [])
    writer.decided(2, segmentation(1), tracks(), [])
    writer.close()
    assert writer.rows() == [(1, 0, 2, 0)]


CROWD = 65525
MET = {
    0: range(1, CROWD + 1), 1: [1, 2, 3], 2: [1, 2, 3, 4, 5], 3: [1, 65526], 4: [1, 2, 3, 65526],
    5: [*range(65527, 65534)], 6: [1, 2, 3], 7: [1, 65533, 70000], 8: [2, 3, 70000], 9: [2, 70001, 70002],
    10: [70001, 70002],
}  # fmt: skip
"""Ids and the labels of tracks that are seen again meet at 65532; there are many frames of few, after one of many."""
ROWS_MET = [
    (65526, 3, 4, 0), (65527, 5, 5, 0), (65528, 5, 5, 0), (65529, 5, 5, 0), (65530, 5, 5, 0), (65531, 5, 5, 0),
    (65532, 4, 4, 3), (65533, 4, 4, 2), (65534, 2, 2, 5), (65535, 2, 2, 4),
    (65537, 6, 7, 1), (65539, 6, 6, 65533), (65541, 6, 6, 65532), (65543, 7, 7, own(65533)), (65545, 8, 9, 65539),
    (65547, 8, 8, 65541), (own(65532), 5, 5, 0), (own(65533), 5, 5, 0), (own(70000), 7, 8, 0),
    (own(70001), 9, 10, own(70000)), (own(70002), 9, 10, own(70000)),
]  # fmt: skip
SAID = {
    9: division("provisional", 9, 70000, 70001, 70002),
    10: division("confirmed", 9, 70000, 70001, 70002, revision=1),
}
crowd = cache(segmentation)


def write_met(writer: ResultWriter, frames: Sequence[int], clock: FakeClock, step_ms: float) -> None:
    for frame in frames:
        clock.advance_ms(step_ms)
        writer.decided(frame, crowd(*MET[frame]), tracks(), [SAID[frame]] if frame in SAID else [])


STEPS_MS = pytest.mark.parametrize(
    "step_ms", [10, 6000], ids=["tracks older than the masks", "tracks of the last mask"], scope="module"
)


@pytest.fixture(scope="module")
def met(step_ms: float, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the crowd's whole movie into ``whole``; what is there before each frame, as after a kill, into ``0`` …"""
    folder, clock = tmp_path_factory.mktemp("met"), FakeClock()
    whole = folder / "whole"
    writer = ResultWriter(whole, clock=clock)
    for frame in MET:
        shutil.copytree(whole, folder / str(frame))
        write_met(writer, [frame], clock, step_ms)
    writer.close()
    assert [row for row in writer.rows() if row[0] > CROWD] == ROWS_MET
    return folder


@STEPS_MS
@pytest.mark.parametrize("cut", [1, 5, 6, 8])
def test_a_writer_that_is_killed_where_ids_meet_spares_is_gone_on_with(met: Path, cut: int, step_ms: float) -> None:
    killed, clock = met / str(cut), FakeClock()
    clock.advance_ms(step_ms * len(MET))
    again = ResultWriter(killed, clock=clock)
    again.take_up([event for frame, event in SAID.items() if frame < cut])
    write_met(again, [*MET][cut:], clock, step_ms)
    again.close()
    assert contents(killed) == contents(met / "whole")


def test_where_no_track_was_seen_again_no_hole_in_the_ids_makes_spares(tmp_path: Path) -> None:
    write(tmp_path, {0: [*range(1, 300), *range(400, 65536)]}, tracks(), {})
    again = ResultWriter(tmp_path)
    again.take_up([])
    again.decided(1, segmentation(65535, 65536), tracks(), [])
    again.close()
    assert again.last_track_id == 65536
    assert again.rows()[-2:] == [(65535, 0, 1, 0), (own(65536), 1, 1, 0)]


def refusing(monkeypatch: pytest.MonkeyPatch, *frames: int) -> None:
    """Have the disk refuse the masks of these frames."""
    real: Callable[..., None] = tifffile.imwrite

    def imwrite(path: Path, *args: object, **form: object) -> None:
        if any(path.name.startswith(f"mask{frame:03d}") for frame in frames):
            raise OSError(28, "No space left on device")
        real(path, *args, **form)

    monkeypatch.setattr(tifffile, "imwrite", imwrite)


def test_what_is_said_with_a_mask_that_is_refused_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, 3)
    writer = ResultWriter(tmp_path)
    said = {2: [division("provisional", 2, 1, 3, 2)], 3: [division("retracted", 2, 1, 3, 2, revision=1)]}
    for frame, labels in {**FAMILY, 4: [2, 3, 9]}.items():
        shown = frame, segmentation(*labels), KNOWN, said.get(frame, [])
        if frame == 3:
            with pytest.raises(StoreError, match="No space left"):
                writer.decided(*shown)
        else:
            writer.decided(*shown)
    writer.close()
    words = [json.loads(line)["status"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert words == ["provisional", "retracted"]
    assert writer.rows() == [(1, 0, 1, 0), (2, 2, 4, 0), (3, 2, 4, 1), (9, 0, 4, 0)]


def test_a_frame_whose_mask_is_refused_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, 2)
    writer = ResultWriter(tmp_path)
    writer.decided(0, segmentation(1, 2), tracks(), [])
    writer.decided(1, segmentation(1), tracks(), [])
    with pytest.raises(StoreError):
        writer.decided(2, segmentation(1, 2, 3), tracks(), [])
    assert writer.rows() == [(1, 0, 1, 0), (2, 0, 0, 0)]
    writer.decided(3, segmentation(1, 2, 3), tracks(), [])
    writer.close()
    assert writer.rows() == [(1, 0, 3, 0), (2, 0, 0, 0), (3, 3, 3, 0), (65535, 3, 3, 2)]


def test_events_that_the_disk_refuses_are_said_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = EventLog.append, []

    def append(log: EventLog, line: str) -> None:
        if len(refused) < 2:
            refused.append(line)
            raise StoreError("disk full")
        real(log, line)

    monkeypatch.setattr(EventLog, "append", append)
    writer = ResultWriter(tmp_path)
    first = division("provisional", 2, 1, 3, 2)
    for said in ([first], [division("confirmed", 2, 1, 3, 2, revision=1)]):
        with pytest.raises(StoreError, match="disk full"):
            writer.said(said)
    writer.close()
    words = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(one["event_id"], one["revision"]) for one in words] == [(first.event_id, 0), (first.event_id, 1)]
    assert writer._mothers == {}


def test_a_label_that_no_cell_has_is_refused(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    with pytest.raises(StoreError, match="label 2 is in the image but not in the Cells table"):
        writer.decided(0, Segmentation(segmentation(1, 2).labels.copy(), segmentation(1).cells), tracks(), [])
    writer.close()
    assert writer.rows() == []


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


def write_movie(writer: ResultWriter, shown: Sequence[Shown], clock: FakeClock, step_ms: float) -> None:
    for one in shown:
        clock.advance_ms(step_ms)
        writer.decided(one.frame.frame, one.segmentation, one.tracks, one.events)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@STEPS_MS
@pytest.mark.parametrize("cut", range(len(list(movie())) + 1))
def test_a_writer_that_is_killed_after_any_frame_is_gone_on_with_as_if_it_had_lived(
    tmp_path: Path, cut: int, step_ms: float
) -> None:
    whole, killed, shown, clock = tmp_path / "whole", tmp_path / "killed", list(movie()), FakeClock()
    writer = ResultWriter(whole, clock=clock)
    write_movie(writer, shown[:cut], clock, step_ms)
    shutil.copytree(whole, killed)  # what is on disk when the process dies
    write_movie(writer, shown[cut:], clock, step_ms)
    writer.close()
    again = ResultWriter(killed, clock=clock)
    again.take_up([event for one in shown[:cut] for event in one.events])
    write_movie(again, shown[cut:], clock, step_ms)
    again.close()
    assert contents(killed) == contents(whole)
    assert any(row[0] > 60000 for row in again.rows()), "the movie has a track that is seen again"


def test_what_a_kill_tore_is_passed_over_and_everything_whole_stays(tmp_path: Path) -> None:
    first = division("provisional", 2, 1, 3, 2)
    write(tmp_path, FAMILY, KNOWN, {2: [first]})
    before = contents(tmp_path)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"schema":1,"kind":"divi')
    (tmp_path / "mask004.tif.part").write_bytes(b"II*")
    (tmp_path / "mask004.tif").write_bytes(before["mask003.tif"][:40])
    again = ResultWriter(tmp_path)
    again.take_up([first])
    again.said([division("retracted", 2, 1, 3, 2, revision=1)])
    again.decided(7, segmentation(10), tracks(t10=0), [])
    again.close()
    after = contents(tmp_path)
    assert all(after[name] == before[name] for name in before if name.startswith("mask"))
    assert after["events.jsonl"].startswith(before["events.jsonl"])
    words = [json.loads(line) for line in after["events.jsonl"].splitlines()]
    assert [(one["event_id"], one["status"]) for one in words] == [
        (first.event_id, "provisional"),
        (first.event_id, "retracted"),
    ]
    assert again.rows() == [(1, 0, 1, 0), (2, 2, 3, 0), (3, 2, 3, 1), (9, 0, 3, 0), (10, 7, 7, 0)]
    assert "mask004.tif.part" not in after


@pytest.mark.parametrize("size", range(0, 400, 13))
def test_a_mask_that_was_cut_anywhere_is_passed_over(tmp_path: Path, size: int) -> None:
    write(tmp_path, {0: [1], 1: [1]}, tracks(t1=0), {})
    noise = np.random.default_rng(0).integers(0, 3, (40, 40)).astype(np.int32)
    cells = segmentation(1, 2).cells
    torn = ResultWriter(tmp_path)
    torn.take_up([])
    torn.decided(2, Segmentation(noise, cells), tracks(t1=0, t2=0), [])
    torn._begin().close()
    whole = (tmp_path / "mask002.tif").read_bytes()
    assert size < len(whole)
    (tmp_path / "mask002.tif").write_bytes(whole[:size])
    again = ResultWriter(tmp_path)
    again.take_up([])
    again.decided(3, segmentation(3), tracks(t3=0), [])
    again.close()
    assert again.rows()[-1] == (3, 3, 3, 0)


def test_a_gap_whose_mask_was_torn_does_not_use_up_the_labels(tmp_path: Path) -> None:
    write(tmp_path, {0: [1]}, tracks(t1=0), {})
    killed = ResultWriter(tmp_path, clock=FakeClock())
    killed.take_up([])
    for frame, labels in {1: [], 2: [1], 3: [1]}.items():
        killed.decided(frame, segmentation(*labels), tracks(t1=0), [])
    killed._begin().close()
    (tmp_path / "res_track.txt").write_text("1 0 0 0\n")
    (tmp_path / "mask002.tif").write_bytes(b"")
    for _ in range(2):
        again = ResultWriter(tmp_path)
        again.take_up([])
        assert again.last_track_id < 10
        again.close()
    again = ResultWriter(tmp_path)
    again.take_up([])
    for frame, labels in {4: [2], 5: [], 6: [2]}.items():
        again.decided(frame, segmentation(*labels), tracks(t2=0), [])
    again.close()
    assert again.rows() == [(1, 0, 0, 0), (2, 4, 4, 0), (65534, 6, 6, 2), (65535, 3, 3, 0)]


def test_labels_stay_unique_after_a_restart(tmp_path: Path) -> None:
    seen_again = {0: [1, 2], 1: [2], 2: [1, 2], 3: [1], 4: [1, 2]}  # 65535 and 65534
    write(tmp_path, seen_again, tracks(t1=0, t2=0), {})
    again = ResultWriter(tmp_path)
    again.take_up([])
    assert again.last_track_id == 2
    for frame, labels in {6: [3], 7: [], 8: [3]}.items():
        again.decided(frame, segmentation(*labels), tracks(t3=0), [])
    again.close()
    assert again.rows() == [
        (1, 0, 0, 0), (2, 0, 2, 0), (3, 6, 6, 0), (65533, 8, 8, 3), (65534, 4, 4, 2), (65535, 2, 4, 1)
    ]  # fmt: skip


def test_revisions_that_the_killed_writer_had_not_written_are_made_up_for(tmp_path: Path) -> None:
    frames = {0: [1], 1: [], 2: [1], 3: [2, 3]}  # the mother's last label is 65535
    said = [division("provisional", 3, 1, 2, 3), division("confirmed", 3, 1, 2, 3, revision=1)]
    write(tmp_path, frames, tracks(t1=0, t2=1, t3=1), {3: said[:1]})
    for _ in range(2):  # and not twice
        again = ResultWriter(tmp_path)
        again.take_up([*said, *said])
        again.close()
    words = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(one["event_id"], one["status"]) for one in words] == [
        ("f/f3/division/65535", "provisional"),
        ("f/f3/division/65535", "confirmed"),
    ]


def test_a_folder_that_cannot_be_gone_on_with_is_left_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, FAMILY, KNOWN, {})
    (tmp_path / "res_track.txt").write_text("1 0 x 0\n")
    before = contents(tmp_path)
    with pytest.raises(StoreError, match="cannot be gone on with"):
        ResultWriter(tmp_path).take_up([])
    assert contents(tmp_path) == before


def test_nothing_is_kept_of_an_event_after_its_last_word_but_a_divisions_parents(tmp_path: Path) -> None:
    writer = write(tmp_path, FAMILY, KNOWN, {2: [division("provisional", 2, 1, 3, 2)]})
    assert list(writer._mothers) == ["f/f2/division/1"]
    closed = ResultWriter(tmp_path)
    closed.take_up([])
    closed.said([division("confirmed", 2, 1, 3, 2, revision=1)])
    closed.close()
    assert (closed._mothers, closed._event_parents) == ({}, {"f/f2/division/1": {3: 1, 2: 1}})
