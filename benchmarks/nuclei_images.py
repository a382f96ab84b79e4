"""Single images of nuclei from many labs, those that no training saw: objects found at an overlap of half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from models.train.split import is_validation
from stream import plugins
from stream.frame import Frame
from stream.score.overlap import overlap
from stream.stages import Moment

LEAST_IOU = 0.5


def held_out(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield image and label file of the part that is kept from training, by name."""
    for image in sorted((folder / "images").glob("*.tif")):
        if is_validation(image.name):
            yield image, folder / "labels" / image.name


def measure(model: str, folder: Path) -> dict[str, Any]:
    """Segment every held-out image alone, as the first frame of a field.

    Returns
    -------
    dict
        ``images``; ``F1`` over all objects of all images, a hit being an overlap (intersection over union) of more than
        half; ``F1_mean``, its mean over the images; ``cells`` in truth and found.
    """
    hits = truths = found = 0
    each: list[float] = []
    for image, labels in held_out(folder):
        one = _compared(model, image, labels)
        hits, truths, found = hits + one[0], truths + one[1], found + one[2]
        each.append(2 * one[0] / (one[1] + one[2]) if one[1] + one[2] else 1.0)
    return {
        "images": len(each),
        "F1": 2 * hits / max(truths + found, 1),
        "F1_mean": float(np.mean(each)) if each else None,
        "cells": truths,
        "found": found,
    }


def _compared(model: str, image: Path, labels: Path) -> tuple[int, int, int]:
    """Return hits, true cells and found cells of one image."""
    pixels = tifffile.imread(image)
    segmenter = plugins.load("segmenters", "network")({"model": model})
    moment = Moment(Frame("run", "camera", "session", 0, 0, "camera:p0", 0, pixels))
    scored = overlap(tifffile.imread(labels).astype(np.int64), segmenter.step(moment).labels.astype(np.int64))
    return int((scored.iou > LEAST_IOU).sum()), len(scored.truth), len(scored.found)
