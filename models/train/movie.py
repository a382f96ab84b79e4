"""Training data in memory: movies with truth, and single images as movies of one frame.

Read are Cell Tracking Challenge folders (``NN`` with ``NN_GT`` and ``NN_ST``; what ``cytoloop simulate`` writes is
one); :mod:`models.train.pairs` reads folders with ``images`` and ``labels``.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.segmentation import expand_labels

from models.segment.measure import sums
from models.train.split import SHARE
from stream.errors import SourceError

BORDER_PX = 25
"""Cells nearer to the border may lack a label in Cell Tracking Challenge truth."""
FEWEST_PX = 9

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The cells of one frame: ids ascending, centres ``(n, 2)`` px, whether each is drawn in the labels."""

    label: Ints
    centre_px: NDArray[np.float32]
    drawn: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Movie:
    """A sequence with truth.

    Parameters
    ----------
    images, labels
        One ``(y, x)`` array for each frame; labels are ids that are kept over time, 0 background.
    claims
        Like labels, but a cell that only has a marker also claims the unlabelled pixels around it: what votes for a
        centre there votes for its own, while nothing is known of its outline.
    cohorts
        The cells of each frame.
    tracks
        id → (first frame, last frame, parent). Frames count the images that there are; what was there before the
        first has frame -1, what is there after the last ``len(images)``.
    diameter_px
        Median diameter of all cells.
    unlabelled_border_px
        Width of the edge in which unlabelled pixels say nothing.
    validation_from_px
        Column from which the field belongs to validation; 0: the whole movie, its width: none of it.
    """

    name: str
    images: Sequence[NDArray[Any]]
    labels: Sequence[Ints]
    claims: Sequence[Ints]
    cohorts: Sequence[Cohort]
    tracks: dict[int, tuple[int, int, int]]
    diameter_px: float
    unlabelled_border_px: int
    validation_from_px: int
    divisions: Sequence[tuple[int, int]] = field(default=())
    """(frame, parent) of each division with two daughters or more."""

    def __len__(self) -> int:
        return len(self.images)


def read_ctc(images: Path, border_px: int = BORDER_PX, claimed: float = 0.0) -> Movie:
    """Read a Cell Tracking Challenge sequence: computed masks, else full markers.

    Parameters
    ----------
    border_px
        Edge in which unlabelled pixels may be cells.
    claimed
        How far a cell without a mask claims pixels around its marker, in diameters of the typical cell.

    Raises
    ------
    SourceError
        Images, markers or tracks are missing.
    """
    truth = images.with_name(images.name + "_GT") / "TRA"
    masks = images.with_name(images.name + "_ST") / "SEG"
    files = {number(path): path for path in sorted(images.glob("*.tif"))}
    if not files or not (truth / "man_track.txt").is_file():
        raise SourceError(f"{images}: no numbered TIFFs, or no {truth}/man_track.txt beside them")
    table = np.loadtxt(truth / "man_track.txt", dtype=int, ndmin=2)
    tracks = _tracks(table, sorted(files))
    pictures, labels, cohorts, marked = [], [], [], []
    drawn = {number(path): path for path in sorted(masks.glob("*.tif"))}
    for frame, path in sorted(files.items()):
        marks = tifffile.imread(_one(truth, frame)).astype(np.int32)
        picture = tifffile.imread(path)
        mask = tifffile.imread(drawn[frame]).astype(np.int32) if frame in drawn else marks
        mask = np.where(np.isin(mask, list(tracks)), mask, 0).astype(np.int32)
        cohort = cohort_of(mask, marks)
        pictures.append(picture)
        labels.append(_with_undrawn(mask, marks, cohort))
        cohorts.append(cohort)
        marked.append(cohort.label[~cohort.drawn])
    diameter_px = diameter_of(labels)
    claims = [_claimed(one, alone, claimed * diameter_px) for one, alone in zip(labels, marked, strict=True)]
    width = pictures[0].shape[1]
    edge = round(width * (1 - SHARE))
    name = "/".join(images.parts[-2:])
    return Movie(name, pictures, labels, claims, cohorts, tracks, diameter_px, border_px, edge, _divisions(tracks))


def _tracks(table: NDArray[np.int_], numbers: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Return the tracks by frames of the movie, from those by the ``numbers`` of its files.

    Numbers may have holes: what begins in one begins at the next image, what ends in one ends at the image before.
    """

    def begins(number: int) -> int:
        return bisect_left(numbers, number) if number >= numbers[0] else -1

    def ends(number: int) -> int:
        return bisect_right(numbers, number) - 1 if number <= numbers[-1] else len(numbers)

    return {label: (begins(begin), ends(end), parent) for label, begin, end, parent in table.tolist()}


def number(path: Path) -> int:
    """Return the number in a file's name. Raises SourceError where there is none."""
    digits = re.findall(r"\d+", path.stem)
    if not digits:
        raise SourceError(f"{path}: no number in the file's name")
    return int(digits[-1])


def _one(folder: Path, frame: int) -> Path:
    for path in folder.glob(f"man_track*{frame}.tif"):
        if number(path) == frame:
            return path
    raise SourceError(f"{folder}: no markers of frame {frame}")


def cohort_of(mask: Ints, marks: Ints) -> Cohort:
    """Return the cells of one frame: drawn in the mask, or only marked."""
    from_mask, from_marks = _centres(mask), _centres(marks)
    ids = np.array(sorted({*from_mask, *from_marks}), np.int32)
    centre = np.array([from_mask.get(int(i), from_marks.get(int(i))) for i in ids], np.float32).reshape(-1, 2)
    return Cohort(ids, centre, np.array([int(i) in from_mask for i in ids], np.bool_))


def _with_undrawn(mask: Ints, marks: Ints, cohort: Cohort) -> Ints:
    """Return the mask with the marker of every cell that has nothing else: dim cells, and touching ones in mitosis."""
    alone = np.isin(marks, cohort.label[~cohort.drawn]) & (mask == 0)
    return np.where(alone, marks, mask).astype(np.int32)


def _claimed(labels: Ints, alone: Ints, reach_px: float) -> Ints:
    """Return the labels, every cell of ``alone`` grown up to ``reach_px`` around its middle where it is nearest."""
    if not len(alone) or not reach_px:
        return labels
    claimed = labels.copy()
    for label, (y, x) in _centres(np.where(np.isin(labels, alone), labels, 0)).items():
        around = _window(labels.shape, y, x, reach_px)
        near = expand_labels(labels[around], reach_px)
        rows, columns = np.ogrid[around]
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= reach_px**2
        claimed[around][(near == label) & inside] = label
    return claimed


def _window(shape: tuple[int, ...], y: float, x: float, reach_px: float) -> tuple[slice, slice]:
    """Return the part of a picture that decides who is nearest within a reach of a point."""
    rows, columns = (
        slice(max(0, int(at - 2 * reach_px)), min(side, int(at + 2 * reach_px) + 2))
        for at, side in zip((y, x), shape, strict=True)
    )
    return rows, columns


def _centres(labels: Ints) -> dict[int, tuple[float, float]]:
    total, _ = sums(np.ascontiguousarray(labels), int(labels.max(initial=0)))
    known = np.nonzero(total[:, 0] >= FEWEST_PX)[0]
    return {int(i): (total[i, 1] / total[i, 0], total[i, 2] / total[i, 0]) for i in known}


def diameter_of(labels: Sequence[Ints]) -> float:
    """Return the median diameter of the cells in up to 20 or so of the label images."""
    areas = np.concatenate([np.bincount(one.ravel())[1:] for one in labels[:: max(1, len(labels) // 20)]])
    areas = areas[areas >= FEWEST_PX]
    return float(2 * np.sqrt(np.median(areas) / np.pi))


def _divisions(tracks: dict[int, tuple[int, int, int]]) -> list[tuple[int, int]]:
    births: dict[int, list[int]] = {}
    for begin, _, parent in tracks.values():
        if parent:
            births.setdefault(parent, []).append(begin)
    return sorted((min(frames), parent) for parent, frames in births.items() if len(frames) > 1)
