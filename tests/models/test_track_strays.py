import numpy as np
import pytest
from track_scene import Disc, grid, shot

from models.divide.evidence import DEPTH, Mothers
from models.divide.rule import RuleDivider
from models.track.assignment import AssignmentTracker
from models.track.memory import ROW
from models.track.strays import joined, strays
from stream.lineage import TrackState

OTHERS = [disc for disc in grid() if (disc.y, disc.x) != (90, 90)]
PIECES = [Disc(90, 86, 9.5), Disc(90, 98, 4.5)]
PAIR = [Disc(90, 80, 7.5), Disc(90, 100, 7.5)]


def follow(movie, **options):
    tracker = AssignmentTracker(options)
    return [tracker.step(one) for one in movie]


def falls_apart(then, before=4):
    """A cell that shows as two unlike pieces for one frame."""
    told = [[Disc(90, 90, 10)]] * before + [PIECES] + [then] * 3
    return [shot(t, [*OTHERS, *cells]) for t, cells in enumerate(told)]


@pytest.mark.parametrize(("least", "told"), [(0.4, [5]), (0.99, [])])
def test_a_mother_that_fell_apart_too_early_divides_when_she_divides(least, told):
    steps = follow(falls_apart(PAIR), stray_threshold=least)
    divided = [(t, one) for t, one in enumerate(steps) if (one.tracks.state == TrackState.DIVIDED).any()]
    assert [t for t, _ in divided] == told
    for t, one in divided:
        (mother,) = one.tracks.track_id[one.tracks.state == TrackState.DIVIDED]
        assert mother in steps[0].tracks.track_id
        assert one.tracks.born[one.tracks.parent_id == mother].tolist() == [t, t]
        (stray,) = one.tracks.track_id[one.tracks.born == 4]
        assert one.tracks.state[one.tracks.track_id == stray] == TrackState.LOST
        assert stray not in one.segmentation.cells.label


def test_the_division_is_an_event_of_that_frame():
    divider = RuleDivider({})
    events = [event for one in follow(falls_apart(PAIR)) for event in divider.step(one)]
    assert [(event.frame, event.status) for event in events] == [(5, "provisional"), (5, "confirmed")]


def test_pieces_that_heal_are_no_division():
    steps = follow(falls_apart([Disc(90, 90, 10)]))
    assert not any((one.tracks.state == TrackState.DIVIDED).any() for one in steps)


def test_strays_began_alone_and_lately_and_not_with_the_movie():
    rows = np.zeros(5, ROW)
    rows["seen"], rows["parent"] = [9, 1, 2, 1, 3], [0, 0, 0, 7, 0]
    assert strays(rows).tolist() == [False, True, False, False, False]
    rows["seen"] = 1
    assert not strays(rows).any()
    assert not strays(rows[:0]).any()


def test_joined_is_the_cell_as_if_it_had_not_fallen_apart():
    def mother(x, area, dividing):
        past = np.full((1, DEPTH), area)
        told = np.array([[dividing, 0.5, 0.5]])
        places = np.repeat(np.array([[[0.0, x]]]), DEPTH, axis=1)
        return Mothers(places, past, past, past, told, told, np.array([9]))

    one = joined(mother(0.0, 30.0, 0.2), mother(4.0, 10.0, 0.8))
    assert one.places_px[0].tolist() == [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert one.area_px[0].tolist() == [40.0, 30.0, 30.0]
    assert one.dividing[0].tolist() == [0.8, 0.5, 0.5]


def test_what_lay_between_the_daughters_for_a_frame_is_not_their_mother():
    middle, pair = [Disc(90, 79, 7), Disc(90, 101, 7), Disc(90, 90, 3.5)], [Disc(90, 82, 8), Disc(90, 98, 8)]
    movie = [([Disc(90, 90, 10)], False)] * 4 + [(middle, True), (pair, True)] + [(pair, False)] * 2
    steps = follow([_voting(t, *told) for t, told in enumerate(movie)])
    divided = [one.tracks.track_id[one.tracks.state == TrackState.DIVIDED].tolist() for one in steps]
    assert [len(one) for one in divided] == [0, 0, 0, 0, 1, 0, 0, 0]
    (mother,) = divided[4]
    first, last = (one.tracks.track_id[one.tracks.parent_id == mother].tolist() for one in (steps[4], steps[-1]))
    assert len(first) == 2
    assert first == last


def _voting(number, cells, new):
    """A frame whose cells say where they were; ``new`` ones that they were the cell in the middle."""
    votes = [(one.y, one.x) for one in OTHERS] + [(90, 90) if new else (one.y, one.x) for one in cells]
    state = [(0.9, 0.1, 0.0, np.nan)] * len(OTHERS) + [(0.1, 0.1, 0.8 if new else 0.0, np.nan)] * len(cells)
    known = {"prev_centre_px": np.array(votes, np.float32), "state_prob": np.array(state, np.float32)}
    return shot(number, [*OTHERS, *cells], **known)
