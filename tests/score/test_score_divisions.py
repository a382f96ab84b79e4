"""Which found divisions are hits, case by case."""

from __future__ import annotations

import numpy as np
import pytest
from score_cases import BYSTANDER, LEFT, MOTHER, RIGHT, THIRD, THREE_WAY, TRUTH, World, family, overlaps

from stream.score.divisions import Counts, Division, Judge, count, divisions_of, pair

M, A, B, C = 11, 12, 13, 14
TWO = Division(MOTHER, (LEFT, RIGHT), 5)
THREE = Division(MOTHER, (LEFT, RIGHT, THIRD), 5)
OTHER = {20: [2]}


def told(frame: int, *daughters: int) -> Division:
    return Division(M, daughters or (A, B), frame)


CASES: dict[str, tuple[World, Division, World, Division, bool]] = {
    "hit": (TRUTH, TWO, family(5, {M: [0]}, {A: [0], B: [1]}, OTHER), told(5), True),
    "daughters in the other order": (TRUTH, TWO, family(5, {M: [0]}, {B: [0], A: [1]}, OTHER), told(5), True),
    "early by 1": (TRUTH, TWO, family(4, {M: [0]}, {A: [0], B: [1]}, OTHER), told(4), True),
    "late by 1": (TRUTH, TWO, family(6, {M: [0]}, {A: [0], B: [1]}, OTHER), told(6), True),
    "late by 2": (TRUTH, TWO, family(7, {M: [0]}, {A: [0], B: [1]}, OTHER), told(7), False),
    "early by 2": (TRUTH, TWO, family(3, {M: [0]}, {A: [0], B: [1]}, OTHER), told(3), False),
    "wrong daughter": (TRUTH, TWO, family(5, {M: [0]}, {A: [0], B: [2]}), told(5), False),
    "both daughters on one marker": (TRUTH, TWO, family(5, {M: [0]}, {A: [0], B: [0.5]}, OTHER), told(5), False),
    "wrong mother": (TRUTH, TWO, family(5, {M: [2]}, {A: [0], B: [1]}), told(5), False),
    "mother never seen": (TRUTH, TWO, family(5, {}, {A: [0], B: [1]}, OTHER), told(5), False),
    "mother covers two markers": (TRUTH, TWO, family(5, {M: [0, 2]}, {A: [0], B: [1]}), told(5), False),
    "daughter covers two markers": (TRUTH, TWO, family(5, {M: [0]}, {A: [0], B: [1, 2]}), told(5), False),
    "daughter covers half a marker": (TRUTH, TWO, family(5, {M: [0]}, {A: [0], B: [1.5]}, OTHER), told(5), False),
    "a daughter too many": (TRUTH, TWO, family(5, {M: [0]}, {A: [0], B: [1], C: [2]}), told(5, A, B, C), False),
    "three-way, all found": (THREE_WAY, THREE, family(5, {M: [0]}, {A: [0], B: [1], C: [3]}), told(5, A, B, C), True),
    "three-way, two found": (THREE_WAY, THREE, family(5, {M: [0]}, {A: [3], B: [1], C: [0]}), told(5, A, B), True),
    "three-way, one wrong": (THREE_WAY, THREE, family(5, {M: [0]}, {A: [0], B: [1], C: [2]}), told(5, A, B, C), False),
}


@pytest.mark.parametrize(("truth", "true", "found", "division", "hit"), CASES.values(), ids=CASES.keys())
def test_hit(truth: World, true: Division, found: World, division: Division, hit: bool) -> None:
    assert bool(Judge(overlaps(truth, found), [true]).hits(division)) is hit


def test_a_wrong_daughter_costs_a_false_positive_and_a_miss() -> None:
    judge = Judge(overlaps(TRUTH, CASES["wrong daughter"][2]), [TWO])
    assert count([judge.hits(told(5))], len(judge.truth)) == Counts(0, 1, 1)


def test_the_mother_is_judged_in_the_last_frame_that_both_have() -> None:
    """She was elsewhere before; in frame 4, the last common one, she is right."""
    found = dict(family(6, {M: [0]}, {A: [0], B: [1]}))
    for frame in range(4):
        found[frame] = {M: [4]}
    found[5] = {M: [4]}
    assert Judge(overlaps(TRUTH, found), [TWO]).hits(told(6)) == [0]
    found[4] = {M: [4]}
    assert Judge(overlaps(TRUTH, found), [TWO]).hits(told(6)) == []


def test_divisions_of_rows() -> None:
    rows = [
        [MOTHER, 0, 4, 0], [LEFT, 5, 9, MOTHER], [RIGHT, 6, 9, MOTHER], [BYSTANDER, 0, 3, 0], [6, 5, 9, BYSTANDER],
        [7, 0, 1, 0], [8, 2, 9, 7], [9, 2, 9, 7], [10, 3, 9, 7],
    ]  # fmt: skip
    assert divisions_of(np.array(rows)) == [Division(7, (8, 9, 10), 2), Division(MOTHER, (LEFT, RIGHT), 6)]


def test_one_true_division_is_hit_once_and_as_many_as_possible_are() -> None:
    assert pair([[0], [0]]) == {0: 0}
    assert pair([[0, 1], [0]]) == {0: 1, 1: 0}
    assert count([[0], [0], []], 2) == Counts(1, 2, 1)


@pytest.mark.parametrize(
    ("counts", "precision", "recall", "f1"),
    [(Counts(3, 1, 2), 0.75, 0.6, 6 / 9), (Counts(0, 0, 2), None, 0.0, 0.0), (Counts(0, 0, 0), None, None, None)],
)
def test_ratios(counts: Counts, precision: float | None, recall: float | None, f1: float | None) -> None:
    assert (counts.precision, counts.recall, counts.f1) == (precision, recall, f1)
