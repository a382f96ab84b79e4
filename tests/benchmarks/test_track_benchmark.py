"""The cells that the tracker is timed with, and when the benchmark fails."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from benchmarks import track
from benchmarks.culture import SISTERS, SOON, YOUNG, Culture
from stream.cells import STATES

MITOSIS, NEWBORN = STATES.index("mitosis"), STATES.index("newborn")
FAST = {"cells": 500, "track_ms_p50": 2.0, "divide_ms_p50": 1.0, "frame_ms_p50": 3.0, "limit_ms": 5.0, "of_limit": 0.4}
SLOW = {**FAST, "track_ms_p50": 6.0, "frame_ms_p50": 7.0, "of_limit": 1.2}
FLAT = {"cells": 300, "ms_p50_early": 2.0, "ms_p50_late": 2.4, "memory_mb_early": 300.0, "memory_mb_late": 314.0}
GROWN: dict[str, tuple[dict[str, float], list[str]]] = {
    "flat": ({}, []),
    "memory": ({"memory_mb_late": 316.0}, ["mean RSS in MB 316.0 in the last tenth"]),
    "time": ({"ms_p50_late": 2.6}, ["median ms per frame 2.6 in the last tenth"]),
    "both": ({"memory_mb_late": 400.0, "ms_p50_late": 9.0}, ["mean RSS", "median ms"]),
    "less than at first": ({"memory_mb_late": 100.0, "ms_p50_late": 0.1}, []),
}


def test_votes_and_heads_are_what_a_network_would_say() -> None:
    """A cell says where it was, a daughter where her mother was; mothers look like dividing, daughters new."""
    culture = Culture(400, 600)
    last: dict[int, Any] = {}
    splits, errors, soon = 0, [], {}
    for number in range(60):
        cells = culture.shoot().segmentation.cells
        now = dict(zip(culture.names.tolist(), range(len(cells)), strict=True))
        assert np.isnan(cells.prev_centre_px).all() == (number == 0)
        for name, row in now.items():
            slot, is_sister = divmod(name, 2)
            was = last.get(2 * slot if is_sister and cells.state_prob[row, NEWBORN] > 0.5 else name)
            if was is not None and name in last:
                errors.append(np.hypot(*(cells.prev_centre_px[row] - last[name])))
            if is_sister and name not in last and cells.state_prob[row, NEWBORN] > 0.5 and was is not None:
                splits += 1
                errors.append(np.hypot(*(cells.prev_centre_px[row] - was)))
                assert soon.get(2 * slot, 1.0) > 0.5
        last = {name: cells.centroid_px[row] for name, row in now.items()}
        soon = {name: cells.state_prob[row, MITOSIS] for name, row in now.items()}
    assert splits > 10
    assert np.median(errors) < 0.2 * culture.diameter_px
    assert np.percentile(errors, 99) < culture.diameter_px


def test_the_culture_neither_grows_nor_dies_out() -> None:
    culture = Culture(400, 600)
    counts = [len(culture.shoot().segmentation.cells) for _ in range(4 * SISTERS)]
    assert SOON < YOUNG < SISTERS
    assert 380 < np.mean(counts[-20:]) < 440
    assert abs(np.mean(counts[-20:]) - np.mean(counts[40:60])) < 20


def test_divisions_are_found_and_the_tracks_outlive_a_jump_of_two_diameters() -> None:
    measured = track.measure(100, 512, 1e6, 40)
    assert measured["divisions"] > 0
    assert measured["of_limit"] < 1
    assert track.jump(100, 512, 2.0)["tracks_kept"] > 0.9


def test_a_missed_limit_is_named() -> None:
    assert track.too_slow([FAST]) == []
    assert track.too_slow([FAST, SLOW]) == ["500 cells: the tracker's 6.0 ms a frame are more than 5 ms"]


@pytest.mark.parametrize(("changed", "expected"), GROWN.values(), ids=GROWN.keys())
def test_growth_is_named(changed: dict[str, float], expected: list[str]) -> None:
    said = track.grown([{**FLAT, **changed}])
    assert len(said) == len(expected)
    assert all(f"300 cells: {start}" in one for start, one in zip(expected, said, strict=True))


def test_ends_are_the_second_and_the_last_tenth() -> None:
    early, late = track.ends(np.arange(100.0))
    assert (early.tolist(), late.tolist()) == (list(range(10, 20)), list(range(90, 100)))


@pytest.mark.parametrize(("late_mb", "code"), [(300.0, 0), (400.0, 1)])
def test_a_soak_runs_all_frames_of_both_and_exits_1_when_something_grew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], late_mb: float, code: int
) -> None:
    """The memory is what the test says; the time may be anything."""
    looked = iter([300.0] * 16 + [late_mb] * 4 + [300.0] * 20)
    monkeypatch.setattr(track, "resident_mb", lambda: next(looked))
    monkeypatch.setattr(track, "SOAKS", ((30, 200), (40, 200)))
    monkeypatch.setattr(track, "MORE_TIME", 1e6)
    monkeypatch.setattr(sys, "argv", ["track", "--soak", "20", "--json"])
    assert track.main() == code
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(one["cells"], one["frames"]) for one in said["soak"]] == [(30, 20), (40, 20)]
    assert len(said["missed"]) == code
