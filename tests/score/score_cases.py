"""Tiny worlds in a row of slots: marker or object → the slots that it fills, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stream.score.overlap import Overlap, overlap

SIDE_PX = 4
SLOTS = 6
Picture = Mapping[int, Sequence[float]]
World = Mapping[int, Picture]

FRAMES = range(10)
SPLIT = 5
MOTHER, LEFT, RIGHT, BYSTANDER, THIRD = 1, 2, 3, 4, 5


def paint(picture: Picture) -> np.ndarray:
    """Paint each label over its slots; 2.5 is the right half of slot 2."""
    image = np.zeros((SIDE_PX, SIDE_PX * SLOTS), np.int64)
    for label, slots in picture.items():
        for slot in slots:
            image[:, round(slot * SIDE_PX) : (int(slot) + 1) * SIDE_PX] = label
    return image


def overlaps(truth: World, found: World) -> dict[int, Overlap]:
    return {frame: overlap(paint(truth[frame]), paint(found.get(frame, {}))) for frame in truth}


def family(split: int, mother: Picture, daughters: Picture, others: Picture = {}) -> World:  # noqa: B006
    """A mother until ``split``, her daughters from then on, others always."""
    return {frame: {**(mother if frame < split else daughters), **others} for frame in FRAMES}


TRUTH = family(SPLIT, {MOTHER: [0]}, {LEFT: [0], RIGHT: [1]}, {BYSTANDER: [2]})
THREE_WAY = family(SPLIT, {MOTHER: [0]}, {LEFT: [0], RIGHT: [1], THIRD: [3]}, {BYSTANDER: [2]})
