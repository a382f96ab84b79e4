"""Truth obeys the rules of the Cell Tracking Challenge, and a simulated movie is what the live camera shows."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from drivers.virtual.labels import Labeller, scene_of
from drivers.virtual.microscope import Microscope, View
from drivers.virtual.options import VirtualOptions
from drivers.virtual.truth import Writer, _pack, render
from stream.config import CameraSettings, Configuration, PlanSettings
from stream.errors import ConfigError, StoreError
from stream.simulate import simulate

FAST = {"cells": 30, "fields": 2, "size_px": [256, 256], "cycle_min": 300.0, "deaths_per_day": 0.4}
CONFIG = Configuration(
    camera=CameraSettings(driver="virtual", options=FAST), plan=PlanSettings(interval_ms=100.0, exposure_ms=20.0)
)
FRAMES = 60


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A movie of FRAMES frames."""
    out = tmp_path_factory.mktemp("movie") / "m"
    told = simulate(CONFIG, out, FRAMES, 4)
    assert told["frames"] == FRAMES
    assert told["divisions"] > 0
    return out


def tracks_of(folder: Path) -> dict[int, tuple[int, int, int]]:
    rows = [[int(v) for v in line.split()] for line in (folder / "man_track.txt").read_text().splitlines()]
    return {label: (begin, end, parent) for label, begin, end, parent in rows}


def test_every_label_is_there_exactly_from_its_first_frame_to_its_last(movie: Path) -> None:
    tracks = tracks_of(movie / "01_GT" / "TRA")
    for number in range(FRAMES):
        labels = tifffile.imread(movie / "01_GT" / "TRA" / f"man_track{number:03d}.tif")
        assert labels.dtype == np.uint16
        expected = {label for label, (begin, end, _) in tracks.items() if begin <= number <= end}
        assert set(np.unique(labels)) - {0} == expected


def test_parents_end_before_their_children_begin(movie: Path) -> None:
    tracks = tracks_of(movie / "01_GT" / "TRA")
    children: dict[int, list[int]] = {}
    for begin, _, parent in tracks.values():
        if parent:
            assert tracks[parent][1] < begin
            children.setdefault(parent, []).append(begin)
    pairs = [begins for begins in children.values() if len(begins) > 1]
    assert pairs
    # A division that counts was seen to happen: both daughters at once.
    assert all(len(begins) == 2 and begins[0] == begins[1] for begins in pairs)


def test_the_masks_lie_on_the_nuclei(movie: Path) -> None:
    image = tifffile.imread(movie / "01" / "t010.tif").astype(float)
    labels = tifffile.imread(movie / "01_GT" / "SEG" / "man_seg010.tif")
    assert image[labels > 0].mean() > 4 * (image[labels == 0].mean() - 100.0)
    assert np.percentile(image[labels > 0], 5) > np.percentile(image[labels == 0], 95)


def test_a_seed_is_a_movie(movie: Path, tmp_path: Path) -> None:
    simulate(CONFIG, tmp_path / "same", 5, 4)
    simulate(CONFIG, tmp_path / "other", 5, 5)
    first = [tifffile.imread(folder / "01" / "t004.tif") for folder in (movie, tmp_path / "same", tmp_path / "other")]
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_a_movie_is_never_written_over(movie: Path) -> None:
    with pytest.raises(StoreError, match="another folder"):
        simulate(CONFIG, movie, 1, 4)


def test_only_the_virtual_microscope_simulates(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="democam"):
        simulate(Configuration(camera=CameraSettings(driver="democam")), tmp_path / "m", 1, 0)


def test_a_cell_that_comes_back_is_the_only_child_of_its_former_track() -> None:
    options = VirtualOptions(cells=40, fields=2, size_px=(256, 256), cycle_min=5000.0, deaths_per_day=0.0)
    microscope, labeller = Microscope(options), Labeller()
    for number, x_um in enumerate((0.0, 0.0, 400.0, 400.0, 0.0, 0.0)):
        view = View((x_um, 0.0, 0.0), (0, 0, 256, 256), 1, 20.0, 20.0, 0.5, "nuclei", "16bit")
        labeller.step(scene_of(microscope.expose(view), number))
        microscope.pass_by(view)
    early = {track.cell: track for track in labeller.tracks if track.begin == 0}
    back = [track for track in labeller.tracks if track.begin == 4 and track.cell in early]
    assert len(back) > 0.8 * len(early)
    assert all(track.parent == early[track.cell].label for track in back)
    parents = [track.parent for track in labeller.tracks if track.parent]
    assert len(parents) == len(set(parents))


def test_a_torn_log_gives_the_truth_up_to_the_tear(tmp_path: Path) -> None:
    options = VirtualOptions(cells=20, fields=1, size_px=(128, 128))
    microscope = Microscope(options)
    view = View((0.0, 0.0, 0.0), (0, 0, 128, 128), 1, 20.0, 100.0, 0.5, "nuclei", "16bit")
    whole, log = Writer(tmp_path / "whole"), b""
    (tmp_path / "whole").mkdir()
    for number in range(3):
        scene = scene_of(microscope.expose(view), number)
        whole.write(0, scene)
        log += _pack(0, scene)
        microscope.pass_by(view)
    whole.finish()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "scenes.log").write_bytes(log[:-10])
    render(torn)
    assert sorted(path.name for path in torn.glob("*.tif")) == ["man_track000.tif", "man_track001.tif"]
    for name in ("man_track000.tif", "man_track001.tif"):
        assert np.array_equal(tifffile.imread(torn / name), tifffile.imread(tmp_path / "whole" / name))
    assert json.loads((torn / "cells.jsonl").read_text().splitlines()[0])["begin"] == 0
