"""Deaths and exits against true tracks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from score_cases import BYSTANDER, LEFT, MOTHER, RIGHT, SPLIT, World, overlaps

from stream.event import PICTURE_MOVED
from stream.score.fates import LOOKED_BACK, WITHIN, Fate, outcomes

FRAMES, ENDS = 40, 12
DIES = 7
FOUND, OTHER, NOBODY = 70, 20, 99
ROWS = np.array(
    [[MOTHER, 0, SPLIT - 1, 0], [LEFT, SPLIT, 39, MOTHER], [RIGHT, SPLIT, 39, MOTHER], [BYSTANDER, 0, 39, 0],
     [DIES, 0, ENDS, 0]]
)  # fmt: skip


def worlds(gone: int, again: int = FRAMES) -> tuple[World, World]:
    """Truth; and what was found, where nobody follows the dying cell from ``gone`` until ``again``."""
    truth: dict[int, dict[int, list[int]]] = {}
    found: dict[int, dict[int, list[int]]] = {}
    for frame in range(FRAMES):
        split = {MOTHER: [0]} if frame < SPLIT else {LEFT: [0], RIGHT: [1]}
        truth[frame] = {**split, BYSTANDER: [2], **({DIES: [4]} if frame <= ENDS else {})}
        seen = {FOUND: [4]} if not gone <= frame < again else {}
        found[frame] = {11 if frame < SPLIT else 12: [0], OTHER: [2], **seen}
    return truth, found


def said(fate: Fate, cell: int, frame: int, **other: Any) -> dict[str, Any]:
    line = {"kind": fate, "revision": 0, "parent_id": cell, "frame": frame, "confidence": 0.8, "reason": "vanished"}
    return {**line, **other}


def came_true(line: dict[str, Any], gone: int = ENDS + 1, again: int = FRAMES) -> list[float]:
    fate: Fate = line["kind"]
    stated, true = outcomes(fate, overlaps(*worlds(gone, again)), ROWS, [line])
    assert stated.tolist() == [0.8] * len(true)
    return list(true.tolist())


@pytest.mark.parametrize(
    ("line", "true"),
    [
        pytest.param(said("death", FOUND, ENDS), [1.0], id="in the true track's last frame"),
        pytest.param(said("death", FOUND, ENDS - WITHIN["death"] + 5), [1.0], id="too soon, but not much"),
        pytest.param(said("death", FOUND, ENDS + LOOKED_BACK), [1.0], id="of what fades a little longer"),
        pytest.param(said("death", FOUND, ENDS + LOOKED_BACK + 1), [0.0], id="of what is long no cell any more"),
        pytest.param(said("death", OTHER, ENDS), [0.0], id="of a cell that lives"),
        pytest.param(said("death", NOBODY, ENDS), [0.0], id="of no cell"),
        pytest.param(said("death", 11, SPLIT - 1), [0.0], id="of a mother"),
        pytest.param(said("death", OTHER, FRAMES - 5), [], id="too near the end to know"),
        pytest.param(said("death", FOUND, ENDS, revision=1), [], id="not the first word"),
    ],
)
def test_who_died(line: dict[str, Any], true: list[float]) -> None:
    assert came_true(line) == true


@pytest.mark.parametrize(
    ("line", "again", "true"),
    [
        pytest.param(said("exit", FOUND, 4), FRAMES, [1.0], id="nobody follows it again, though a part is seen"),
        pytest.param(said("exit", FOUND, 4), 4 + 6, [0.0], id="followed again soon"),
        pytest.param(said("exit", NOBODY, 4), FRAMES, [], id="of what the truth does not know"),
        pytest.param(said("exit", FOUND, 4, reason=PICTURE_MOVED), FRAMES, [], id="the picture moved, not the cell"),
        pytest.param(said("exit", OTHER, FRAMES - 5), FRAMES, [], id="too near the end to know"),
    ],
)
def test_who_left(line: dict[str, Any], again: int, true: list[float]) -> None:
    assert came_true(line, gone=5, again=again) == true
