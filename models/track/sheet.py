"""The label image that goes out: the segmenter's, with tracks for labels and with pieces in the place of cut cells.

The segmenter's own image is only ever read. What changes on the way (cells left out, cells cut) is noted, and written
in the one pass that gives every pixel its track.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from stream.cells import Cells, Segmentation
from stream.errors import StageError

Longs = NDArray[np.int64]
Ints = NDArray[np.int32]

STRAY = -1
"""What a label becomes that no cell has."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a cut cell: its pixels in the box whose corner is ``(y0, x0)``."""

    y0: int
    x0: int
    mask: NDArray[np.bool_]


def published(given: Segmentation, cells: Cells, pieces: Sequence[Piece], id_of_cell: Longs) -> Segmentation:
    """Return the segmentation with each label replaced by its track's id, the table sorted by it.

    Parameters
    ----------
    given
        What the segmenter found.
    cells
        What became of it: cells that are not among them are left out, and those at the end are the ``pieces``.
    id_of_cell : (len(cells),)
        Track ids; 0 for a cell that is left out.

    Raises
    ------
    StageError
        A label in the image is not in the segmenter's table.
    """
    new = id_of_cell.astype(np.int32)
    whole = len(cells) - len(pieces)
    labels, stray = relabel(given.labels, _becomes(given.cells.label, cells.label[:whole], new))
    if stray:
        raise StageError(f"label {stray} is in the image but not in the Cells table")
    for piece, track_id in zip(pieces, new[whole:], strict=True):
        height, width = piece.mask.shape
        labels[piece.y0 : piece.y0 + height, piece.x0 : piece.x0 + width][piece.mask] = track_id
    order = by_track(id_of_cell)
    columns = {column.name: getattr(cells, column.name)[order] for column in fields(Cells)}
    columns["label"] = new[order]
    return Segmentation(labels, Cells(**columns), given.kind)


def by_track(id_of_cell: Longs) -> Longs:
    """Return the cells that have a track, in the order of their tracks."""
    order = np.argsort(id_of_cell, kind="stable")
    return order[np.count_nonzero(id_of_cell == 0) :]


def _becomes(known: Ints, kept: Ints, new: Ints) -> Ints:
    """Return the lookup from the segmenter's label to the track's; 0 for a cell that is left out or in pieces."""
    becomes = np.full(int(known[-1]) + 1 if len(known) else 1, STRAY, np.int32)
    becomes[0] = 0
    becomes[known] = 0
    becomes[kept] = new[: len(kept)]
    return becomes


@compiled
def relabel(labels: Ints, becomes: Ints) -> tuple[Ints, int]:
    """Return the label image with each label replaced by ``becomes[label]``, and a label that is a stray, or 0."""
    out = np.empty(labels.shape, np.int32)
    height, width = labels.shape
    stray = 0
    for y in range(height):
        last, new = np.int32(0), np.int32(0)
        for x in range(width):
            label = labels[y, x]
            if label != last:
                last = label
                new = becomes[label] if 0 <= label < len(becomes) else np.int32(STRAY)
                if new == STRAY:
                    stray = label
            out[y, x] = new
    return out, stray
