"""Stated confidence against what came true: from a result folder to a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from score_cases import BYSTANDER, LEFT, MOTHER, RIGHT, SPLIT, TRUTH, paint

from stream.errors import SourceError
from stream.score.asof import Outcomes, calibration
from stream.score.folder import Words, outcomes_in, score_folder
from stream.score.reliability import TITLES, draw

ROWS = f"{MOTHER} 0 {SPLIT - 1} 0\n{LEFT} {SPLIT} 9 {MOTHER}\n{RIGHT} {SPLIT} 9 {MOTHER}\n{BYSTANDER} 0 9 0\n"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a perfect result and its truth; the result says one true and one wrong division."""
    found, truth = tmp_path / "found", tmp_path / "01_GT"
    for folder in (found, truth / "TRA"):
        folder.mkdir(parents=True)
    for frame, picture in TRUTH.items():
        image = paint(picture).astype(np.uint16)
        tifffile.imwrite(found / f"mask{frame:03}.tif", image)
        tifffile.imwrite(truth / "TRA" / f"man_track{frame:03}.tif", image)
    (found / "res_track.txt").write_text(ROWS)
    (truth / "TRA" / "man_track.txt").write_text(ROWS)
    lines = [
        _line("right", MOTHER, (LEFT, RIGHT), 0.9),
        _line("right", MOTHER, (LEFT, RIGHT), 0.95) | {"revision": 1, "emitted_frame": SPLIT + 1},
        _line("wrong", BYSTANDER, (LEFT, RIGHT), 0.3) | {"status": "provisional"},
        *_warning("kept", MOTHER, 0.6, "confirmed"),
        *_warning("not kept", BYSTANDER, 0.2, "retracted"),
    ]
    (found / "events.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return found, truth


def _line(name: str, parent: int, daughters: tuple[int, int], confidence: float) -> dict[str, object]:
    return {
        "kind": "division", "event_id": name, "revision": 0, "status": "confirmed", "frame": SPLIT,
        "emitted_frame": SPLIT, "confidence": confidence, "parent_id": parent, "daughter_ids": list(daughters),
    }  # fmt: skip


def _warning(name: str, parent: int, confidence: float, end: str) -> list[dict[str, object]]:
    first = _line(name, parent, (0, 0), confidence) | {"kind": "mitosis", "daughter_ids": [], "reason": ""}
    said = first | {"status": "provisional", "frame": SPLIT - 2, "emitted_frame": SPLIT - 2}
    return [said, said | {"status": end, "revision": 1, "emitted_frame": SPLIT}]


def test_outcomes_are_those_that_the_score_counts(folders: tuple[Path, Path]) -> None:
    words = outcomes_in(*folders)
    stated, came_true = words["first word"]
    assert sorted(zip(stated.tolist(), came_true.tolist(), strict=True)) == [(0.3, 0.0), (0.9, 1.0)]
    scored = score_folder(*folders)
    assert scored["division"]["brier"] == pytest.approx(np.mean((stated - came_true) ** 2))
    assert [column.tolist() for column in words["confirmed"]] == [[0.95], [1.0]]
    assert [column.tolist() for column in words["warning"]] == [[0.6, 0.2], [1.0, 0.0]]
    said, announced = words["warning"]
    assert scored["mitosis"]["brier"] == pytest.approx(np.mean((said - announced) ** 2))


def test_a_truth_of_other_frames_is_refused(folders: tuple[Path, Path]) -> None:
    found, truth = folders
    for path in (truth / "TRA").glob("*.tif"):
        path.rename(path.with_name(path.name.replace("track0", "track9")))
    with pytest.raises(SourceError, match="no frame of the result has markers"):
        outcomes_in(found, truth)


def test_bins_hold_equal_counts() -> None:
    stated = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7])
    bins = calibration(stated, (stated > 0.5).astype(float))
    assert [n for _, _, n in bins] == [2, 1, 1, 1, 1]
    assert bins[0][:2] == (pytest.approx(0.15), 0.0)
    assert bins[-1][:2] == (pytest.approx(0.9), 1.0)


def test_the_picture_is_small_and_always_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stated = rng.random(60)
    one, nothing = (stated, (rng.random(60) < stated).astype(float)), (stated[:0], stated[:0])
    outcomes: dict[str, dict[Words, Outcomes]] = {
        "a": dict.fromkeys(TITLES, one),
        "b": {"first word": one, "confirmed": nothing, "warning": nothing},
        "nothing": dict.fromkeys(TITLES, nothing),
    }
    draw(outcomes, tmp_path / "one.png")
    draw(outcomes, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert 2_000 < (tmp_path / "one.png").stat().st_size < 150_000


def test_only_what_was_said_is_drawn(tmp_path: Path) -> None:
    stated = np.linspace(0, 1, 10)
    one, nothing = (stated, np.round(stated)), (stated[:0], stated[:0])
    widths = []
    for words in ((), ("exit",), ("exit", "death"), tuple(TITLES)):
        said: dict[str, dict[Words, Outcomes]] = {"a": {name: one if name in words else nothing for name in TITLES}}
        draw(said, tmp_path / "some.png")
        widths.append(int.from_bytes((tmp_path / "some.png").read_bytes()[16:20], "big"))
    assert widths[0] == widths[1] < widths[2] < widths[3]
