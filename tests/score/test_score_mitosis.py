"""Warnings against the true splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from score_cases import BYSTANDER, LEFT, MOTHER, RIGHT, SPLIT, TRUTH, family, overlaps, paint

from stream.score.divisions import Division
from stream.score.folder import score_folder
from stream.score.mitosis import FIGURES, LONGEST_S, Warned, report, warned

M, A, B, OTHER = 11, 12, 13, 20
FOUND = family(SPLIT, {M: [0]}, {A: [0], B: [1]}, {OTHER: [2]})
TRUE = Division(MOTHER, (LEFT, RIGHT), SPLIT)
CELLS = SPLIT * 2 + (10 - SPLIT) * 3

CASES: dict[str, tuple[list[Warned], float, int, float | None]] = {
    "two frames ahead": ([Warned(M, SPLIT - 2, 0.6)], 1.0, 0, 2.0),
    "one frame ahead": ([Warned(M, SPLIT - 1, 0.6)], 1.0, 0, 1.0),
    "in the frame of the split": ([Warned(A, SPLIT, 0.6)], 0.0, 1, None),
    "of another cell": ([Warned(OTHER, SPLIT - 1, 0.6)], 0.0, 1, None),
    "taken back before the split": ([Warned(M, SPLIT - 4, 0.6, retracted=SPLIT - 1)], 0.0, 1, None),
    "taken back when it had split": ([Warned(M, SPLIT - 2, 0.6, retracted=SPLIT + 1)], 1.0, 0, 2.0),
    "taken back, then said again": (
        [Warned(M, SPLIT - 4, 0.4, retracted=SPLIT - 2), Warned(M, SPLIT - 1, 0.6)],
        1.0,
        1,
        1.0,
    ),
    "of no cell at all": ([Warned(99, SPLIT - 1, 0.6)], 0.0, 1, None),
    "cut by the end": ([Warned(OTHER, 9, 0.6, retracted=10, unjudged=True)], 0.0, 0, None),
    "cut by the end, but true": ([Warned(M, SPLIT - 1, 0.6, retracted=10, unjudged=True)], 1.0, 0, 1.0),
    "never": ([], 0.0, 0, None),
}


@pytest.mark.parametrize(("said", "announced", "wrong", "lead"), CASES.values(), ids=CASES.keys())
def test_who_was_announced(said: list[Warned], announced: float, wrong: int, lead: float | None) -> None:
    found = report(overlaps(TRUTH, FOUND), [TRUE], said)
    assert found["announced"] == announced
    assert found["false_per_1000"] == pytest.approx(1000 * wrong / CELLS)
    assert found["lead_frames"] == lead


def test_one_division_is_announced_by_one_warning() -> None:
    torn = {**FOUND, 3: {M: [0], OTHER: [2]}, 4: {14: [0], OTHER: [2]}}
    found = report(overlaps(TRUTH, torn), [TRUE], [Warned(M, 3, 0.5), Warned(14, 4, 0.9)])
    assert (found["announced"], found["precision"]) == (1.0, 0.5)


def test_the_curve_is_what_a_policy_sees_that_asks_for_more() -> None:
    said = [Warned(OTHER, 2, 0.3, retracted=5), Warned(M, SPLIT - 1, 0.8)]
    found = report(overlaps(TRUTH, FOUND), [TRUE], said)
    by_least = {point["confidence"]: (point["announced"], point["precision"]) for point in found["curve"]}
    assert (by_least[0.3], by_least[0.5], by_least[0.9]) == ((1.0, 0.5), (1.0, 1.0), (0.0, None))
    assert [point["confidence"] for point in found["curve"]] == sorted(by_least)
    assert found["brier"] == pytest.approx((0.3**2 + 0.2**2) / 2)
    assert found["ece"] == pytest.approx((0.3 + 0.2) / 2)


def test_an_interval_that_hides_the_phase_is_not_scored() -> None:
    said = [Warned(M, SPLIT - 1, 0.6)]
    world = overlaps(TRUTH, FOUND)
    assert report(world, [TRUE], said, LONGEST_S)["announced"] == 1.0
    hidden = report(world, [TRUE], said, 2 * LONGEST_S)
    assert hidden == {"scored": False, **dict.fromkeys(FIGURES)}
    assert set(report(world, [TRUE], said)) == set(hidden) | {"scored"}


def line(revision: int, status: str, emitted: int, confidence: float, **more: Any) -> dict[str, Any]:
    known = {"kind": "mitosis", "event_id": "a", "frame": SPLIT - 1, "parent_id": M, "daughter_ids": [], "reason": ""}
    return {**known, "revision": revision, "status": status, "emitted_frame": emitted, "confidence": confidence, **more}


def test_warnings_are_read_from_lines_by_their_first_word_and_their_last() -> None:
    lines = [
        line(1, "confirmed", 7, 0.9),
        line(0, "provisional", 4, 0.6),
        line(0, "provisional", 2, 0.3, event_id="b"),
        line(1, "retracted", 5, 0.0, event_id="b"),
        line(0, "provisional", 9, 0.3, event_id="c"),
        line(1, "retracted", 10, 0.3, event_id="c", reason="end_of_stream"),
        line(0, "provisional", 4, 0.6, event_id="d", kind="division"),
    ]
    assert warned(lines) == [
        Warned(M, 2, 0.3, retracted=5),
        Warned(M, 4, 0.6),
        Warned(M, 9, 0.3, retracted=10, unjudged=True),
    ]


def test_a_result_folder_is_scored(tmp_path: Path) -> None:
    truth, found = tmp_path / "GT" / "TRA", tmp_path / "RES"
    for folder, world, name in ((truth, TRUTH, "man_track"), (found, FOUND, "mask")):
        folder.mkdir(parents=True)
        for frame, picture in world.items():
            tifffile.imwrite(folder / f"{name}{frame:03d}.tif", paint(picture).astype(np.uint16))
    rows = f"{MOTHER} 0 4 0\n{LEFT} 5 9 {MOTHER}\n{RIGHT} 5 9 {MOTHER}\n{BYSTANDER} 0 9 0\n"
    (truth / "man_track.txt").write_text(rows)
    (found / "res_track.txt").write_text(f"{M} 0 4 0\n{A} 5 9 {M}\n{B} 5 9 {M}\n{OTHER} 0 9 0\n")
    (found / "events.jsonl").write_text(json.dumps(line(0, "provisional", 4, 0.6)) + "\n")
    assert score_folder(found, truth.parent)["mitosis"]["announced"] == 1.0
    assert score_folder(found, truth.parent, interval_s=2 * LONGEST_S)["mitosis"]["scored"] is False
