import numpy as np
import pytest
from track_scene import Disc, draw, grid, shot, table

from models.track.assignment import AssignmentTracker
from models.track.measure import _relative
from models.track.write import write
from stream.cells import Segmentation
from stream.errors import ConfigError, StageError
from stream.lineage import TrackState
from stream.stages import Segmented

MOTHER = Disc(90, 90, 10)


def ids_at(tracked, discs, **how):
    """Return the published label under each disc."""
    again = shot(0, discs, **how)
    return [
        int(tracked.segmentation.labels[tuple(np.round(c).astype(int))]) for c in again.segmentation.cells.centroid_px
    ]


def follow(movie, **options):
    tracker = AssignmentTracker(options)
    return [tracker.step(one) for one in movie]


def state_of(tracked, track):
    where = np.nonzero(tracked.tracks.track_id == track)[0]
    return None if len(where) == 0 else TrackState(tracked.tracks.state[where[0]])


def test_labels_are_track_ids_and_tables_agree():
    still = grid()
    for tracked in follow([shot(t, [d.at(t, -t) for d in still]) for t in range(5)]):
        labels = tracked.segmentation.cells.label
        assert labels.tolist() == sorted(labels) == list(range(1, 10))
        assert np.unique(tracked.segmentation.labels).tolist() == [0, *labels]
        assert tracked.tracks.label.tolist() == tracked.tracks.track_id.tolist() == list(range(1, 10))
        for row in tracked.segmentation.cells.label:
            spot = np.nonzero(tracked.segmentation.labels == row)
            centre = tracked.segmentation.cells.centroid_px[labels == row][0]
            assert np.allclose(centre, [s.mean() for s in spot], atol=1e-3)


def test_labels_of_the_segmenter_do_not_matter():
    discs = grid()
    rng = np.random.default_rng(3)
    given = [rng.permutation(np.arange(1, 10)) * 1_000_003 for _ in range(4)]
    movie = [shot(t, discs, labels=given[t].tolist()) for t in range(4)]
    for tracked in follow(movie)[1:]:
        first = follow(movie[:1])[0]
        assert np.array_equal(tracked.segmentation.labels, first.segmentation.labels)


def test_velocity_is_in_um_per_second():
    discs = grid()
    tracked = follow([shot(t, [d.at(0, 2 * t) for d in discs]) for t in range(20)])[-1]
    assert np.allclose(tracked.tracks.velocity_um_s, [2.0, 0.0], atol=0.3)  # 2 px of 0.5 µm every half second


GEOMETRIES = {
    "roi": {"roi": (20, 30, 160, 150)},
    "stage": {"stage_um": (15.0, -10.0)},
    "epoch": {"epoch": 4},
    "both": {"roi": (16, 0, 180, 190), "stage_um": (3.0, 4.0), "epoch": 1},
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_tracks_survive_a_change_of_geometry(name):
    discs, how = grid(2, 2, first=70), GEOMETRIES[name]
    a, b = follow([shot(0, discs), shot(1, discs, **how)])
    assert ids_at(b, discs, **how) == ids_at(a, discs)
    assert np.allclose(a.tracks.position_um, b.tracks.position_um, atol=0.3)


def test_tracks_outside_the_image_wait():
    discs = grid()
    narrow = {"roi": (60, 60, 60, 60)}
    movie = [shot(0, discs), *[shot(t, discs, **narrow) for t in range(1, 8)], shot(8, discs)]
    steps = follow(movie)
    assert ids_at(steps[-1], discs) == ids_at(steps[0], discs)


def test_a_jump_that_the_stage_did_not_report():
    discs = [d.at(7 * (i % 3), 5 * (i % 2)) for i, d in enumerate(grid(first=30, pitch=45))]
    a, b = follow([shot(0, discs), shot(1, [d.at(25, 31) for d in discs])])
    shared = min(len(a.tracks), len(b.segmentation.cells))
    assert shared == 9
    assert ids_at(b, [d.at(25, 31) for d in discs]) == ids_at(a, discs)


@pytest.mark.parametrize(("gap", "kept"), [(1, True), (2, True), (3, False)])
def test_gaps(gap, kept):
    discs = grid()
    movie = [shot(0, discs), *[shot(1 + t, discs[1:]) for t in range(gap)], shot(1 + gap, discs)]
    steps = follow(movie)
    assert (ids_at(steps[-1], discs)[0] == 1) is kept
    assert state_of(steps[gap], 1) is (TrackState.ALIVE if kept else TrackState.LOST)


def test_missed_frames_do_not_count_as_gaps():
    discs = grid()
    a, b = follow([shot(0, discs), shot(9, discs)])
    assert ids_at(a, discs) == ids_at(b, discs)


def test_a_cell_at_the_border_leaves():
    discs = [*grid(2, 2, first=80), Disc(100, 5)]
    movie = [shot(0, discs), shot(1, [*discs[:4], Disc(100, 0)]), *[shot(t, discs[:4]) for t in range(2, 6)]]
    states = [state_of(one, 5) for one in follow(movie, enter_px=0.0)]
    assert states == [TrackState.ALIVE] * 3 + [TrackState.LEFT, None, None]


def test_a_cell_that_was_only_seen_at_the_border_is_not_looked_for():
    discs = [*grid(2, 2, first=80), Disc(100, 5)]
    first, second, third = follow([shot(t, discs) for t in range(3)])
    assert [len(one.segmentation.cells) for one in (first, second, third)] == [5, 4, 4]
    assert [state_of(one, 5) for one in (first, second, third)] == [TrackState.ALIVE, TrackState.LEFT, None]


def test_a_cell_that_was_inside_is_followed_to_the_border():
    places = (26, 22, 18, 14, 11)
    steps = follow([shot(t, [*grid(2, 2, first=80), Disc(100, x)]) for t, x in enumerate(places)])
    assert [ids_at(one, [Disc(100, x)])[0] for one, x in zip(steps, places, strict=True)] == [5] * 5


def test_empty_frames_and_return():
    discs = grid()
    steps = follow([shot(0, discs), shot(1, []), shot(2, []), shot(3, discs), shot(4, [])])
    assert len(steps[1].segmentation.cells) == 0
    assert ids_at(steps[3], discs) == ids_at(steps[0], discs)
    assert [len(one.tracks) for one in follow([shot(0, []), shot(1, [])])] == [0, 0]


def divide(frames_late=0, after=4):
    """One of nine round cells becomes two; the second daughter is seen late."""
    others = [d for d in grid() if (d.y, d.x) != (90, 90)]
    pair = [MOTHER.at(0, -9), MOTHER.at(0, 9)]
    pair = [Disc(d.y, d.x, 7) for d in pair]
    movie = [shot(t, [*others, MOTHER]) for t in range(4)]
    for t in range(4, 4 + after + frames_late):
        movie.append(shot(t, [*others, *(pair if t >= 4 + frames_late else pair[:1])]))
    return movie, pair


@pytest.mark.parametrize("late", [0, 1])
def test_a_split_ends_the_mother_at_once(late):
    movie, pair = divide(late)
    steps = follow(movie)
    (mother,) = set(ids_at(steps[3], [MOTHER]))
    split = steps[4 + late]
    assert state_of(split, mother) is TrackState.DIVIDED
    daughters = ids_at(split, pair)
    assert len(set(daughters)) == 2
    assert not set(daughters) & set(steps[3].tracks.track_id.tolist())
    for one in steps[4 + late :]:
        assert ids_at(one, pair) == daughters
    parents = {int(i): int(p) for i, p in zip(split.tracks.track_id, split.tracks.parent_id, strict=True)}
    assert [parents[d] for d in daughters] == [mother, mother]
    assert state_of(steps[5 + late], mother) is None


def test_a_stranger_beside_an_unchanged_cell_is_no_daughter():
    discs = grid()
    steps = follow([*[shot(t, discs) for t in range(3)], shot(3, [*discs, discs[4].at(0, 20)])])
    assert not (steps[-1].tracks.state == TrackState.DIVIDED).any()
    assert steps[-1].tracks.parent_id.tolist() == [0] * 10


@pytest.mark.parametrize("max_cut", [0, 10])
def test_merge_and_split_again_is_no_division(max_cut):
    others = [d for d in grid() if d.y != 90]
    a, b = Disc(90, 70), Disc(90, 110)
    apart = [[a.at(0, 3 * t), b.at(0, -3 * t)] for t in range(4)]
    movie = [shot(t, [*others, *apart[t]]) for t in range(4)]
    for t in range(4, 7):
        both = shot(t, [*others, *apart[3]])
        image = both.segmentation.labels.copy()
        image[image == 23] = 20
        movie.append(Segmented(both.moment, table(image, both.moment.frame.pixels)))
    movie += [shot(t, [*others, *apart[3]]) for t in range(7, 9)]
    steps = follow(movie, max_cut=max_cut)
    assert ids_at(steps[-1], apart[3]) == ids_at(steps[3], apart[3])
    assert not any((one.tracks.state == TrackState.DIVIDED).any() for one in steps)
    met = ids_at(steps[5], apart[3])
    assert (met == ids_at(steps[3], apart[3])) is (max_cut > 0)
    assert len(steps[5].segmentation.cells) == (8 if max_cut else 7)


def test_a_frame_with_a_cut_meets_nothing_that_is_not_yet_compiled():
    others = [d for d in grid() if d.y != 90]
    pair = [Disc(90, 81), Disc(90, 99)]
    both = shot(4, [*others, *pair])
    image = both.segmentation.labels.copy()
    image[image == 23] = 20
    met = Segmented(both.moment, table(image, both.moment.frame.pixels))
    steps = follow([*(shot(t, [*others, *pair]) for t in range(4)), met])
    assert len(steps[-1].segmentation.cells) == len(met.segmentation.cells) + 1, "the cell was not cut"
    assert [len(one.signatures) for one in (write, _relative)] == [1, 1]


def test_twins_that_merge_again_keep_the_first_id():
    movie, pair = divide()
    again = shot(7, [*(d for d in grid() if (d.y, d.x) != (90, 90)), MOTHER])
    steps = follow([*movie[:7], again])
    assert ids_at(steps[-1], [MOTHER]) == [min(ids_at(steps[4], pair))]


def test_previous_centres_of_a_segmenter_are_used():
    discs = [Disc(60, 60), Disc(60, 90), Disc(60, 120), Disc(150, 150)]
    jump = [d.at(0, 30) if d.y == 60 else d for d in discs]  # each lands where its neighbour was
    before = np.array([[d.y, d.x] for d in discs], np.float32)
    plain = follow([shot(0, discs), shot(1, jump)])[-1]
    told = follow([shot(0, discs), shot(1, jump, prev_centre_px=before)])[-1]
    assert ids_at(plain, jump) != [1, 2, 3, 4]
    assert ids_at(told, jump) == [1, 2, 3, 4]


def test_previous_centres_hold_in_a_field_that_drifts():
    discs = [Disc(60 + 20 * (i % 2), 40 + 24 * i) for i in range(5)] + [Disc(150, 40 + 24 * i) for i in range(5)]
    drifted = [d.at(9, 0) for d in discs]
    swapped = [drifted[i] for i in (1, 0, 2, 3, 4, 5, 6, 7, 8, 9)]  # the first two change places
    before = np.array([[d.y, d.x] for d in discs], np.float32)
    movie = [shot(0, discs), shot(1, swapped, prev_centre_px=before)]
    assert ids_at(follow(movie)[-1], swapped) == list(range(1, 11))


def test_two_cells_that_come_from_one_are_its_daughters_though_another_track_could_go_on_in_one():
    others = [d for d in grid() if d.y != 90]
    lost, pair = Disc(90, 118), [Disc(90, 78, 7), Disc(90, 106, 7)]
    movie = [shot(t, [*others, MOTHER, lost]) for t in range(4)]
    now = [*others, *pair]
    before = np.array([[d.y, d.x] for d in [*others, MOTHER, MOTHER]], np.float32)
    state = np.array([[0.9, 0.05, 0.05, np.nan]] * 6 + [[0.1, 0.0, 0.9, np.nan]] * 2, np.float32)
    ready = np.array([[0.9, 0.05, 0.05, np.nan]] * 6 + [[0.1, 0.9, 0.0, np.nan], [0.9, 0.05, 0.05, np.nan]], np.float32)
    movie[3] = shot(3, [*others, MOTHER, lost], state_prob=ready)
    plain = follow([*movie, shot(4, now)])[-1]
    told = follow([*movie, shot(4, now, prev_centre_px=before, state_prob=state)])[-1]
    assert [state_of(one, 7) for one in (plain, told)] == [TrackState.ALIVE, TrackState.DIVIDED]
    assert state_of(told, 8) is TrackState.ALIVE
    assert set(ids_at(told, pair)) == {9, 10}


def test_pieces_of_a_cell_that_was_cut_know_nothing_of_what_was_said_of_the_whole():
    others = [d for d in grid() if d.y != 90]
    pair = [Disc(90, 81), Disc(90, 99)]
    movie = [shot(t, [*others, *pair]) for t in range(4)]
    both = shot(4, [*others, *pair])
    image = both.segmentation.labels.copy()
    image[image == 23] = 20
    pixels = both.moment.frame.pixels
    before = table(image, pixels).cells.centroid_px
    told = table(image, pixels, prev_centre_px=before, state_prob=np.full((7, 4), 0.5, np.float32))
    movie.append(Segmented(both.moment, told))
    cells = follow(movie)[-1].segmentation.cells
    assert cells.label.tolist() == list(range(1, 9))
    assert np.isnan(cells.prev_centre_px).all(axis=1).tolist() == [False] * 6 + [True] * 2
    assert np.isnan(cells.state_prob).all(axis=1).tolist() == [False] * 6 + [True] * 2


def test_state_goes_round_exactly():
    movie, _ = divide()
    whole = follow(movie)
    for cut in range(1, len(movie)):
        first = AssignmentTracker({})
        for one in movie[:cut]:
            first.step(one)
        second = AssignmentTracker({})
        second.load(first.save())
        assert second.save() == first.save()
        for one, same in zip(movie[cut:], whole[cut:], strict=True):
            got = second.step(one)
            assert np.array_equal(got.segmentation.labels, same.segmentation.labels)
            assert got.tracks.position_um.tobytes() == same.tracks.position_um.tobytes()
            assert got.tracks.velocity_um_s.tobytes() == same.tracks.velocity_um_s.tobytes()


def test_ids_begin_where_told_and_reset_uses_none_twice():
    tracker = AssignmentTracker({"first_id": 100})
    assert tracker.step(shot(0, grid())).tracks.track_id.tolist() == list(range(100, 109))
    tracker.reset("test")
    assert tracker.step(shot(0, grid())).tracks.track_id.min() == 109


def nan_centroid(one):
    cells = one.segmentation.cells
    bad = cells.centroid_px.copy()
    bad[2] = np.nan
    pixels = one.moment.frame.pixels
    image = one.segmentation.labels
    made = table(image, pixels)
    columns = {name: getattr(made.cells, name) for name in type(cells).__dataclass_fields__}
    return Segmented(one.moment, Segmentation(image, type(cells)(**{**columns, "centroid_px": bad})))


def unknown_label(one):
    image = one.segmentation.labels.copy()
    image[0, 0] = 999
    return Segmented(one.moment, Segmentation(image, one.segmentation.cells))


def wrong_shape(one):
    pixels, image = draw([MOTHER], (120, 120), [1])
    return Segmented(one.moment, table(image, pixels))


BAD = {"nan": (nan_centroid, "centroid"), "label": (unknown_label, "999"), "shape": (wrong_shape, "120")}


@pytest.mark.parametrize("name", BAD)
def test_impossible_input_is_refused_and_changes_nothing(name):
    spoil, word = BAD[name]
    tracker = AssignmentTracker({})
    tracker.step(shot(0, grid()))
    before = tracker.save()
    with pytest.raises(StageError, match=word):
        tracker.step(spoil(shot(1, grid())))
    assert tracker.save() == before


def test_a_frame_that_is_not_later_is_refused():
    tracker = AssignmentTracker({})
    tracker.step(shot(5, grid()))
    with pytest.raises(StageError, match="reset"):
        tracker.step(shot(5, grid()))


def test_foreign_state_and_options_are_refused():
    with pytest.raises(StageError, match="state"):
        AssignmentTracker({}).load(b"\x81\xa1x\x01")
    with pytest.raises(StageError, match="state"):
        AssignmentTracker({}).load(b"\xc1")
    with pytest.raises(ConfigError, match="max_gap"):
        AssignmentTracker({"max_gab": 3})


def test_cells_cut_by_the_edge_are_followed_once_they_are_in():
    entering = [[*grid(2, 2, first=80), Disc(100, x)] for x in (2, 4, 8, 12, 16)]
    movie = [shot(t, discs) for t, discs in enumerate(entering)]
    shown = [len(one.segmentation.cells) for one in follow(movie)]
    assert shown == [5, 4, 4, 4, 5], "a first picture is shown whole; then a cell must reach in by an eighth of 200 px"
    inside = [len(one.segmentation.cells) for one in follow(movie, enter_px=0.0)]
    assert inside == [5, 4, 4, 5, 5], "a cell must reach in by its diameter of 20"
    everything = [len(one.segmentation.cells) for one in follow(movie, edge=0.0)]
    assert everything == [5] * 5


@pytest.mark.parametrize(("margin", "state"), [({}, TrackState.ALIVE), ({"divide_px": 10.0}, TrackState.DIVIDED)])
def test_a_division_is_told_where_both_daughters_reach_into_the_image(margin, state):
    others = grid(3, 3, first=60)
    mother, pair = Disc(18, 90, 10), [Disc(14, 81, 7), Disc(14, 99, 7)]
    movie = [shot(t, [*others, mother]) for t in range(4)] + [shot(t, [*others, *pair]) for t in range(4, 6)]
    steps = follow(movie, **margin)
    (track,) = set(ids_at(steps[3], [mother]))
    assert state_of(steps[4], track) is state
