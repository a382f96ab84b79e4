"""The classical segmenters on real recordings: how many marked cells they find."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from segment_scene import moment

from models.segment.classical import ClassicalSegmenter

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ctc"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ctc in $CYTOLOOP_DATA or in ../shared/data")


def detection(labels, markers):
    """DET of one frame as in the Cell Tracking Challenge: a marker is found by the object that covers most of it."""
    table = np.zeros((markers.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (markers.ravel(), labels.ravel()), 1)
    size = table.sum(1)
    table[:, 0] = table[0] = 0
    wanted = np.flatnonzero(size[1:]) + 1
    hit = table[wanted].max(1) * 2 > size[wanted]
    owner = table[wanted].argmax(1)[hit]
    objects = len(np.unique(owner))
    missed, merged, extra = int((~hit).sum()), len(owner) - objects, len(np.unique(labels)) - 1 - objects
    return 1 - (10 * missed + 5 * merged + extra) / (10 * len(wanted))


@pytest.mark.parametrize(
    ("movie", "first", "later", "kind", "floor"),
    [
        ("Fluo-N2DL-HeLa/02", "000", ("010", "020", "030"), "classical-nuclei, bright", 0.95),
        ("PhC-C2DL-PSC/01", "150", ("180", "210", "250"), "classical-phase, bright", 0.92),
    ],
)
def test_cells_are_found_and_the_kind_is_chosen(movie, first, later, kind, floor):
    segmenter = ClassicalSegmenter({})
    scores = []
    for name in (first, *later):
        result = segmenter.step(moment(tifffile.imread(DATA / movie / f"t{name}.tif"), int(name)))
        markers = tifffile.imread(DATA / f"{movie}_GT" / "TRA" / f"man_track{name}.tif")
        scores.append(detection(result.labels, markers))
    assert segmenter.choice.startswith(kind)
    assert np.mean(scores) >= floor, scores
