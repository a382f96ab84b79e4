"""Folders, stacks and stores: what is played, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from replay_cases import folder, image, play, playing, short

from stream.errors import SourceError
from stream.frame import Frame, Gap

NAMES: dict[str, tuple[dict[str, int], list[Any]]] = {
    "challenge, begins at 150": ({"t150.tif": 1, "t151.tif": 2}, [(150, 1), (151, 2)]),
    "natural order": ({"img_10.tif": 3, "img_9.tif": 2, "img_1.tif": 1, "img_2.tif": 4, "img_8.tif": 5},
                      [(1, 1), (2, 4), ("missing", 5), (8, 5), (9, 2), (10, 3)]),
    "last group that varies": ({"p3_t01_c2.tif": 1, "p3_t02_c2.tif": 2}, [(1, 1), (2, 2)]),
    "one image": ({"t007.tif": 4}, [(7, 4)]),
    "a hole": ({"t0.tif": 1, "t1.tif": 2, "t5.tif": 3}, [(0, 1), (1, 2), ("missing", 3), (5, 3)]),
    "every tenth is no hole": ({"t000.tif": 1, "t010.tif": 2, "t020.tif": 3}, [(0, 1), (10, 2), (20, 3)]),
    "every third, one missing": ({f"t{n:02d}.tif": 1 for n in (0, 3, 6, 12)},
                                 [(0, 1), (3, 1), (6, 1), ("missing", 1), (12, 1)]),
    "what comes later changes nothing": ({f"t{n:02d}.tif": 1 for n in (0, 3, 6, 7, 9)},
                                         [(0, 1), (3, 1), (6, 1), (7, 1), ("missing", 1), (9, 1)]),
    "beyond signs": ({"a-1.tiff": 1, "a-2.tiff": 2}, [(1, 1), (2, 2)]),
}  # fmt: skip


@pytest.mark.parametrize(("names", "played"), NAMES.values(), ids=NAMES.keys())
def test_folder(tmp_path: Path, names: dict[str, int], played: list[Any]) -> None:
    assert short(play(folder(tmp_path / "movie", names))) == played


def test_png_bytes_and_pattern(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"c1_{number}.png").write_bytes(imagecodecs.png_encode(image(number, np.uint8)))
        (tmp_path / f"c2_{number}.png").write_bytes(imagecodecs.png_encode(image(9, np.uint8)))
    (tmp_path / "readme.txt").write_text("not an image")
    with pytest.raises(SourceError, match=r"2 files have the number 1.*pattern"):
        play(tmp_path)
    items = play(tmp_path, pattern="c1_*")
    assert short(items) == [(1, 1), (2, 2)]
    assert isinstance(items[0], Frame)
    assert items[0].pixels.dtype == np.uint8


def test_frame_fields(tmp_path: Path) -> None:
    items = play(folder(tmp_path / "movie", {f"t{n}.tif": n for n in range(150, 155)}), frames=(151, 153), pixel_um=0.5)
    frames = [item for item in items if isinstance(item, Frame)]
    assert [frame.frame for frame in frames] == [151, 152, 153]
    assert [frame.seq for frame in frames] == [0, 1, 2]
    first = frames[0]
    assert (first.run, first.session, first.epoch, first.field, first.pixel_um) == ("r", "s", 3, "replay:p0", 0.5)
    assert first.stamps.t_pop_ns > 0


def test_a_corrupt_file_is_a_gap_and_the_replay_goes_on(tmp_path: Path) -> None:
    movie = folder(tmp_path / "movie", {"t0.tif": 1, "t1.tif": 2, "t2.tif": 3, "t3.tif": 4})
    (movie / "t1.tif").write_bytes((movie / "t1.tif").read_bytes()[:60])
    tifffile.imwrite(movie / "t2.tif", np.zeros((3, 3), np.uint16))
    items = play(movie)
    assert short(items) == [(0, 1), ("corrupt", 1), ("corrupt", 1), (3, 4)]
    torn, small = (item for item in items if isinstance(item, Gap))
    assert "t1.tif" in torn.detail
    assert "(3, 3) px where the others have (6, 8)" in small.detail
    assert torn.after_seq == 0


KINDS: dict[str, tuple[np.ndarray, Any]] = {
    "uint8": (image(200, np.uint8), np.uint8),
    "bool": (image(1, np.bool_), np.uint8),
    "int16": (image(32767, np.int16), np.uint16),
    "int32 that fits": (image(65535, np.int32), np.uint16),
    "whole floats": (image(12, np.float32), np.uint16),
    "big-endian": (image(513, ">u2"), np.uint16),
    "negative": (image(-1, np.int16), "do not fit uint16; convert"),
    "too large": (image(65536, np.int32), "do not fit uint16; convert"),
    "fractions": (image(1, np.float32) / 2, "do not fit uint16; convert"),
    "nan": (image(1, np.float32) * np.nan, "do not fit uint16; convert"),
    "colour": (np.zeros((6, 8, 3), np.uint8), "colour image"),
}


@pytest.mark.parametrize(("stored", "expected"), KINDS.values(), ids=KINDS.keys())
def test_kinds_of_pixels(tmp_path: Path, stored: np.ndarray, expected: Any) -> None:
    photometric = "rgb" if stored.ndim == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "t0.tif", stored, photometric=photometric, byteorder=stored.dtype.byteorder.strip("=|<") or "<"
    )
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=expected):
            play(tmp_path)
    else:
        (frame,) = play(tmp_path)
        assert isinstance(frame, Frame)
        assert frame.pixels.dtype == expected
        np.testing.assert_array_equal(frame.pixels, stored)


def test_refused_sources(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.tif").write_bytes(b"II*\0torn")
    (tmp_path / "movie.avi").write_bytes(b"")
    folder(tmp_path / "mixed", {"t0.tif": 1, "mask0.tif": 1})
    folder(tmp_path / "plain", {"image.tif": 1})
    for name, message in {
        "nowhere": "no such file or folder; name",
        "empty": "no image in it",
        "torn.tif": "not a readable TIFF",
        "movie.avi": "a recording is a folder",
        "mixed": "several kinds: .*pattern",
        "plain": "no number in names such as image.tif",
    }.items():
        with pytest.raises(SourceError, match=message):
            play(tmp_path / name)
    with pytest.raises(SourceError, match="none of its frames 5 to 6 is within"):
        play(folder(tmp_path / "five", {"t5.tif": 1, "t6.tif": 2}), frames=(0, 4))


STACK = np.arange(3 * 2, dtype=np.uint16).reshape(3, 2, 1, 1) + np.zeros((6, 8), np.uint16)


def test_ome_tiff(tmp_path: Path) -> None:
    metadata = {
        "axes": "TCYX", "PhysicalSizeX": 650, "PhysicalSizeXUnit": "nm", "TimeIncrement": 0.5,
        "TimeIncrementUnit": "min", "Channel": {"Name": ["GFP", "phase"]},
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    with playing(tmp_path / "a.ome.tif") as driver:
        about = driver.describe()
    assert (about["frames"], about["channels"], about["interval_ms"]) == (3, ["GFP", "phase"], 30_000.0)
    frames = [item for item in play(tmp_path / "a.ome.tif") if isinstance(item, Frame)]
    assert [(f.frame, f.channel, f.index.c, int(f.pixels[0, 0])) for f in frames] == [
        (0, "GFP", 0, 0), (0, "phase", 1, 1), (1, "GFP", 0, 2), (1, "phase", 1, 3), (2, "GFP", 0, 4),
        (2, "phase", 1, 5),
    ]  # fmt: skip
    assert frames[0].pixel_um == pytest.approx(0.65)


def test_imagej_hyperstack(tmp_path: Path) -> None:
    metadata = {"axes": "TZYX", "unit": "um", "finterval": 2.5}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(4, 4), metadata=metadata)
    with playing(tmp_path / "a.tif") as driver:
        about = driver.describe()
    assert (about["frames"], about["planes"], about["interval_ms"], about["pixel_um"]) == (3, 2, 2500.0, 0.25)
    frames = [item for item in play(tmp_path / "a.tif") if isinstance(item, Frame)]
    assert [(f.frame, f.index.z, int(f.pixels[0, 0])) for f in frames] == [
        (0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3), (2, 0, 4), (2, 1, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("times", [(), (5,)], ids=["one image", "a time lapse"])
def test_planes_of_colours_are_no_time_points(tmp_path: Path, times: tuple[int, ...]) -> None:
    pixels = np.zeros((*times, 3, 6, 8), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, planarconfig="separate", photometric="rgb")
    with pytest.raises(SourceError, match="colour image; save one channel"):
        play(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("stated_s", "interval_ms"),
    [([0, 10, 20, 30], 10_000.0), ([0, 0, 0, 0], None), ([30, 20, 10, 0], None)],
    ids=["ascending", "all zero", "descending"],
)
def test_times_of_planes_that_cannot_be_are_not_believed(
    tmp_path: Path, stated_s: list[float], interval_ms: float | None
) -> None:
    metadata = {"axes": "TYX", "Plane": {"DeltaT": stated_s}}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((4, 6, 8), np.uint16), metadata=metadata)
    with playing(tmp_path / "a.ome.tif") as driver:
        assert driver.describe()["interval_ms"] == interval_ms


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"metadata": None}, {"imagej": True, "metadata": {"axes": "ZYX"}}],
    ids=["shaped", "compressed", "bare pages", "slices that are times"],
)
def test_plain_stack(tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[:, 0], photometric="minisblack", **options)
    assert short(play(tmp_path / "a.tif")) == [(0, 0), (1, 2), (2, 4)]


def test_a_corrupt_page_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 99, (3, 6, 8), np.uint16)
    tifffile.imwrite(path, pixels, compression="zlib", metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = b"\xff" * size
    path.write_bytes(data)
    items = play(path)
    assert [item.frame if isinstance(item, Frame) else item.reason for item in items] == [0, "corrupt", 2]


def test_a_stack_cut_short_plays_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:, 0], photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-100])
    assert [type(item).__name__ for item in play(path)][:2] == ["Frame", "Frame"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    data = STACK[:, :, None]
    array = group.create_array("0", shape=data.shape, chunks=(1, 1, 1, 6, 8), dtype=data.dtype)
    array[:] = data
    units = {"t": "second", "y": "micrometer", "x": "micrometer"}
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": a, "type": kinds.get(a, "space"), **({"unit": units[a]} if a in units else {})} for a in "tczyx"]
    image_metadata = {
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]}]}],
        "coordinateTransformations": [{"type": "scale", "scale": [60, 1, 1, 1, 1]}],
    }
    stated = {"multiscales": [image_metadata], "omero": {"channels": [{"label": "GFP"}, {"label": "phase"}]}}
    group.attrs.update({"ome": {**stated, "version": version}} if version == "0.5" else stated)
    with playing(path) as driver:
        about = driver.describe()
    assert (about["frames"], about["channels"], about["interval_ms"]) == (3, ["GFP", "phase"], 60_000.0)
    assert about["pixel_um"] == 0.5
    assert [value for _, value in short(play(path))] == [0, 1, 2, 3, 4, 5]


def test_a_torn_chunk_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", shape=(3, 6, 8), chunks=(1, 6, 8), dtype="u2")[:] = STACK[:, 0]
    image_metadata = {"axes": [{"name": a} for a in "tyx"], "datasets": [{"path": "0"}]}
    group.attrs.update({"ome": {"multiscales": [image_metadata], "version": "0.5"}})
    (path / "0" / "c" / "1" / "0" / "0").write_bytes(b"torn")
    assert short(play(path)) == [(0, 0), ("corrupt", 1), (2, 4)]


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("chunks", [(1, 6, 8), (1, 3, 4)], ids=["a chunk a plane", "four chunks a plane"])
def test_what_an_interrupted_run_never_wrote_is_a_gap(tmp_path: Path, form: Any, chunks: tuple[int, ...]) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=form)
    array = group.create_array("0", shape=(4, 6, 8), chunks=chunks, dtype="u2")
    array[0] = 7
    array[2, 3:] = 7  # a black image before it, and half of it black: that is no loss
    stated = {"multiscales": [{"axes": [{"name": a} for a in "tyx"], "datasets": [{"path": "0"}]}]}
    group.attrs.update(stated if form == 2 else {"ome": {**stated, "version": "0.5"}})
    assert short(play(path)) == [(0, 7), (1, 0), (2, 0), ("corrupt", 1)]


def test_sharded_chunks_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array("0", shape=(4, 6, 8), chunks=(1, 6, 8), shards=(2, 6, 8), dtype="u2")
    array[:2] = 7
    stated = {"multiscales": [{"axes": [{"name": a} for a in "tyx"], "datasets": [{"path": "0"}]}], "version": "0.5"}
    group.attrs.update({"ome": stated})
    assert short(play(path)) == [(0, 7), (1, 7), ("corrupt", 1), ("corrupt", 1)]


def test_a_zarr_of_nothing_but_black_plays(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", shape=(2, 6, 8), chunks=(1, 6, 8), dtype="u2")
    group.attrs.update({"ome": {"multiscales": [{"axes": [{"name": a} for a in "tyx"], "datasets": [{"path": "0"}]}]}})
    assert short(play(path)) == [(0, 0), (1, 0)]


def test_a_zarr_that_is_no_image(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(SourceError, match="not an OME-Zarr image"):
        play(tmp_path / "a.zarr")
