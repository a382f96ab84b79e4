"""The cells of one frame as the tracker weighs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled, compiled_for
from models.divide.evidence import Daughters
from models.track.runs import Runs, pace, scan
from models.track.sheet import Piece
from stream.cells import STATES, Cells, Kind, Segmentation
from stream.errors import StageError

WIDEST = 1 << 22
"""Labels are numbered anew from here on: a lookup by label is as long as the largest one."""

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]


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
    kind
        What the segmenter took the picture for; None: it does not know.
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
    kind: Kind | None = None

    def __len__(self) -> int:
        return len(self.area_px)

    def take(self, rows: Longs) -> Bodies:
        """Return some of them, in another order."""
        columns: dict[str, Any] = {one.name: getattr(self, one.name)[rows] for one in fields(self)[:-3]}
        return replace(self, **columns)

    def with_pieces(
        self, keep: NDArray[np.bool_], cells: Cells, pieces: Sequence[Piece], pixels: NDArray[Any]
    ) -> Bodies:
        """Return those that stay after a cut, and behind them the pieces, measured alone.

        Parameters
        ----------
        keep : (n,) bool
            Which stay.
        cells
            The table after the cut; the pieces stand at its end.
        """
        pace_px, unknown = pace(self.typical_px), np.full(len(pieces), np.nan)
        sums = np.array([_piece_sums(one, pixels, pace_px) for one in pieces])
        new = {
            "centre_px": cells.centroid_px[-len(pieces) :],
            "area_px": cells.area_px[-len(pieces) :],
            "brightness": _relative(sums[:, 1] / np.maximum(sums[:, 0], 1.0), *self.light),
            "roundness": _roundness(sums),
            "vote_px": np.full((len(pieces), 2), np.nan),
            "newborn": unknown,
            "dividing": unknown,
        }
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(self, name)[keep], rest]) for name, rest in new.items()
        }
        return replace(self, **columns)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Centres ``(n, 2)`` px and areas ``(n,)`` px² of the cells, and the diameter of the typical one."""

    centre_px: Floats
    area_px: Floats
    typical_px: float


def bodies(segmentation: Segmentation, pixels: NDArray[Any]) -> Bodies:
    """Measure the cells of a frame by itself. Raises StageError as :func:`sizes` and :func:`measured`."""
    of = sizes(segmentation.cells)
    return measured(segmentation, pixels, of, pace(of.typical_px))[0]


def sizes(cells: Cells, typical_area_px: float | None = None) -> Sizes:
    """Return the sizes of a frame's cells.

    Parameters
    ----------
    typical_area_px
        Area of the typical cell as known from earlier frames; None: this frame's median alone.

    Raises
    ------
    StageError
        A centroid or area is not finite.
    """
    centre, area = cells.centroid_px.astype(np.float64), cells.area_px.astype(np.float64)
    if not (np.isfinite(centre).all() and np.isfinite(area).all() and (area > 0).all()):
        i = int(np.argmin(np.isfinite(centre).all(axis=1) & np.isfinite(area) & (area > 0)))
        raise StageError(
            f"cell {int(cells.label[i])} has centroid {cells.centroid_px[i].tolist()} and area {area[i]}; "
            "a segmenter must leave such cells out"
        )
    typical = middle(area) if len(area) else (typical_area_px or 1.0)
    if typical_area_px is not None and len(area):
        weight = min(len(area), 20) / 40
        typical = weight * typical + (1 - weight) * typical_area_px
    typical_px = 2 * float(np.sqrt(typical / np.pi))
    return Sizes(centre, area, typical_px)


def measured(
    segmentation: Segmentation,
    pixels: NDArray[Any],
    of: Sizes,
    pace: int,
    phase: int = 0,
    vote_px: Floats | None = None,
) -> tuple[Bodies, Runs]:
    """Measure the cells of a frame.

    Parameters
    ----------
    pixels : (y, x)
        The image that was segmented.
    pace, phase
        The lines of the image that are looked at.
    vote_px
        ``prev_centre_px`` in this frame's px; None: there was no frame before.

    Raises
    ------
    StageError
        The label image does not belong to the pixels.
    """
    cells, labels = segmentation.cells, segmentation.labels
    if labels.shape != pixels.shape:
        raise StageError(f"the label image is {labels.shape} and its frame {pixels.shape}; segment the same frame")
    runs, sums = scan(labels, cells.label, pixels, pace, phase)
    brightness, light = _lit(sums, _ground(labels, pixels, max(1, int(np.sqrt(pixels.size / 10_000)))))
    votes = np.full_like(of.centre_px, np.nan) if vote_px is None else vote_px
    state = cells.state_prob.astype(np.float64)
    # in the layout that frames with cut cells have too: another one would be compiled while a frame waits
    newborn, dividing = (np.ascontiguousarray(state[:, STATES.index(name)]) for name in ("newborn", "mitosis"))
    found = Bodies(
        of.centre_px, of.area_px, brightness, _roundness(sums), votes, newborn, dividing, of.typical_px, light,
        segmentation.kind,
    )  # fmt: skip
    return found, runs


def daughters(
    found: Bodies, one: Longs, two: Longs, goes_on: Bools | None = None, taken: Bools | None = None
) -> Daughters:
    """Return pairs of cells, given by their rows in ``found``, as supposed daughters.

    Parameters
    ----------
    goes_on, taken : (n,) bool
        As :class:`models.divide.evidence.Daughters` has them; None: as usual, the mother's track in one of them and no
        other track.
    """
    pair = np.stack([one, two], axis=1)
    return Daughters(
        found.centre_px[pair],
        found.vote_px[pair],
        found.area_px[pair],
        found.brightness[pair],
        found.newborn[pair],
        found.dividing[pair],
        np.ones(len(one), np.bool_) if goes_on is None else goes_on,
        np.zeros(len(one), np.bool_) if taken is None else taken,
    )


def compact(given: Segmentation) -> Segmentation:
    """Return the segmentation with labels so close together that a lookup by label is cheap. Raises StageError."""
    cells = given.cells
    if (cells.label[1:] <= cells.label[:-1]).any():
        raise StageError("a Cells table must be sorted by label, and no label may come twice")
    if len(cells) == 0 or int(cells.label[-1]) < WIDEST:
        return given
    rank = np.searchsorted(cells.label, given.labels)
    known = given.labels == cells.label[np.minimum(rank, len(cells) - 1)]
    stray = given.labels[~known & (given.labels != 0)]
    if stray.size:
        raise StageError(f"label {stray[0]} is in the image but not in the Cells table")
    label = np.arange(1, len(cells) + 1, dtype=np.int32)
    return replace(given, labels=np.where(known, rank + 1, 0).astype(np.int32), cells=replace(cells, label=label))


def _piece_sums(piece: Piece, pixels: NDArray[Any], pace: int) -> Floats:
    """Return the row of :func:`models.track.runs.scan` of a piece."""
    height, width = piece.mask.shape
    light = np.ascontiguousarray(pixels[piece.y0 : piece.y0 + height, piece.x0 : piece.x0 + width])
    image, label = piece.mask.astype(np.int32), np.ones(1, np.int32)
    image.flags.writeable = label.flags.writeable = False  # the types compiled already
    light.flags.writeable = pixels.flags.writeable
    sums: Floats = scan(image, label, light, pace)[1][0]
    return sums


@compiled
def middle(values: Floats) -> float:
    """Return the median of at least one value; many times faster than numpy for some hundred."""
    return float(np.median(values))


@compiled
def _ground(labels: NDArray[np.int32], pixels: NDArray[Any], step: int) -> float:
    """Return the median of every so manieth pixel between the cells, or of all of these where there is none."""
    height, width = labels.shape
    values = np.empty(((height + step - 1) // step) * ((width + step - 1) // step))
    for everything in (False, True):
        count = 0
        for y in range(0, height, step):
            for x in range(0, width, step):
                if everything or labels[y, x] == 0:
                    values[count] = pixels[y, x]
                    count += 1
        if count:
            return float(np.median(values[:count]))
    return 0.0


@compiled
def _lit(sums: Floats, ground: float) -> tuple[Floats, tuple[float, float]]:
    """Return each cell's brightness, and the counts at brightness 0 and for 1."""
    mean = sums[:, 1] / np.maximum(sums[:, 0], 1.0)
    if len(mean) == 0:
        return mean, (ground, 1.0)
    typical = float(np.median(mean))
    spread = 1.48 * float(np.median(np.abs(mean - typical)))
    one = max(abs(typical - ground), spread, 1e-9)
    return _relative(mean, typical, one), (typical, one)


@compiled_for("float64[::1](float64[::1], float64, float64)")
def _relative(mean: Floats, zero: float, one: float) -> Floats:
    return np.minimum(np.maximum((mean - zero) / one, -5.0), 5.0)


@compiled
def _roundness(sums: Floats) -> Floats:
    count = np.maximum(sums[:, 0], 1.0)
    y, x = sums[:, 2] / count, sums[:, 3] / count
    yy = sums[:, 4] / count - y * y + 1 / 12
    xx = sums[:, 5] / count - x * x + 1 / 12
    yx = sums[:, 6] / count - y * x
    middle, swing = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    return np.sqrt(np.maximum(middle - swing, 0) / np.maximum(middle + swing, 1e-9))
