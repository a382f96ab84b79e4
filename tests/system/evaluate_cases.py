"""A small movie of bright squares that move and divide, and a segmenter that finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from stream.cells import Segmentation, make_cells
from stream.stages import Moment

FIRST = 150
FRAMES = 14
SPLITS = {155: 0, 159: 1}
"""Frame → which cell divides."""
SIDE_PX = 120


class SquareSegmenter:
    """Everything bright is a cell."""

    choice = "squares"

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def step(self, moment: Moment) -> Segmentation:
        pixels = moment.frame.pixels
        bright = (pixels > pixels.min() + (int(pixels.max()) - int(pixels.min())) // 2).astype(np.uint8)
        n, labels, stats, centroids = cv2.connectedComponentsWithStats(bright, connectivity=4)
        x, y, w, h, area = (stats[1:, i] for i in range(5))
        boxes = np.stack([y, x, y + h, x + w], axis=1).astype(np.int32)
        centres = centroids[1:, ::-1].astype(np.float32)
        means = np.ones((n - 1, 1), np.float32)
        ids = np.arange(1, n, dtype=np.int32)
        return Segmentation(labels.astype(np.int32), make_cells(ids, centres, boxes, area.astype(np.float32), means))

    def reset(self, reason: str) -> None:
        """Remember nothing."""

    def save(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        """Remember nothing."""


MODEL = f"{__file__}:SquareSegmenter"


def movie(folder: Path, truth: Path | None = None, frames: Sequence[int] = range(FIRST, FIRST + FRAMES)) -> Path:
    """Write the frames ``tNNN.tif`` and, when asked, the truth in challenge form; the same every time."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True)
    places = {i: np.array([20.0 + 40 * (i // 3), 20.0 + 40 * (i % 3)]) for i in range(9)}
    rows = {i: [i + 1, FIRST, FIRST, 0] for i in places}
    for frame in range(FIRST, FIRST + FRAMES):
        if frame in SPLITS:
            mother = SPLITS[frame]
            place = places.pop(mother)
            for sign in (-1, 1):
                rows[len(rows)] = [len(rows) + 1, frame, frame, rows[mother][0]]
                places[len(rows) - 1] = place + (0, 6 * sign)
        image = random.poisson(40, (SIDE_PX, SIDE_PX)).astype(np.uint16)
        marker = np.zeros((SIDE_PX, SIDE_PX), np.uint16)
        for cell, place in places.items():
            place += random.normal(0, 0.4, 2)
            y, x = np.rint(place).astype(int)
            half = 4 if rows[cell][3] else 5
            image[y - half : y + half + 1, x - half : x + half + 1] += np.uint16(400)
            marker[y - 1 : y + 2, x - 1 : x + 2] = rows[cell][0]
            rows[cell][2] = frame
        if frame in frames:
            tifffile.imwrite(folder / f"t{frame:03d}.tif", image)
        if truth is not None:
            (truth / "TRA").mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(truth / "TRA" / f"man_track{frame:03d}.tif", marker)
    if truth is not None:
        lines = "".join(" ".join(map(str, row)) + "\n" for row in rows.values())
        (truth / "TRA" / "man_track.txt").write_text(lines)
    return folder
