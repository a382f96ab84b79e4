"""Which kind of picture is shown: large and small fields, sparse and crowded, recorded and virtual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.degrade import degraded
from models.segment.auto import AutoSegmenter
from models.segment.scale import HALO_SHARE, halo_share, is_grain
from models.train.settings import data_root
from stream.config import CameraSettings, Configuration, PlanSettings
from stream.errors import SourceError
from stream.frame import Frame
from stream.simulate import simulate
from stream.stages import Moment

FIELDS = {
    # cells, side of the field in px, seed
    "few": (4, 256, 2),
    "some": (60, 320, 1),
    "crowded": (200, 512, 4),
    "a corner, crowded": (30, 192, 6),
}
MODALITIES = {"nuclei": "fluorescence", "phase": "phase"}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", MODALITIES)
def test_a_virtual_field_shows_its_kind(kind: str, field: str, tmp_path: Path) -> None:
    cells, side, seed = FIELDS[field]
    options = {"cells": cells, "fields": 1, "size_px": [side, side], "modality": MODALITIES[kind]}
    camera = CameraSettings(driver="virtual", options=options)
    simulate(Configuration(camera=camera, plan=PlanSettings(interval_ms=100.0)), tmp_path, 2, seed)
    pixels = tifffile.imread(sorted((tmp_path / "01").glob("*.tif"))[0])
    segmenter = AutoSegmenter({"fast": True})
    segmenter.step(Moment(Frame("r", "c", "s", 0, 0, "c:p0", 0, pixels)))
    assert segmenter.choice.startswith(f"{kind}-fast,")


@pytest.mark.parametrize("side", [200, 256, 400])
@pytest.mark.parametrize(("sequence", "kind"), [("Fluo-N2DL-HeLa/02", "nuclei"), ("PhC-C2DL-PSC/01", "phase")])
def test_a_part_of_a_recorded_field_shows_its_kind(sequence: str, kind: str, side: int) -> None:
    try:
        paths = sorted((data_root() / "ctc" / sequence).glob("t*.tif"))[::13]
    except SourceError as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(side)
    told = []
    for path in paths:
        pixels = tifffile.imread(path)
        for _ in range(12):
            y, x = (int(rng.integers(0, length - side + 1)) for length in pixels.shape)
            share = halo_share(np.ascontiguousarray(pixels[y : y + side, x : x + side], np.float32))
            told.append((share > HALO_SHARE) == (kind == "phase"))
    assert np.mean(told) >= 0.95


@pytest.mark.parametrize("side", [1, 7, 64, 400, 2048])
def test_noise_alone_is_known_as_such(side: int) -> None:
    rng = np.random.default_rng(side)
    dark = np.clip(np.rint(rng.normal(100, 3, (side, side))), 0, None).astype(np.uint16)
    assert is_grain(dark)
    assert is_grain(rng.poisson(0.1, (side, side)).astype(np.uint8))
    assert is_grain(np.full((side, side), 7, np.uint16))


@pytest.mark.parametrize("photons", [None, 20, 5])
@pytest.mark.parametrize("sequence", ["Fluo-N2DL-HeLa/02", "PhC-C2DL-PSC/01"])
def test_recorded_cells_stand_out_of_the_noise(sequence: str, photons: int | None) -> None:
    try:
        paths = sorted((data_root() / "ctc" / sequence).glob("t*.tif"))[::13]
    except SourceError as error:
        pytest.skip(str(error))
    for number, path in enumerate(paths):
        pixels = tifffile.imread(path)
        assert not is_grain(degraded(pixels, photons, number) if photons else pixels)


def test_one_dim_cell_stands_out_of_the_noise() -> None:
    y, x = np.mgrid[:512, :512]
    light = 100.0 + 15.0 * (np.hypot(y - 200, x - 300) < 8)  # as much as the noise of a pixel and a half
    assert not is_grain(np.random.default_rng(0).poisson(light).astype(np.uint16))
