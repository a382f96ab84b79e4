"""What one pass over the label image tells about each cell, and about its overlap with the tracks before."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.divide.evidence import Daughters
from stream.cells import STATES, Segmentation
from stream.errors import StageError

WIDEST = 1 << 22
"""Labels may span this much before they are numbered anew."""

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The cells of one frame as the tracker weighs them: equal-length columns, in the order of the Cells table.

    Parameters
    ----------
    centre_px : (n, 2) float64
    area_px : (n,) float64
    brightness : (n,) float64
        Mean over the cell relative to the typical cell, in units of the frame's own contrast.
    roundness : (n,) float64
        Ratio of the axes of the second moments, minor over major, 0 to 1.
    vote_px : (n, 2) float64
        Where each cell says that it, or its mother, was in the previous frame, in this frame's px; NaN unknown.
    newborn, dividing : (n,) float64
        Probabilities that this is a daughter's first frame, a mother's last; NaN unknown.
    typical_px : float
        Diameter of the typical cell.
    light : (float, float)
        Counts at brightness 0, and counts for 1.
    """

    centre_px: Floats
    area_px: Floats
    brightness: Floats
    roundness: Floats
    vote_px: Floats
    newborn: Floats
    dividing: Floats
    typical_px: float
    light: tuple[float, float]

    def __len__(self) -> int:
        return len(self.area_px)

    def take(self, rows: Longs) -> Bodies:
        """Return some of them, in another order."""
        columns: dict[str, Any] = {one.name: getattr(self, one.name)[rows] for one in fields(self)[:-2]}
        return replace(self, **columns)

    def with_pieces(self, keep: NDArray[np.bool_], cut: Segmentation, pixels: NDArray[Any]) -> Bodies:
        """Return those that stay after a cut, and behind them the pieces, measured alone."""
        first = int(keep.sum())
        cells, pace_px = cut.cells, pace(self.typical_px)
        sums = np.zeros((len(cells) - first, 7))
        for i, (label, (y0, x0, y1, x1)) in enumerate(zip(cells.label[first:], cells.bbox_px[first:], strict=True)):
            box, light = (np.ascontiguousarray(image[y0:y1, x0:x1]) for image in (cut.labels, pixels))
            box.flags.writeable, light.flags.writeable = False, pixels.flags.writeable  # the types compiled already
            sums[i] = _sums(box, int(label), np.zeros(1, np.int32), 1, light, pace_px)[0]
        unknown = np.full(len(sums), np.nan)
        new = {
            "centre_px": cells.centroid_px[first:],
            "area_px": cells.area_px[first:],
            "brightness": _relative(_mean(sums), self.light),
            "roundness": _roundness(sums),
            "vote_px": np.full((len(sums), 2), np.nan),
            "newborn": unknown,
            "dividing": unknown,
        }
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(self, name)[keep], rest]) for name, rest in new.items()
        }
        return replace(self, **columns)


def bodies(
    segmentation: Segmentation,
    pixels: NDArray[Any],
    typical_area_px: float | None = None,
    vote_px: Floats | None = None,
) -> Bodies:
    """Measure the cells of a frame.

    Parameters
    ----------
    pixels : (y, x)
        The image that was segmented.
    typical_area_px
        Area of the typical cell as known from earlier frames; None: this frame's median alone.
    vote_px
        ``prev_centre_px`` in this frame's px; None: there was no frame before.

    Raises
    ------
    StageError
        A centroid or area is not finite, or the label image does not belong to the pixels.
    """
    cells, labels = segmentation.cells, segmentation.labels
    if labels.shape != pixels.shape:
        raise StageError(f"the label image is {labels.shape} and its frame {pixels.shape}; segment the same frame")
    centre = cells.centroid_px.astype(np.float64)
    area = cells.area_px.astype(np.float64)
    wrong = ~(np.isfinite(centre).all(axis=1) & np.isfinite(area) & (area > 0))
    if wrong.any():
        i = int(np.argmax(wrong))
        raise StageError(
            f"cell {int(cells.label[i])} has centroid {cells.centroid_px[i].tolist()} and area {area[i]}; "
            "a segmenter must leave such cells out"
        )
    typical = float(np.median(area)) if len(area) else (typical_area_px or 1.0)
    if typical_area_px is not None and len(area):
        weight = min(len(area), 20) / 40
        typical = weight * typical + (1 - weight) * typical_area_px
    typical_px = 2 * float(np.sqrt(typical / np.pi))
    least = int(cells.label[0]) if len(cells) else 0
    sums = _sums(labels, least, places(cells.label), len(cells), pixels, pace(typical_px))
    light = _light(_mean(sums), _ground(labels, pixels))
    votes = np.full_like(centre, np.nan) if vote_px is None else vote_px
    state = cells.state_prob.astype(np.float64)
    newborn, dividing = state[:, STATES.index("newborn")], state[:, STATES.index("mitosis")]
    brightness = _relative(_mean(sums), light)
    return Bodies(centre, area, brightness, _roundness(sums), votes, newborn, dividing, typical_px, light)


def _ground(labels: NDArray[np.int32], pixels: NDArray[Any]) -> float:
    step = max(1, int(np.sqrt(pixels.size / 10_000)))
    between = pixels[::step, ::step][labels[::step, ::step] == 0]
    return float(np.median(between if between.size else pixels[::step, ::step]))


def _mean(sums: Floats) -> Floats:
    mean: Floats = sums[:, 1] / np.maximum(sums[:, 0], 1.0)
    return mean


def _light(mean: Floats, ground: float) -> tuple[float, float]:
    if len(mean) == 0:
        return ground, 1.0
    middle = float(np.median(mean))
    spread = 1.48 * float(np.median(np.abs(mean - middle)))
    return middle, max(abs(middle - ground), spread, 1e-9)


def _relative(mean: Floats, light: tuple[float, float]) -> Floats:
    return np.clip((mean - light[0]) / light[1], -5.0, 5.0)


def daughters(found: Bodies, one: Longs, two: Longs) -> Daughters:
    """Return pairs of cells, given by their rows in ``found``, as supposed daughters."""
    pair = np.stack([one, two], axis=1)
    return Daughters(
        found.centre_px[pair], found.vote_px[pair], found.area_px[pair], found.brightness[pair], found.newborn[pair]
    )


def _roundness(sums: Floats) -> Floats:
    count = np.maximum(sums[:, 0], 1.0)
    y, x = sums[:, 2] / count, sums[:, 3] / count
    yy = sums[:, 4] / count - y * y + 1 / 12
    xx = sums[:, 5] / count - x * x + 1 / 12
    yx = sums[:, 6] / count - y * x
    middle, swing = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    round_: Floats = np.sqrt(np.maximum(middle - swing, 0) / np.maximum(middle + swing, 1e-9))
    return round_


def places(known: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the lookup from label (less the smallest one) to its place in the ascending ``known``; -1 where none."""
    if len(known) == 0:
        return np.zeros(0, np.int32)
    lookup = np.full(int(known[-1]) - int(known[0]) + 1, -1, np.int32)
    lookup[known - known[0]] = np.arange(len(known), dtype=np.int32)
    return lookup


def pace(typical_px: float) -> int:
    """Return how many lines apart a cell may be sampled and still be crossed eight times."""
    return int(np.clip(typical_px / 8, 1, 4))


def compact(given: Segmentation) -> Segmentation:
    """Return the segmentation with labels so close together that a lookup by label is cheap. Raises StageError."""
    cells = given.cells
    if (np.diff(cells.label) <= 0).any():
        raise StageError("a Cells table must be sorted by label, and no label may come twice")
    if len(cells) == 0 or int(cells.label[-1]) - int(cells.label[0]) < WIDEST:
        return given
    rank = np.searchsorted(cells.label, given.labels)
    known = given.labels == cells.label[np.minimum(rank, len(cells) - 1)]
    stray = given.labels[~known & (given.labels != 0)]
    if stray.size:
        raise StageError(f"label {stray[0]} is in the image but not in the Cells table")
    label = np.arange(1, len(cells) + 1, dtype=np.int32)
    return Segmentation(np.where(known, rank + 1, 0).astype(np.int32), replace(cells, label=label))


@compiled
def _sums(
    labels: NDArray[np.int32], least: int, lookup: NDArray[np.int32], cells: int, pixels: NDArray[Any], pace: int
) -> Floats:
    """Sum 1, value, y, x, yy, xx, yx over each cell, on every so manieth line.

    Works by runs of equal labels along x. Coordinates count from each cell's first run, so that the squares stay small.
    """
    sums = np.zeros((cells, 7))
    origin = np.zeros((cells, 2), np.int64)
    height, width = labels.shape
    for y in range(0, height, pace):
        x = 0
        while x < width:
            label = labels[y, x]
            if label == 0:
                x += 1
                continue
            first, value = x, np.int64(0)
            while x < width and labels[y, x] == label:
                value += pixels[y, x]
                x += 1
            row = lookup[label - least] if 0 <= label - least < len(lookup) else -1
            if row < 0:
                continue
            if sums[row, 0] == 0:
                origin[row, 0], origin[row, 1] = y, first
            count, dy, low = float(x - first), float(y - origin[row, 0]), float(first - origin[row, 1])
            high = low + count - 1
            across = count * (low + high) / 2
            sums[row, 0] += count
            sums[row, 1] += value
            sums[row, 2] += dy * count
            sums[row, 3] += across
            sums[row, 4] += dy * dy * count
            sums[row, 5] += (high * (high + 1) * (2 * high + 1) - (low - 1) * low * (2 * low - 1)) / 6
            sums[row, 6] += dy * across
    return sums


@compiled
def overlaps(
    labels: NDArray[np.int32],
    label_least: int,
    label_row: NDArray[np.int32],
    before: NDArray[np.int32],
    track_least: int,
    track_row: NDArray[np.int32],
    shift: tuple[int, int],
    start: Longs,
    column: Longs,
    pace: int,
) -> Longs:
    """Count for each edge the pixels that its track shared with its cell.

    Parameters
    ----------
    labels, label_least, label_row
        This frame's label image with the smallest label of its cells and their :func:`places` (the edges' columns).
    before, track_least, track_row
        The same of the tracked label image of the frame before (the edges' rows).
    shift
        ``(y, x)`` from the image before to this one.
    pace
        Only every so manieth line is read, and counts for all.
    """
    shared = np.zeros(len(column), np.int64)
    height, width = labels.shape
    tall, wide = before.shape
    down, right = shift
    for y in range(max(0, down), min(height, tall + down), pace):
        now, then, edge = 0, 0, -1
        for x in range(max(0, right), min(width, wide + right)):
            a, b = labels[y, x], before[y - down, x - right]
            if a == 0 or b == 0:
                continue
            if a != now or b != then:
                now, then, edge = a, b, -1
                i = track_row[b - track_least] if 0 <= b - track_least < len(track_row) else -1
                j = label_row[a - label_least] if 0 <= a - label_least < len(label_row) else -1
                if i >= 0 and j >= 0:
                    for e in range(start[i], start[i + 1]):
                        if column[e] == j:
                            edge = e
            if edge >= 0:
                shared[edge] += pace
    return shared


@compiled
def relabel(labels: NDArray[np.int32], becomes: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """Return the label image with each label replaced by ``becomes[label]``, and a label that becomes nothing, or 0."""
    out = np.empty(labels.shape, np.int32)
    height, width = labels.shape
    unknown = 0
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            new = becomes[label] if 0 <= label < len(becomes) else 0
            if new == 0 and label != 0:
                unknown = label
            out[y, x] = new
    return out, unknown
