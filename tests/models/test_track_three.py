"""A mother with three daughters: one division that names all three."""

import numpy as np
import pytest
from track_scene import Disc, grid, shot

from models.divide.lives import LifeDivider
from models.track.assignment import AssignmentTracker
from models.track.splits import THIRD
from stream.lineage import TrackState

MOTHER = Disc(90, 90, 10)
OTHERS = [disc for disc in grid() if (disc.y, disc.x) != (90, 90)]
SPLIT = 4
CALM, READY, NEW = (0.9, 0.05, 0.05, np.nan), (0.05, 0.9, 0.05, np.nan), (0.05, 0.05, 0.9, np.nan)
UP, LEFT, RIGHT = Disc(80, 90, 7), Disc(95, 81, 7), Disc(95, 99, 7)


def movie(daughters, *, from_mother=3, votes=True):
    """A mother among still cells who splits in frame 4; the first daughters say that they come from her."""
    alone, parted = [*OTHERS, MOTHER], [*OTHERS, *daughters]
    own = daughters[from_mother:]
    came_from = [*OTHERS, *[MOTHER] * (len(daughters) - len(own)), *own]
    frames = [(alone, alone, [CALM])] * (SPLIT - 1) + [(alone, alone, [READY])]
    frames += [(parted, came_from, [NEW] * (len(daughters) - len(own)) + [CALM] * len(own))]
    frames += [(parted, parted, [CALM] * len(daughters))] * 4
    return [
        shot(t, discs, **(word([CALM] * len(OTHERS) + states, before) if votes else {}))
        for t, (discs, before, states) in enumerate(frames)
    ]


def word(states, before):
    """What a network says of cells."""
    centres = np.array([[disc.y, disc.x] for disc in before], np.float32)
    return {"state_prob": np.array(states, np.float32), "prev_centre_px": centres}


def run(frames):
    tracker, divider = AssignmentTracker({}), LifeDivider({})
    steps = [tracker.step(one) for one in frames]
    events = [event for one in steps for event in divider.step(one)]
    return steps, [event for event in events if event.kind == "division"]


def places(discs):
    return [pytest.approx((disc.y, disc.x), abs=0.5) for disc in discs]


@pytest.mark.parametrize("votes", [True, False])
def test_one_division_names_three_daughters(votes):
    steps, (first, last) = run(movie([UP, LEFT, RIGHT], votes=votes))
    assert (first.status, first.frame, first.emitted_frame) == ("provisional", SPLIT, SPLIT)
    assert (last.status, last.event_id) == ("confirmed", first.event_id)
    assert len(first.daughter_ids) == 3
    assert last.daughter_ids == first.daughter_ids
    assert sorted(first.daughters_yx_px) == places([UP, LEFT, RIGHT])
    born = steps[SPLIT].tracks
    assert born.track_id[born.parent_id == first.parent_id].tolist() == list(first.daughter_ids)
    assert born.state[born.track_id == first.parent_id] == TrackState.DIVIDED
    labels = [steps[-1].segmentation.labels[disc.y, disc.x] for disc in (UP, LEFT, RIGHT)]
    assert sorted(labels) == list(first.daughter_ids)


OTHER_THIRDS = {
    "much smaller": (Disc(80, 90, 4.5), 3),
    "says that she is nobody's daughter": (UP, 2),
}


@pytest.mark.parametrize("name", OTHER_THIRDS)
def test_a_third_cell_that_is_not_like_the_two_is_no_daughter(name):
    third, from_mother = OTHER_THIRDS[name]
    steps, events = run(movie([LEFT, RIGHT, third], from_mother=from_mother))
    first, last = events
    assert (first.status, last.status) == ("provisional", "confirmed")
    assert sorted(first.daughters_yx_px) == places([LEFT, RIGHT])
    assert steps[-1].segmentation.labels[third.y, third.x] not in (0, *first.daughter_ids)


def test_a_third_daughter_needs_better_evidence_than_the_first_two():
    trio = [Disc(76, 90, 8), Disc(97, 78, 8), Disc(97, 102, 8)]
    _, (first,) = run(movie(trio, votes=False)[: SPLIT + 1])
    assert len(first.daughter_ids) == 2
    assert 0.5 < first.confidence < THIRD


def test_a_doubtful_third_daughter_does_not_make_her_sister_a_mother():
    trio = [Disc(76, 90, 8), Disc(97, 78, 8), Disc(97, 102, 8)]
    _, events = run(movie(trio, votes=False))
    assert {event.frame for event in events} == {SPLIT}
    assert len({event.event_id for event in events}) == 1


def test_a_movie_cut_short_tells_the_same_until_then():
    frames = movie([UP, LEFT, RIGHT])
    _, whole = run(frames)
    for cut in range(len(frames)):
        assert run(frames[:cut])[1] == [event for event in whole if event.emitted_frame < cut]
