"""A cell in which tracks met is shared out, and stays whole where one of them would only get a sliver."""

from dataclasses import fields

import numpy as np
import pytest
from track_scene import Disc, shot

from models.track.cuts import Cut, cut
from models.track.links import Expected
from stream.cells import Cells, Segmentation

CELL, OTHER = Disc(60, 60, 10), Disc(120, 60, 8)


def expected(places, areas):
    n = len(areas)
    place = np.array(places, np.float64)
    return Expected(place, place, np.array(areas, np.float64), np.ones(n), np.zeros(n, np.int64), np.zeros(n, np.int32))


SHARED = {
    "two halves": (((60, 55), (60, 65)), (150, 150), 2),
    "three": (((60, 53), (60, 60), (60, 67)), (100, 100, 100), 3),
    "one would get a sliver": (((60, 60), (60, 72)), (300, 300), 0),
    "one would get nothing": (((60, 60), (60, 100)), (300, 300), 0),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_cell_is_shared_out_or_stays_whole(name):
    places, areas, pieces = SHARED[name]
    one = shot(0, [CELL, OTHER])
    tracks = expected(places, areas)
    rows = np.arange(len(areas))
    whole, made = cut(one.segmentation, one.moment, tracks, [Cut(0, rows)])
    assert len(made.shape) == len(made.cell) == len(made.row) == pieces
    assert made.keep.tolist() == [pieces == 0, True]
    assert len(whole.cells) == made.keep.sum() + pieces
    areas_px = whole.cells.area_px.tolist()
    assert sum(areas_px) == sum(one.segmentation.cells.area_px)
    assert sum(int(piece.mask.sum()) for piece in made.shape) == (sum(areas_px[1:]) if pieces else 0)


def test_a_neighbour_that_was_left_out_of_the_table_stays_out_of_the_pieces():
    one = shot(0, [CELL, Disc(66, 66, 4), Disc(54, 54, 4)], labels=[1, 2, 3])
    table = one.segmentation.cells
    box = table.bbox_px[0]
    inside = one.segmentation.labels[box[0] : box[2], box[1] : box[3]]
    assert set(np.unique(inside)) == {0, 1, 2, 3}, "the neighbours reach into the box of the cell"
    alone = Segmentation(one.segmentation.labels, Cells(**{f.name: getattr(table, f.name)[:1] for f in fields(Cells)}))
    whole, made = cut(alone, one.moment, expected(((60, 55), (60, 65)), (120, 120)), [Cut(0, np.arange(2))])
    assert len(made.shape) == 2
    assert whole.cells.area_px.sum() == table.area_px[0]
    for piece in made.shape:
        y, x = np.nonzero(piece.mask)
        assert (one.segmentation.labels[y + piece.y0, x + piece.x0] == 1).all()


def test_of_two_cells_one_is_cut_and_the_other_stays():
    one = shot(0, [CELL, OTHER])
    tracks = expected(((60, 60), (60, 72), (120, 56), (120, 64)), (300, 300, 100, 100))
    cells = [Cut(0, np.array([0, 1])), Cut(1, np.array([2, 3]))]
    whole, made = cut(one.segmentation, one.moment, tracks, cells)
    assert (made.keep.tolist(), made.row.tolist(), made.cell.tolist()) == ([True, False], [2, 3], [1, 1])
    assert len(set(whole.cells.label.tolist())) == len(whole.cells) == 3
