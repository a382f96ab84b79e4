from dataclasses import replace

import numpy as np
import pytest
from track_scene import Disc, grid, shot

from models.divide.evidence import DEPTH, Daughters, Mothers, likelihood
from models.divide.rule import RuleDivider
from models.track.assignment import AssignmentTracker
from stream.errors import ConfigError, StageError
from stream.event import event_id

MOTHER = Disc(90, 90, 10)
PAIR = [Disc(90, 81, 7), Disc(90, 99, 7)]
OTHERS = [d for d in grid() if (d.y, d.x) != (90, 90)]


def movie(*acts):
    """Frames of the still cells and, in the middle, what each act names."""
    middle = {"m": [MOTHER], "p": PAIR, "a": PAIR[:1], "-": []}
    return [shot(t, [*OTHERS, *middle[act]]) for t, act in enumerate("".join(acts))]


def run(frames, **options):
    tracker, divider = AssignmentTracker({}), RuleDivider(options)
    events = [event for one in frames for event in divider.step(tracker.step(one))]
    return events, divider


def told(events):
    return [(e.status, e.frame, e.emitted_frame) for e in events]


def test_a_division_is_proposed_at_once_and_confirmed_within_three_frames():
    events, divider = run(movie("mmmm", "ppppp"))
    first, last = events
    assert (first.status, first.frame, first.emitted_frame, first.revision) == ("provisional", 4, 4, 0)
    assert (last.status, last.revision, last.frame) == ("confirmed", 1, 4)
    assert 5 <= last.emitted_frame <= 7
    assert last.reason == "persisted"
    assert last.confidence >= first.confidence > 0.5
    assert first.event_id == last.event_id == event_id("c:p0", 4, "division", first.parent_id)
    assert first.parent_yx_px == pytest.approx((90, 90), abs=0.5)
    assert first.daughters_yx_px == (pytest.approx((90, 81), abs=0.5), pytest.approx((90, 99), abs=0.5))
    assert first.cell_count == 10
    assert first.ref is not None
    assert first.ref.frame == 4
    assert last.ref is not None
    assert last.ref.frame == last.emitted_frame
    assert list(divider.finish()) == []


MERGED = ("mmmm", "p", "mmmmm")
UNSEEN = {"a daughter": ("mmmm", "p", "aaaaa"), "both": ("mmmm", "p", "-----")}


def test_what_one_cell_covers_again_is_retracted():
    events, divider = run(movie(*MERGED))
    assert [e.status for e in events] == ["provisional", "retracted"]
    assert events[1].emitted_frame <= 7
    assert events[1].confidence < 0.5
    assert events[1].reason
    assert list(divider.finish()) == []


@pytest.mark.parametrize("who", UNSEEN)
def test_a_daughter_out_of_sight_makes_a_division_less_sure_and_not_undone(who):
    events, divider = run(movie(*UNSEEN[who]))
    assert [e.status for e in events] == ["provisional", "confirmed"]
    assert (events[1].emitted_frame, events[1].reason) == (7, "out_of_sight")
    assert 0.5 < events[1].confidence < events[0].confidence
    assert list(divider.finish()) == []


def test_the_end_of_the_stream_closes_what_is_pending():
    events, divider = run(movie("mmmm", "p"))
    assert told(events) == [("provisional", 4, 4)]
    (closed,) = divider.finish()
    assert (closed.status, closed.reason, closed.emitted_frame) == ("confirmed", "end_of_stream", 5)
    assert list(divider.finish()) == []
    assert list(RuleDivider({}).finish()) == []


@pytest.mark.parametrize("acts", [("mmmm", "pppp"), MERGED])
def test_a_movie_cut_short_tells_the_same_until_then(acts):
    frames = movie(*acts)
    whole, _ = run(frames)
    for cut in range(len(frames)):
        part, _ = run(frames[:cut])
        assert part == [event for event in whole if event.emitted_frame < cut]


def test_a_tracker_that_measures_nothing_is_served_too():
    tracker, divider = AssignmentTracker({}), RuleDivider({})
    frames = movie("mmmm", "pppp")
    events = [event for one in frames for event in divider.step(replace(tracker.step(one), measured=None))]
    assert told(events) == told(run(frames)[0])


def test_every_proposal_ends_exactly_once():
    rng = np.random.default_rng(1)
    frames = movie("mmm", *rng.choice(["m", "p", "a", "-"], 60))
    events, divider = run(frames)
    events += divider.finish()
    by_id = {}
    for event in events:
        by_id.setdefault(event.event_id, []).append(event)
    assert len(by_id) > 1
    for revisions in by_id.values():
        assert [e.revision for e in revisions] == [0, 1]
        assert revisions[0].status == "provisional"
        assert revisions[1].status in ("confirmed", "retracted")
        assert revisions[1].emitted_frame <= revisions[0].frame + 3


def test_state_goes_round_exactly():
    frames = movie("mmmm", "p", "mm", "mmm", "ppp")
    tracker, divider = AssignmentTracker({}), RuleDivider({})
    for one in frames:
        again = RuleDivider({})
        again.load(divider.save())
        assert again.save() == divider.save()
        tracked = tracker.step(one)
        assert again.step(tracked) == divider.step(tracked)
        assert again.save() == divider.save()
    assert again.finish() == divider.finish()


def test_two_fields_do_not_know_each_other():
    one, other = movie("mmmm", "pppp"), movie("mmmmmmm", "p")
    alone = [run(one)[0], run(other)[0]]
    pairs = [(AssignmentTracker({}), RuleDivider({})) for _ in range(2)]
    events = [[], []]
    for both in zip(one, other, strict=True):
        for k, (tracker, divider) in enumerate(pairs):
            events[k] += divider.step(tracker.step(both[k]))
    assert events == alone


def test_foreign_state_and_options_are_refused():
    with pytest.raises(StageError, match="state"):
        RuleDivider({}).load(b"\xc1")
    with pytest.raises(StageError, match="schema"):
        RuleDivider({}).load(b"\x81\xa6schema\x63")
    with pytest.raises(ConfigError, match="k"):
        RuleDivider({"k": 4})


def score(
    middle=0.0,
    half=5.0,
    area=(150.0, 150.0),
    mother_area=314.0,
    votes_away=(np.nan, np.nan),
    new=(np.nan, np.nan),
    divides=(0.2, 0.2),
    mother_is=(np.nan, np.nan),
    goes_on=True,
    taken=False,
    kind=None,
):
    place = np.array([[50.0, 50.0]])
    past = np.full((1, DEPTH), mother_area)
    known = [past * 0 + value for value in (0.2, 0.8, mother_is[0], mother_is[1])]
    mother = Mothers(np.repeat(place[:, None], DEPTH, 1), past, *known, np.array([9]))
    centres = np.array([[[50.0 + middle, 50.0 + half], [50.0 + middle, 50.0 - half]]])
    votes = np.array([[[50.0 + away, 50.0] for away in votes_away]])
    ties = [np.array([tie]) for tie in (goes_on, taken)]
    pair = Daughters(
        centres, votes, np.array([area]), np.full((1, 2), 0.5), np.array([new]), np.array([divides]), *ties
    )
    return float(likelihood(mother, pair, 20.0, kind)[0])


TOLD = {"half": 10.0, "votes_away": (1.0, 2.0), "new": (0.75, 0.7), "mother_is": (0.1, 0.4)}
WORSE = {
    "the midpoint is off": [{"half": 10.0, "middle": v} for v in (1.0, 5.0, 10.0, 15.0)],
    "the daughters are unlike": [{"half": 10.0, "area": (150.0, 150.0 * v)} for v in (1.0, 0.7, 0.4, 0.2)],
    "the votes go astray": [{**TOLD, "votes_away": (v, 2 * v)} for v in (1.0, 5.0, 8.0)],
    "one is not new": [{**TOLD, "new": (0.8, v)} for v in (0.8, 0.5, 0.1)],
    "the mother did not divide": [{**TOLD, "mother_is": (0.1, v)} for v in (0.8, 0.5, 0.1)],
}


@pytest.mark.parametrize("name", WORSE)
def test_the_score_falls_as_the_evidence_worsens(name):
    scores = [score(**one) for one in WORSE[name]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.75
    odds = [p / (1 - p) for p in scores]
    assert odds[-1] < 0.5 * odds[0]


TOLD_IN_PHASE = {**TOLD, "kind": "phase", "divides": (0.2, 0.2), "mother_is": (0.5, 0.6)}
WORSE_IN_PHASE = {
    "the votes go astray": [{**TOLD_IN_PHASE, "votes_away": (v, 2 * v)} for v in (1.0, 5.0, 8.0)],
    "the mother goes on elsewhere": [{**TOLD_IN_PHASE, "goes_on": told} for told in (True, False)],
    "a daughter is another track's": [{**TOLD_IN_PHASE, "taken": told} for told in (False, True)],
    "a daughter still divides": [{**TOLD_IN_PHASE, "divides": (0.2, v)} for v in (0.2, 0.5, 0.8)],
    "the mother did not look new": [{**TOLD_IN_PHASE, "mother_is": (v, 0.6)} for v in (0.6, 0.3, 0.1)],
}


@pytest.mark.parametrize("name", WORSE_IN_PHASE)
def test_in_phase_contrast_more_is_looked_at(name):
    scores = [score(**one) for one in WORSE_IN_PHASE[name]]
    assert scores == sorted(scores, reverse=True)
    odds = [p / (1 - p) for p in scores]
    assert odds[-1] < 0.5 * odds[0]


def test_of_nuclei_the_same_is_said_whoever_goes_on():
    told = [{}, {"goes_on": False}, {"taken": True}, {"divides": (0.8, 0.1)}, {"kind": "nuclei"}]
    assert len({score(**TOLD, **one) for one in told}) == 1
