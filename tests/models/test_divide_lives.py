from dataclasses import replace

import numpy as np
import pytest
from track_scene import Disc, grid, shot

from models.divide import history
from models.divide.lives import LifeDivider, kind_of
from models.divide.rule import RuleDivider
from models.divide.signs import WITHIN as BY_KIND
from models.divide.signs import announced, coming, coming_at
from models.divide.warning import REST
from models.track.assignment import AssignmentTracker
from stream.errors import ConfigError, StageError
from stream.event import event_id

WITHIN = BY_KIND["nuclei"]
OTHERS = [disc for disc in grid() if (disc.y, disc.x) != (90, 90)]
ACTS = {
    "m": [Disc(90, 90, 10)],
    "c": [Disc(90, 90, 6, 2.5)],  # condensed: smaller and brighter
    "p": [Disc(90, 81, 7), Disc(90, 99, 7)],
    "f": [Disc(90, 90, 6, 0.4)],  # shrunk and faded
    "F": [Disc(90, 90, 5, 0.25)],
    "-": [],
}


def movie(acts, others=OTHERS):
    return [shot(t, [*others, *ACTS[act]]) for t, act in enumerate(acts)]


def leaving(frames=6, after=8):
    """One cell walks out of the image to the right."""
    walk = [shot(t, [*OTHERS, Disc(90, 165 + 6 * t, 10)]) for t in range(frames)]
    return [*walk, *(shot(frames + t, OTHERS) for t in range(after))]


def run(frames, **options):
    tracker = AssignmentTracker({})
    return tell((tracker.step(one) for one in frames), **options)


def tell(tracked, **options):
    divider = LifeDivider(options)
    return [event for one in tracked for event in divider.step(one)], divider


def words(events, kind):
    return [(e.status, e.reason, e.frame, e.emitted_frame) for e in events if e.kind == kind]


AHEAD = f"division_within_{WITHIN}_frames"
STORIES = {
    "divides": (
        "mmmmmmccppppp",
        [("provisional", AHEAD, 6, 6), ("confirmed", "divided", 6, 9)],
    ),
    "does not divide": (
        "mmmmmmcccccmmmm",
        [("provisional", AHEAD, 6, 6), ("retracted", "not_divided", 6, 6 + WITHIN)],
    ),
    "is lost": ("mmmmmmc------", [("provisional", AHEAD, 6, 6), ("retracted", "track_lost", 6, 9)]),
    "divides, and the daughters merge again": (
        "mmmmmmcpmmmmmm",
        [("provisional", AHEAD, 6, 6), ("retracted", "division_retracted", 6, 10)],
    ),
    "is no mother": ("mmmmmmmmmm", []),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_warning_ends_as_its_cell_does(name):
    acts, expected = STORIES[name]
    events, divider = run(movie(acts))
    assert words(events, "mitosis") == expected
    assert [e for e in divider.finish() if e.kind == "mitosis"] == []


def test_a_warning_names_its_cell_and_says_when():
    events, _ = run(movie("mmmmmmccppppp"))
    first, last = (event for event in events if event.kind == "mitosis")
    (division, *_) = (event for event in events if event.kind == "division")
    assert first.event_id == last.event_id == event_id("c:p0", 6, "mitosis", division.parent_id)
    assert (first.parent_id, first.daughter_ids, first.revision, last.revision) == (division.parent_id, (), 0, 1)
    assert first.parent_yx_px == pytest.approx((90, 90), abs=0.5)
    assert first.position_um == pytest.approx((-4.75, -4.75), abs=0.25)
    assert first.emitted_frame < division.frame
    assert 0.2 <= first.confidence <= 1
    assert first.cell_count == 9
    assert first.ref is not None
    assert first.ref.frame == 6


def test_one_cell_is_not_announced_again_and_again():
    still, _ = run(movie("mmmmmm" + "c" * 20))
    assert len(words(still, "mitosis")) == 2  # said and taken back, never again: it did not calm down
    twice, _ = run(movie("mmmmmm" + "ccccc" + "m" * REST * WITHIN * 2 + "cc"))
    said = [event.frame for event in twice if event.kind == "mitosis" and event.status == "provisional"]
    assert len(said) == 2
    assert said[1] - said[0] > REST * WITHIN


def test_a_cell_that_was_announced_too_early_is_announced_again_once_it_is_surer():
    doubtful, sure = [Disc(90, 90, 7.6, 1.3)], ACTS["c"]
    acts = [*(ACTS["m"] for _ in range(6)), *(doubtful for _ in range(4)), sure, sure, ACTS["p"], ACTS["p"]]
    events, _ = run([shot(t, [*OTHERS, *act]) for t, act in enumerate(acts)])
    first, back, again, *_ = (event for event in events if event.kind == "mitosis")
    assert (first.status, first.frame, back.status, back.reason) == ("provisional", 6, "retracted", "not_divided")
    assert (again.status, again.frame) == ("provisional", 10)
    assert 1 - again.confidence < (1 - first.confidence) / 2


def test_a_microscope_that_speeds_up_does_not_end_the_warning_early():
    slow = movie("mmmmmmc")
    times = [6 * 0.5 + 0.05 * (t + 1) for t in range(20)]
    fast = [shot(7 + t, [*OTHERS, *ACTS["c"]]) for t in range(20)]
    fast = [replace(one, moment=replace(one.moment, elapsed_s=s)) for one, s in zip(fast, times, strict=True)]
    pair = shot(27, [*OTHERS, *ACTS["p"]])
    events, _ = run([*slow, *fast, pair, shot(28, [*OTHERS, *ACTS["p"]])])
    assert [word[0] for word in words(events, "mitosis")] == ["provisional", "confirmed"]
    assert words(events, "division")[0][2] == 27


ENDS = {
    "fades away": (movie("m" * 8 + "ffFF" + "-" * 8), "death", 11, 14, "not_seen_again"),
    "walks out": (leaving(), "exit", None, None, "not_seen_again"),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_became_of_a_cell_is_told_and_settled(name):
    frames, kind, last, told, reason = ENDS[name]
    events, _ = run(frames)
    found = [event for event in events if event.kind in ("death", "exit")]
    assert [(e.kind, e.status) for e in found] == [(kind, "provisional"), (kind, "confirmed")]
    assert found[1].emitted_frame == found[0].emitted_frame + 3
    assert found[1].reason == reason
    assert found[0].event_id == found[1].event_id
    if last is not None:
        assert (found[0].frame, found[0].emitted_frame) == (last, told)


def test_a_cell_that_the_picture_leaves_behind_does_not_leave():
    """One walks out by itself; then the stage goes to the right, and three lie outside the picture."""
    walk = leaving(after=2)
    away = [shot(len(walk) + t, OTHERS, stage_um=(30.0, 0.0)) for t in range(9)]
    tracker, divider = AssignmentTracker({"max_away": 4}), LifeDivider({})
    events = [event for one in [*walk, *away] for event in divider.step(tracker.step(one)) if event.kind == "exit"]
    walker = next(event for event in events if event.reason == "at_the_edge")
    assert {(event.parent_id == walker.parent_id, event.status, event.reason) for event in events} == {
        (True, "provisional", "at_the_edge"),
        (True, "confirmed", "not_seen_again"),
        (False, "provisional", "picture_moved"),
        (False, "confirmed", "picture_moved"),
    }
    assert len({event.parent_id for event in events}) == 1 + 3


def test_a_cell_that_comes_back_is_not_gone():
    events, _ = run(movie("m" * 8 + "ffFF" + "----" + "mmmm"))
    assert words(events, "death") == [
        ("provisional", "vanished", 11, 14),
        ("retracted", "seen_again", 11, 16),
    ]


def test_a_cell_that_is_lost_in_full_light_did_not_die():
    events, _ = run(movie("m" * 8 + "-" * 8))
    assert words(events, "death") == words(events, "exit") == []


MIXED = "mmmmmmccppppp", "mmmmmmcccccmmmm", "mmmmmmmmffFF-------", "mmmmmmcpmmmmcccmm"


@pytest.mark.parametrize("acts", MIXED)
def test_divisions_are_those_of_the_rule_alone_whatever_else_is_told(acts):
    tracker, rule = AssignmentTracker({}), RuleDivider({})
    alone = [event for one in movie(acts) for event in rule.step(tracker.step(one))] + list(rule.finish())
    for told in (True, False):
        events, divider = run(movie(acts), mitosis=told, death=told, exit=told)
        events += divider.finish()
        assert [event for event in events if event.kind == "division"] == alone
        assert told or len(events) == len(alone)


@pytest.mark.parametrize("acts", MIXED)
def test_a_movie_cut_short_tells_the_same_until_then(acts):
    tracker = AssignmentTracker({})
    tracked = [tracker.step(one) for one in movie(acts)]
    whole, _ = tell(tracked)
    for cut in range(len(tracked)):
        part, divider = tell(tracked[:cut])
        assert part == [event for event in whole if event.emitted_frame < cut]
        closed = divider.finish()
        assert {event.event_id for event in closed} == still_open(part)
        assert all((e.reason, e.emitted_frame) == ("end_of_stream", cut) for e in closed)
        assert list(divider.finish()) == []


def still_open(events):
    ended = {event.event_id for event in events if event.status != "provisional"}
    return {event.event_id for event in events} - ended


def test_every_event_ends_exactly_once():
    rng = np.random.default_rng(3)
    acts = "mmmm" + "".join(np.repeat(rng.choice(list("mcpf-"), 24), rng.integers(1, 7, 24)))
    events, divider = run(movie(acts))
    events += divider.finish()
    by_id = {}
    for event in events:
        by_id.setdefault(event.event_id, []).append(event)
    assert {event.kind for event in events} >= {"division", "mitosis"}
    for revisions in by_id.values():
        assert [e.revision for e in revisions] == [0, 1]
        assert revisions[0].status == "provisional"
        assert revisions[1].status in ("confirmed", "retracted")
        assert revisions[1].emitted_frame - revisions[0].emitted_frame <= 2 * WITHIN


@pytest.mark.parametrize("acts", MIXED)
def test_state_goes_round_exactly(acts):
    tracker, divider = AssignmentTracker({}), LifeDivider({})
    for one in movie(acts):
        again = LifeDivider({})
        again.load(divider.save())
        assert again.save() == divider.save()
        tracked = tracker.step(one)
        assert again.step(tracked) == divider.step(tracked)
        assert again.save() == divider.save()
    assert again.finish() == divider.finish()


@pytest.mark.parametrize("breaks", ["warnings", "fates"])
def test_what_fails_beside_the_divisions_costs_none_of_their_words(breaks, monkeypatch):
    frames = movie("mmmmmmccppppppp")
    wanted = [(e.event_id, e.revision, e.status) for e in run(frames)[0] if e.kind == "division"]
    tracker, divider, events, failed = AssignmentTracker({}), LifeDivider({}), [], 0

    def fail(*_):
        raise StageError("no more warnings")

    for number, one in enumerate(frames):
        tracked = tracker.step(one)
        if number in (8, 9):
            with monkeypatch.context() as patch:
                patch.setattr(getattr(divider, f"_{breaks}"), "step", fail)
                with pytest.raises(StageError):
                    divider.step(tracked)
            divider.load(divider.save())
            failed += 1
        else:
            events += divider.step(tracked)
    assert failed == 2
    assert len(wanted) == 2
    assert [(e.event_id, e.revision, e.status) for e in [*events, *divider.finish()] if e.kind == "division"] == wanted


def test_a_speck_does_not_decide_the_kind_for_the_night():
    speck = [Disc(90, 90, 6, -0.3)]  # darker than its ground
    tracker, divider = AssignmentTracker({}), LifeDivider({})
    kinds = []
    for t in range(3):
        divider.step(tracker.step(shot(t, speck if t == 0 else OTHERS)))
        kinds.append(divider._kind)
    assert kinds == ["phase", "nuclei", "nuclei"]


def test_what_the_segmenter_takes_the_picture_for_counts():
    said = {}
    for kind in (None, "nuclei", "phase"):
        frames = [replace(one, segmentation=replace(one.segmentation, kind=kind)) for one in movie("mmmmmmccppppp")]
        tracker, divider = AssignmentTracker({}), LifeDivider({})
        tracked = [tracker.step(one) for one in frames]
        assert {one.segmentation.kind for one in tracked} == {kind}
        events = [event for one in tracked for event in divider.step(one) if event.kind == "mitosis"]
        said[kind] = [(event.frame, event.confidence, event.reason) for event in events]
    assert said[None] == said["nuclei"]
    assert said["phase"] != said["nuclei"]


def test_a_tracker_that_measures_nothing_is_served_too():
    tracker, divider = AssignmentTracker({}), LifeDivider({})
    events = [e for one in movie(MIXED[0]) for e in divider.step(replace(tracker.step(one), measured=None))]
    assert words(events, "mitosis") == words(run(movie(MIXED[0]))[0], "mitosis")


def test_reset_forgets():
    _, divider = run(movie("mmmmmmc"))
    divider.reset("test")
    assert list(divider.finish()) == []
    assert divider.save() == LifeDivider({}).save()


def test_foreign_state_and_options_are_refused():
    with pytest.raises(StageError, match="state"):
        LifeDivider({}).load(b"\xc1")
    with pytest.raises(StageError, match="schema"):
        LifeDivider({}).load(b"\x81\xa6schema\x63")
    with pytest.raises(ConfigError, match="mitosis_at"):
        LifeDivider({"mitosis_att": 0.4})


@pytest.mark.parametrize(("light", "kind"), [(1.0, "nuclei"), (-0.2, "phase")])
def test_cells_that_are_darker_than_their_ground_are_not_taken_for_nuclei(light, kind):
    one = shot(0, [replace(disc, light=light) for disc in grid()])
    tracked = AssignmentTracker({}).step(one)
    assert kind_of(tracked, tracked.measured) == kind


def one_cell(**changed):
    rows = np.zeros(1, history.HISTORY)
    rows["seen"] = 9
    usual = {"area": 0.1, "brightness": 0.0, "roundness": 0.8, "dividing": np.nan, "newborn": np.nan}
    for name, value in usual.items():
        rows[name] = value
    for name, value in changed.items():
        rows[name][:, 0] = value
    return rows


LIKELIER = {
    "it shrinks": ("nuclei", [{"area": v} for v in (0.1, -0.2, -0.6)]),
    "it brightens": ("nuclei", [{"brightness": v} for v in (0.0, 0.6, 1.5)]),
    "it shines and rounds up": ("phase", [{"brightness": b, "roundness": r} for b, r in ((0, 0.8), (1, 0.9), (2, 1))]),
    "the network says so": ("nuclei", [{"dividing": d, "newborn": 0.2, "area": -0.3} for d in (0.1, 0.5, 0.9)]),
    "the network says so of phase": ("phase", [{"dividing": d, "newborn": 0.2} for d in (0.1, 0.5, 0.9)]),
}


@pytest.mark.parametrize("name", LIKELIER)
def test_the_signs_count_the_right_way(name):
    kind, changes = LIKELIER[name]
    p = [float(coming(one_cell(**change), kind)[0]) for change in changes]
    assert p == sorted(p)
    assert p[-1] > 2 * p[0]
    assert all(0 <= value <= 1 for value in p)


@pytest.mark.parametrize("kind", ["nuclei", "phase"])
def test_a_threshold_is_what_announcements_state(kind):
    for confidence in (0.05, 0.4, 0.95):
        assert announced(coming_at(confidence, kind), kind) == pytest.approx(confidence)
    frames = movie("mmmmmmccppppp")
    stated = next(event.confidence for event in run(frames)[0] if event.kind == "mitosis")
    for asked, count in ((stated - 0.01, 1), (stated + 0.01, 0)):
        said = [event for event in run(frames, mitosis_at=asked)[0] if event.kind == "mitosis"]
        assert sum(event.frame == 6 and event.revision == 0 for event in said) == count
