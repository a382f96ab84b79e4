"""What a user knew k frames after a split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from score_cases import LEFT, MOTHER, RIGHT, TRUTH, family, overlaps

from stream.score.asof import Told, as_of, expected_calibration_error, report, told
from stream.score.divisions import Counts, Division, Judge

M, A, B = 11, 12, 13
FOUND = family(5, {M: [0]}, {A: [0], B: [1]}, {20: [2]})
LATE = family(6, {M: [0]}, {A: [0], B: [1]}, {20: [2]})
RIGHT_ONE = Division(M, (A, B), 5)
WRONG_ONE = Division(M, (A, 20), 5)
TRUE = Division(MOTHER, (LEFT, RIGHT), 5)
SAID, TAKEN_BACK = False, True

CASES: dict[str, tuple[list[tuple[Division, list[tuple[int, bool]]]], list[tuple[int, int, int]]]] = {
    "said at once": ([(RIGHT_ONE, [(5, SAID), (8, SAID)])], [(1, 0, 0)] * 6),
    "said two frames later": ([(RIGHT_ONE, [(7, SAID)])], [(0, 0, 1)] * 2 + [(1, 0, 0)] * 4),
    "right, taken back three frames later": (
        [(RIGHT_ONE, [(5, SAID), (8, TAKEN_BACK)])],
        [(1, 0, 0)] * 3 + [(0, 0, 1)] * 3,
    ),
    "wrong, taken back three frames later": (
        [(WRONG_ONE, [(5, SAID), (8, TAKEN_BACK)])],
        [(0, 1, 1)] * 3 + [(0, 0, 1)] * 3,
    ),
    "wrong, said two frames later": ([(WRONG_ONE, [(7, SAID)])], [(0, 0, 1)] * 2 + [(0, 1, 1)] * 4),
    "never said": ([], [(0, 0, 1)] * 6),
    "said twice": ([(RIGHT_ONE, [(5, SAID)]), (RIGHT_ONE, [(6, SAID)])], [(1, 0, 0)] + [(1, 1, 0)] * 5),
}


@pytest.mark.parametrize(("said", "expected"), CASES.values(), ids=CASES.keys())
def test_as_of(said: list[Any], expected: list[tuple[int, int, int]]) -> None:
    events = [Told(division, tuple((frame, back, 0.5) for frame, back in history)) for division, history in said]
    judge = Judge(overlaps(TRUTH, FOUND), [TRUE])
    hits = [judge.hits(event.division) for event in events]
    assert [as_of(judge, events, hits, k) for k in range(6)] == [Counts(*three) for three in expected]


def test_a_hit_one_frame_late_is_missed_as_of_0_and_not_wrong() -> None:
    judge, event = Judge(overlaps(TRUTH, LATE), [TRUE]), Told(Division(M, (A, B), 6), ((6, SAID, 0.5),))
    hits = [judge.hits(event.division)]
    assert [as_of(judge, [event], hits, k) for k in (0, 1)] == [Counts(0, 0, 1), Counts(1, 0, 0)]


def line(revision: int, status: str, emitted: int, confidence: float, **more: Any) -> dict[str, Any]:
    known = {"kind": "division", "event_id": "a", "frame": 5, "parent_id": M, "daughter_ids": [A, B]}
    return {**known, "revision": revision, "status": status, "emitted_frame": emitted, "confidence": confidence, **more}


def test_report_from_lines() -> None:
    wrong = {"event_id": "b", "daughter_ids": [A, 20]}
    lines = [
        line(1, "confirmed", 8, 0.9),
        line(0, "provisional", 6, 0.6),
        line(0, "provisional", 5, 0.3, **wrong),
        line(1, "retracted", 7, 0.1, **wrong),
        line(0, "provisional", 5, 0.3, kind="mitosis", event_id="c"),
    ]
    found = report(Judge(overlaps(TRUTH, FOUND), [TRUE]), told(lines))
    assert (found["precision"], found["recall"], found["f1"]) == (1.0, 1.0, 1.0)
    assert found["f1_asof"] == {"0": 0.0, "1": pytest.approx(2 / 3), **dict.fromkeys("2345", 1.0)}
    assert (found["delay_frames"], found["retract_rate"]) == (1.0, 0.5)
    assert found["brier"] == pytest.approx((0.4**2 + 0.3**2) / 2)
    assert found["ece"] == pytest.approx((0.4 + 0.3) / 2)
    assert found["ece_confirmed"] == pytest.approx(1 - 0.9), "of the last word, and of what was not taken back"


def test_report_of_nothing() -> None:
    found = report(Judge(overlaps(TRUTH, {}), [TRUE]), [])
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0.0, 0.0)
    assert [found[name] for name in ("delay_frames", "retract_rate", "ece", "ece_confirmed", "brier")] == [None] * 5
    assert found["false_confirmed_per_1000"] == 0.0


CELLS = 5 * 2 + 5 * 3
"""In the frames of TRUTH: a mother and a bystander, then two daughters and the bystander."""
WRONG = {"event_id": "b", "daughter_ids": [A, 20]}
FALSE: dict[str, tuple[list[dict[str, Any]], int]] = {
    "a hit": ([line(0, "provisional", 5, 0.6), line(1, "confirmed", 8, 0.9)], 0),
    "a wrong daughter": ([line(0, "provisional", 5, 0.6, **WRONG), line(1, "confirmed", 8, 0.9, **WRONG)], 1),
    "wrong, taken back": ([line(0, "provisional", 5, 0.6, **WRONG), line(1, "retracted", 7, 0.1, **WRONG)], 0),
    "wrong, never confirmed": ([line(0, "provisional", 5, 0.6, **WRONG)], 0),
    "a hit told twice": ([line(0, "confirmed", 5, 0.6), line(0, "confirmed", 5, 0.6, event_id="b")], 1),
    "both": ([line(0, "confirmed", 5, 0.6), line(0, "confirmed", 5, 0.6, **WRONG)], 1),
}


@pytest.mark.parametrize(("lines", "false"), FALSE.values(), ids=FALSE.keys())
def test_false_confirmed_for_1000_true_cells_in_a_frame(lines: list[dict[str, Any]], false: int) -> None:
    found = report(Judge(overlaps(TRUTH, FOUND), [TRUE]), told(lines))
    assert found["false_confirmed_per_1000"] == pytest.approx(1000 * false / CELLS)


def test_false_confirmed_without_a_true_cell() -> None:
    empty = {frame: {} for frame in TRUTH}
    assert report(Judge(overlaps(empty, FOUND), []), [])["false_confirmed_per_1000"] is None


def test_calibration_error_bins_by_count() -> None:
    stated = np.array([0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.7, 0.7, 0.9, 0.9])
    assert expected_calibration_error(stated, np.array([0, 0, 0, 1, 0, 1, 1, 1, 1, 1.0])) == pytest.approx(
        (0.1 + 0.2 + 0 + 0.3 + 0.1) / 5
    )
