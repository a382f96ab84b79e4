"""Plates of a dividing cell that lie against a dim nucleus."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from segment_scene import discs, grid, moment

from models.segment.classical import NucleiSegmenter

SHAPE, RADIUS = (256, 320), 11.0
CENTRES = grid(SHAPE, 40)


def scene(bright):
    """Nuclei of contrast 200; a plate lies against the right of the sixth, ``bright`` times as strong."""
    pixels = discs(SHAPE, CENTRES, RADIUS, contrast=200.0).astype(np.float32)
    y, x = CENTRES[5]
    plate = np.zeros(SHAPE, np.float32)
    cv2.ellipse(plate, (round(x + RADIUS + 2), round(y)), (3, 9), 0, 0, 360, 1.0, -1)
    plate = cv2.GaussianBlur(plate, (0, 0), 1.0)
    return np.clip(pixels + plate * 200.0 * bright, 0, 65535).astype(np.uint16), (round(y), round(x))


@pytest.mark.parametrize("bright", [3.0, 4.5])
def test_a_plate_is_a_cell_of_its_own(bright):
    pixels, (y, x) = scene(bright)
    found = NucleiSegmenter({"diameter_px": 2 * RADIUS}).step(moment(pixels))
    nucleus, plate = found.labels[y, x], found.labels[y, x + round(RADIUS) + 3]
    assert nucleus > 0
    assert plate not in (0, nucleus)
    assert len(found.cells) == len(CENTRES) + 1


def test_nuclei_without_a_plate_stay_whole():
    pixels, _ = scene(0.0)
    assert len(NucleiSegmenter({"diameter_px": 2 * RADIUS}).step(moment(pixels)).cells) == len(CENTRES)
