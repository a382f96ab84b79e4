"""A cell in which tracks met is shared out, and stays whole where one of them would only get a sliver."""

import numpy as np
import pytest
from track_scene import Disc, shot

from models.track.cuts import Cut, cut
from models.track.links import Expected

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


def test_of_two_cells_one_is_cut_and_the_other_stays():
    one = shot(0, [CELL, OTHER])
    tracks = expected(((60, 60), (60, 72), (120, 56), (120, 64)), (300, 300, 100, 100))
    cells = [Cut(0, np.array([0, 1])), Cut(1, np.array([2, 3]))]
    whole, made = cut(one.segmentation, one.moment, tracks, cells)
    assert (made.keep.tolist(), made.row.tolist(), made.cell.tolist()) == ([True, False], [2, 3], [1, 1])
    assert len(set(whole.cells.label.tolist())) == len(whole.cells) == 3
