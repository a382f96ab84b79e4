"""Denoised pixels for people: whole files of every decided frame, and pictures no faster than the page draws."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stream.analyse import denoised as module
from stream.analyse.denoised import DenoisedFiles, DenoisedLive, in_counts
from stream.clock import FakeClock
from stream.frame import Frame
from stream.metrics import REGISTRY
from stream.stages import Moment
from stream.wire.codec import decode
from stream.wire.messages import Denoised, Message

FIELD = "Camera:p0"


def decided(number: int, value: float = 7.4, dtype: Any = np.uint16, field: str = FIELD) -> Moment:
    frame = Frame("run", "Camera", "s", 1, number, field, number, np.full((4, 6), 90, dtype))
    return Moment(frame, denoised=np.full((4, 6), value, np.float32))


def lost(reason: str) -> float:
    return REGISTRY.get_sample_value("cytoloop_frames_lost_total", {"stage": "denoised", "reason": reason}) or 0.0


COUNTS = {
    "rounded": (7.6, np.uint16, 8),
    "below the camera's zero": (-3.0, np.uint16, 0),
    "beyond 16 bits": (1e9, np.uint16, 65535),
    "beyond 8 bits": (300.2, np.uint8, 255),
    "no number": (np.nan, np.uint16, 0),
    "infinite": (np.inf, np.uint8, 255),
}


@pytest.mark.parametrize(("value", "dtype", "count"), COUNTS.values(), ids=COUNTS)
def test_counts_fit_the_cameras_type(value: float, dtype: Any, count: int) -> None:
    counts = in_counts(np.full((2, 3), value, np.float32), np.dtype(dtype))
    assert counts.dtype == dtype
    assert (counts == count).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_decided_frame_has_a_file_of_the_cameras_type(tmp_path: Path, dtype: Any) -> None:
    files = DenoisedFiles(tmp_path)
    for number, field in ((3, FIELD), (4, FIELD), (1_234_567, "Camera:p1")):
        files.decided(decided(number, value=number % 7 + 0.2, dtype=dtype, field=field))
    files.close()
    written = {str(path.relative_to(tmp_path).as_posix()): path for path in tmp_path.rglob("*.*")}
    assert set(written) == {"Camera_p0/t000003.tif", "Camera_p0/t000004.tif", "Camera_p1/t1234567.tif"}
    pixels = tifffile.imread(written["Camera_p0/t000004.tif"])
    assert (pixels.dtype, pixels.shape) == (dtype, (4, 6))
    assert (pixels == 4).all()


def test_an_analysis_that_starts_again_keeps_what_is_whole(tmp_path: Path) -> None:
    first = DenoisedFiles(tmp_path)
    first.decided(decided(1))
    first.close()
    torn = tmp_path / "Camera_p0" / "t000002.new"
    torn.write_bytes(b"II*")
    again = DenoisedFiles(tmp_path)
    again.decided(decided(3))
    again.close()
    assert sorted(path.name for path in torn.parent.iterdir()) == ["t000001.tif", "t000003.tif"]


def test_a_file_that_is_being_written_has_not_its_name_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    write = tifffile.imwrite

    def look(path: Path, *rest: Any, **options: Any) -> None:
        write(path, *rest, **options)
        seen.extend(file.suffix for file in tmp_path.rglob("t*"))

    monkeypatch.setattr(module.tifffile, "imwrite", look)
    files = DenoisedFiles(tmp_path)
    files.decided(decided(1))
    files.close()
    assert seen == [".new"]
    assert (tmp_path / "Camera_p0" / "t000001.tif").is_file()


def test_a_slow_disk_loses_pictures_and_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, free = threading.Event(), threading.Event()
    write = tifffile.imwrite

    def slow(*given: Any, **options: Any) -> None:
        busy.set()
        assert free.wait(30)
        write(*given, **options)

    monkeypatch.setattr(module.tifffile, "imwrite", slow)
    before = lost("overflow")
    files = DenoisedFiles(tmp_path, queue_frames=2)
    files.decided(decided(0))
    assert busy.wait(30)
    for number in range(1, 6):
        files.decided(decided(number))
    assert lost("overflow") == before + 3
    free.set()
    files.close()
    assert sorted(path.name for path in tmp_path.rglob("*.tif")) == ["t000000.tif", "t000001.tif", "t000002.tif"]


def test_a_disk_that_refuses_is_counted_and_the_next_field_is_written(tmp_path: Path) -> None:
    (tmp_path / "Camera_p0").touch()
    before = lost("refused")
    files = DenoisedFiles(tmp_path)
    for field in (FIELD, "Camera:p1"):
        files.decided(decided(0, field=field))
    files.close()
    assert lost("refused") == before + 1
    assert (tmp_path / "Camera_p1" / "t000000.tif").is_file()


def test_a_moment_without_denoised_pixels_is_counted(tmp_path: Path) -> None:
    before = lost("none_made")
    files = DenoisedFiles(tmp_path)
    files.decided(Moment(decided(0).frame))
    files.close()
    assert lost("none_made") == before + 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("max_fps", "sent"), [(10.0, [0, 5, 10, 15]), (0.1, [0]), (1000.0, list(range(20)))])
def test_the_page_gets_no_more_pictures_than_it_draws(max_fps: float, sent: list[int]) -> None:
    clock, messages = FakeClock(1), list[Message]()
    live = DenoisedLive(messages.append, max_fps, clock)
    for number in range(20):
        for field in (FIELD, "Camera:p1"):
            live.decided(decided(number, value=number, field=field))
        clock.advance_ms(20)
    live.decided(Moment(decided(99).frame))
    read = [decode(message.parts()) for message in messages]
    for field in (FIELD, "Camera:p1"):
        mine = [item for item in read if isinstance(item, Denoised) and item.ref.field == field]
        assert [item.ref.frame for item in mine] == sent
        assert all((item.pixels == item.ref.frame).all() for item in mine)


def test_it_comes_often_enough_for_the_page_to_know_that_it_is_made() -> None:
    clock, messages = FakeClock(1), list[Message]()
    live = DenoisedLive(messages.append, 0.1, clock)
    for number in range(4):
        live.decided(decided(number))
        clock.advance_ms(500)
    assert len(messages) == 4
