"""What the frames after a split say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.divide.after import AFTER, FARTHEST, MOST_SHRUNK, WEIGHTS, After, apart_of, relative_area

BEGUN = After(first=1.0, areas=(-0.7, -0.6, -0.8), apart=0.8)


def test_every_kind_has_a_weight_for_every_column() -> None:
    assert {len(weights) for weights in WEIGHTS.values()} == {len(AFTER)}
    assert BEGUN.columns.tolist() == [0.8, 0.0, 0.0, 0.0]


def test_daughters_are_as_far_apart_as_the_farthest_two() -> None:
    places = np.array([[10.0, 10.0], [10.0, 22.0], [19.0, 22.0]])
    assert apart_of(places, 10.0) == pytest.approx(1.5)
    assert apart_of(places * 100, 10.0) == FARTHEST


def test_areas_are_relative_to_the_typical_cell() -> None:
    typical = np.pi * 20.0**2 / 4
    assert relative_area(np.array([typical, typical / 2, 0.0]), 20.0)[:2] == pytest.approx([0.0, -np.log(2)])
    assert np.isfinite(relative_area(np.array([0.0]), 20.0)).all()


def test_the_daughter_that_shrank_most_counts_against_her_own_first_area() -> None:
    seen = BEGUN.unseen(fused=True).seen({0: -0.5, 2: -1.0}, 1.1)
    assert (seen.apart, seen.shrunk, seen.fused, seen.hidden, seen.together) == (1.1, pytest.approx(0.2), 1, 0, True)
    assert BEGUN.seen({0: -9.0, 1: -0.6}, 1.0).shrunk == MOST_SHRUNK


def test_hidden_and_fused_frames_are_counted_apart() -> None:
    told = BEGUN.unseen(fused=False).unseen(fused=True).unseen(fused=True)
    assert (told.hidden, told.fused, told.together) == (1, 2, False)


@pytest.mark.parametrize(
    ("kind", "worse"),
    [
        ("phase", {"apart": 0.4}),
        ("phase", {"shrunk": 0.5}),
        ("phase", {"hidden": 1}),
        ("phase", {"fused": 1}),
        ("nuclei", {"hidden": 1}),
        ("nuclei", {"fused": 1}),
        ("nuclei", {"first": 0.0}),
    ],
)
def test_what_speaks_against_a_division_lowers_it(kind: str, worse: dict[str, float]) -> None:
    assert replace(BEGUN, **worse).logit(kind) < BEGUN.logit(kind)  # type: ignore[arg-type]


def test_three_frames_in_which_one_cell_covers_both_take_back_any_division_of_nuclei() -> None:
    fused = replace(BEGUN, first=float(np.log(0.97 / 0.03)))
    for _ in range(3):
        fused = fused.unseen(fused=True)
    assert fused.logit("nuclei") < 0
    assert fused.logit(None) == fused.logit("nuclei")
