"""Which kind of picture is shown: large and small fields, sparse and crowded, recorded and virtual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from models.segment.auto import AutoSegmenter
from models.segment.scale import HALO_SHARE, halo_share
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
    segmenter = AutoSegmenter({})
    segmenter.step(Moment(Frame("r", "c", "s", 0, 0, "c:p0", 0, pixels)))
    assert segmenter.choice.startswith(f"{kind},")


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
