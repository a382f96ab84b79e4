"""Which object covers which marker, and tracks made whole."""

from __future__ import annotations

import numpy as np
import pytest
from score_cases import overlaps, paint

from stream.errors import SourceError
from stream.score.overlap import overlap
from stream.score.tracks import whole_runs


def test_pairs_iou_and_matches() -> None:
    one = overlap(paint({1: [0], 2: [1], 3: [3], 4: [5]}), paint({7: [0, 1], 8: [3, 4], 9: [5.5]}))
    assert one.truth.tolist() == [1, 2, 3, 4]
    assert one.found.tolist() == [7, 8, 9]
    assert list(zip(one.pair_truth.tolist(), one.pair_found.tolist(), strict=True)) == [(1, 7), (2, 7), (3, 8)]
    assert one.iou.tolist() == [0.5, 0.5, 0.5]
    assert one.matches() == {8: 3}


def test_no_result_and_another_shape() -> None:
    assert len(overlap(paint({1: [0]}), None).found) == 0
    with pytest.raises(SourceError, match="not the same recording"):
        overlap(paint({1: [0]}), np.zeros((2, 2), np.int64))


def test_runs_become_tracks_of_their_own() -> None:
    truth = {frame: {1: [0]} for frame in range(150, 156)}
    found = {150: {5: [0]}, 151: {5: [0]}, 153: {5: [0], 9: [1]}, 154: {6: [0]}, 155: {6: [0]}}
    rows = np.array([[5, 150, 153, 0], [6, 154, 155, 5], [9, 153, 153, 5], [30, 150, 150, 0]])
    whole, made = whole_runs(overlaps(truth, found), rows)
    assert made.tolist() == [[1, 150, 151, 0], [2, 153, 153, 1], [3, 154, 155, 2], [4, 153, 153, 1]]
    assert {frame: one.found.tolist() for frame, one in whole.items()} == {
        150: [1], 151: [1], 152: [], 153: [2, 4], 154: [3], 155: [3],
    }  # fmt: skip
    assert whole[154].pair_found.tolist() == [3]
