"""Cutting a cell in which two or more tracks met: the segmenter saw one, the past knows better."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled_for
from models.track.links import Expected, Links
from models.track.measure import Bodies
from models.track.memory import Rows
from models.track.sheet import Piece
from stream.cells import Cells, Segmentation
from stream.stages import Moment

Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

SETTLED = 2
"""Frames in which a track must have been seen before its word counts, unless its birth was a sure division."""
LONG = 0.75
"""Newborn daughters are only cut apart in a cell less round than this: a round one is their mother again."""
FULL = 0.7
"""The part of the tracks' summed area that the common cell must have: else one of them is gone, not hidden."""
LEAST = 0.15
"""The part of its track's area that each piece must have: a sliver would be its track's size from then on."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Cell ``cell`` (a row of the Cells table) belongs to the tracks ``rows``."""

    cell: int
    rows: Longs


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """What cutting made: which old cells stay ``(n,)``; each piece's shape, old cell and track ``(k,)``."""

    keep: NDArray[np.bool_]
    shape: tuple[Piece, ...]
    cell: Longs
    row: Longs


def cuts(rows: Rows, expected: Expected, found: Bodies, made: Links, host_of: Longs, longest: int) -> list[Cut]:
    """Find the cells that cover several settled tracks and are as large as these together.

    Parameters
    ----------
    host_of : (tracks,)
        The track whose cell covers an unseen one, or 0.
    longest
        Frames in a row for which a track may be kept apart by cutting.
    """
    if not (host_of > 0).any():
        return []
    mostly = np.nonzero(2 * made.shared_px > expected.area_px[made.row])[0]
    row, column = made.row[mostly], made.column[mostly]
    old = rows["seen"] >= SETTLED
    patient = rows["cut"] < longest
    found_cuts = []
    for cell in np.unique(column[host_of[row] > 0]):
        inside = row[column == cell]
        long = found.roundness[cell] < LONG
        if len(inside) < 2 or not (patient & (old | (rows["sure"] & long)))[inside].all():
            continue
        if found.area_px[cell] >= FULL * expected.area_px[inside].sum():
            found_cuts.append(Cut(int(cell), inside))
    return found_cuts


def cut(given: Segmentation, moment: Moment, expected: Expected, made: list[Cut]) -> tuple[Segmentation, Pieces]:
    """Share the pixels of each cut cell among its tracks, each to the nearest in units of the tracks' own size.

    A cell of which a track would only get a sliver stays whole.

    Returns
    -------
    Segmentation
        With new labels for the pieces, which stand behind the other cells; the label image knows nothing of them.
    Pieces
        Whose they are.
    """
    cells = given.cells
    label = int(cells.label[-1])
    keep = np.ones(len(cells), np.bool_)
    rows: list[Cells] = []
    shapes: list[Piece] = []
    of: list[tuple[int, int]] = []
    for one in made:
        y0, x0, y1, x1 = (int(v) for v in cells.bbox_px[one.cell])
        box = given.labels[y0:y1, x0:x1].copy()
        box[box != cells.label[one.cell]] = 0  # a cell that was left out keeps its pixels, and any label
        centre = expected.expected_px[one.rows] - [y0, x0]
        _share(box, int(cells.label[one.cell]), centre, np.sqrt(expected.area_px[one.rows]), label + 1)
        sizes_px = np.bincount(box[box > label] - label - 1, minlength=len(one.rows))
        if (sizes_px < np.maximum(LEAST * expected.area_px[one.rows], 1)).any():
            continue
        keep[one.cell] = False
        for row in one.rows:
            label += 1
            ys, xs = np.nonzero(box == label)
            corner = (slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1))
            shapes.append(Piece(y0 + int(ys.min()), x0 + int(xs.min()), box[corner] == label))
            rows.append(_piece(cells, one.cell, label, ys + y0, xs + x0, moment))
            of.append((one.cell, row))
    columns = {
        column.name: np.concatenate([getattr(cells, column.name)[keep], *(getattr(p, column.name) for p in rows)])
        for column in fields(Cells)
    }
    cell, row = np.array(of, np.int64).reshape(-1, 2).T
    return replace(given, cells=Cells(**columns)), Pieces(keep, tuple(shapes), cell, row)


def relinked(made: Links, cell_of: Longs, pieces: Pieces) -> tuple[Links, Longs]:
    """Return the links among the cells after a cut, and each track's cell: each piece is sure to be its track's."""
    kept = int(pieces.keep.sum())
    becomes = np.where(pieces.keep, np.cumsum(pieces.keep) - 1, kept)
    column, cost = becomes[made.column], np.where(pieces.keep[made.column], made.cost, np.inf)
    after = np.where(cell_of >= 0, becomes[cell_of], -1)
    after[(cell_of >= 0) & ~pieces.keep[cell_of]] = -1
    for number, (cell, row) in enumerate(zip(pieces.cell, pieces.row, strict=True), start=kept):
        mine = slice(made.start[row], made.start[row + 1])
        to_it = made.column[mine] == cell
        column[mine][to_it], cost[mine][to_it] = number, 0.0
        after[row] = number
    return Links(made.start, column, made.row, cost, made.shared_px), after


def _piece(cells: Cells, row: int, label: int, ys: Longs, xs: Longs, moment: Moment) -> Cells:
    columns = {column.name: getattr(cells, column.name)[row : row + 1].copy() for column in fields(Cells)}
    columns["label"][0] = label
    columns["centroid_px"][0] = ys.mean(), xs.mean()
    columns["bbox_px"][0] = ys.min(), xs.min(), ys.max() + 1, xs.max() + 1
    columns["area_px"][0] = len(ys)
    for name in ("prev_centre_px", "state_prob"):  # said of the whole
        columns[name][0] = np.nan
    if len(moment.channels) == cells.mean_counts.shape[1]:
        columns["mean_counts"][0] = [np.nan if p is None else p[ys, xs].mean() for p in moment.channels.values()]
    return Cells(**columns)


@compiled_for("void(int32[:,:], int64, float64[:,::1], float64[::1], int64)")
def _share(box: NDArray[np.int32], label: int, centre: Floats, size: Floats, first: int) -> None:
    """Write ``first + k`` into the pixels of ``label`` whose nearest centre is ``k``."""
    height, width = box.shape
    for y in range(height):
        for x in range(width):
            if box[y, x] != label:
                continue
            nearest, least = 0, np.inf
            for k in range(len(centre)):
                away = ((y - centre[k, 0]) ** 2 + (x - centre[k, 1]) ** 2) / size[k] ** 2
                if away < least:
                    nearest, least = k, away
            box[y, x] = first + nearest
