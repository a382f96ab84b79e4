"""How long it takes to find cells in a network's outputs, next to a watershed with scikit-image, on one core.

::

    python benchmarks/decode.py [--side 1024] [--cells 800] [--noise 0.05]

prints one JSON object: milliseconds of processor time (least and median) of ``models.segment.decode`` and of the usual
post-processing with scikit-image (peaks of the seed plane, watershed, ``regionprops_table``) on the same
made-up maps of touching cells, the ratio of the medians, and the share of the cells that each found.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage.feature import peak_local_max
from skimage.measure import regionprops_table
from skimage.segmentation import watershed

from models.segment.decode import DecodeSettings, decode

CHANNELS = ("seed", "own_y", "own_x", "previous_y", "previous_x", "newborn", "dividing")
OBJECT_PX = 26.0
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def cells(side: int, number: int, rng: np.random.Generator) -> Ints:
    """Return labels of discs around random places, parted where they touch."""
    places: list[NDArray[np.float64]] = []
    for place in rng.uniform(8, side - 8, (40 * number, 2)):
        if all(np.hypot(*(place - other)) > 0.75 * OBJECT_PX for other in places):
            places.append(place)
        if len(places) == number:
            break
    at = np.stack(np.indices((side, side)), -1).reshape(-1, 2)
    distance, nearest = spatial.cKDTree(np.array(places)).query(at)
    radius = OBJECT_PX / 2 * np.exp(rng.normal(0, 0.12, len(places)))
    labels: Ints = np.where(distance < radius[nearest], nearest + 1, 0).reshape(side, side).astype(np.int32)
    return labels


def outputs(labels: Ints, noise: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return what a good network would say, smooth at the outlines and with noise."""
    number = int(labels.max())
    centre = np.array([(0.0, 0.0), *ndimage.center_of_mass(labels > 0, labels, np.arange(1, number + 1))])
    half = labels[1::2, 1::2]
    here = np.stack(np.indices(half.shape)) * 2 + 0.5
    own = np.where(half > 0, np.moveaxis(centre[half], 2, 0) - here, 0.0)
    bump = np.where(half > 0, np.exp(-(own**2).sum(0) / (2 * (0.12 * OBJECT_PX) ** 2)), 0)
    state = (half % 7 == 1).astype(float)
    maps = np.stack([bump, *own, *(own + 1.0), state, state]).astype(np.float32)
    maps[1:5] += rng.normal(0, noise * OBJECT_PX, maps[1:5].shape)
    maps[0] = np.clip(maps[0] + rng.normal(0, noise, half.shape), 0, 1)
    smooth = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 1.0)
    return smooth, cv2.GaussianBlur(maps.transpose(1, 2, 0), (0, 0), 0.7).transpose(2, 0, 1).copy()


def by_watershed(foreground: Floats, maps: Floats) -> tuple[Ints, Any]:
    """Label cells as it is usually done."""
    seed = cv2.resize(maps[0], foreground.shape[::-1], interpolation=cv2.INTER_LINEAR)
    mask = foreground > 0.5
    peaks = peak_local_max(seed, min_distance=4, threshold_abs=0.3, labels=mask.astype(np.int32))
    markers = np.zeros(seed.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-ndimage.distance_transform_edt(mask), markers, mask=mask)
    wanted = ("label", "area", "centroid", "bbox", "intensity_mean")
    return labels.astype(np.int32), regionprops_table(labels, foreground, properties=wanted)


def found(truth: Ints, labels: Ints) -> float:
    """Return the share of true cells that one label covers with an IoU above 0.5."""
    wide = int(labels.max()) + 1
    common = np.bincount(truth.ravel().astype(np.int64) * wide + labels.ravel()).astype(float)
    common = np.pad(common, (0, (int(truth.max()) + 1) * wide - len(common))).reshape(-1, wide)
    union = common.sum(1)[:, None] + common.sum(0)[None] - common
    return float((common[1:, 1:] / union[1:, 1:] > 0.5).any(1).mean())


def timed(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return least and median milliseconds of processor time: other programs on the machine do not count."""
    spent = []
    for _ in range(repeats):
        began = time.thread_time()
        call()
        spent.append(1e3 * (time.thread_time() - began))
    return {"least": round(min(spent), 2), "p50": round(float(np.median(spent)), 2)}


def main() -> int:
    """Time both on the same maps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--cells", type=int, default=800)
    parser.add_argument("--noise", type=float, default=0.05, help="of the offsets, in diameters")
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    truth = cells(asked.side, asked.cells, rng)
    foreground, maps = outputs(truth, asked.noise, rng)
    settings = DecodeSettings(OBJECT_PX)
    ours = decode(foreground, maps, CHANNELS, settings)
    theirs, _ = by_watershed(foreground, maps)
    decode_ms = timed(lambda: decode(foreground, maps, CHANNELS, settings), asked.repeats)
    skimage_ms = timed(lambda: by_watershed(foreground, maps), max(3, asked.repeats // 4))
    said = {
        "size": asked.side, "cells": int(truth.max()), "decode_ms": decode_ms, "skimage_ms": skimage_ms,
        "ratio": round(decode_ms["p50"] / skimage_ms["p50"], 3),
        "found": round(found(truth, ours.labels), 4), "skimage_found": round(found(truth, theirs), 4),
    }  # fmt: skip
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
