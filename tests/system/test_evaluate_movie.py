"""Evaluation end to end on a small movie: the same bytes, causal, truth last, bad input named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from drivers.replay.driver import ReplayDriver
from stream.config import CameraSettings, ChainSettings, PlanSettings
from stream.errors import SourceError
from stream.evaluate import evaluate, moments_of
from tests.system.evaluate_cases import FIRST, FRAMES, MODEL, SPLITS, movie

PLAIN = ChainSettings(denoise="none")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def events_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    movie(folder / "01", folder / "01_GT")
    scored = evaluate(folder / "01", folder / "RES", model=MODEL, gt=folder / "01_GT", chain=PLAIN)
    (folder / "scored.json").write_text(json.dumps(scored))
    return folder


def test_figures_and_keys(whole: Path) -> None:
    scored = json.loads((whole / "scored.json").read_text())
    assert list(scored) == [
        "frames", "model", "SEG", "SEG_ST", "DET", "TRA", "LNK", "CHOTA", "CT", "BC1", "division", "mitosis", "ms",
    ]  # fmt: skip
    assert (scored["frames"], scored["model"], scored["SEG"], scored["SEG_ST"]) == (FRAMES, MODEL, None, None)
    assert scored["DET"] == 1.0
    assert scored["TRA"] > 0.95
    assert scored["division"]["f1"] == 1.0
    assert list(scored["division"]) == [
        "precision", "recall", "f1", "f1_asof", "delay_frames", "retract_rate", "ece", "brier",
        "ece_confirmed",
        "false_confirmed_per_1000",
    ]  # fmt: skip
    assert list(scored["division"]["f1_asof"]) == ["0", "1", "2", "3", "4", "5"]
    assert list(scored["ms"]) == ["denoise", "segment", "track", "divide", "total"]
    assert scored["ms"]["track"]["p99"] >= scored["ms"]["track"]["p50"] > 0


def test_files_keep_the_sources_numbers(whole: Path) -> None:
    numbers = range(FIRST, FIRST + FRAMES)
    expected = {f"mask{number}.tif" for number in numbers} | {"res_track.txt", "events.jsonl"}
    assert set(bytes_of(whole / "RES")) == expected
    assert {event["frame"] for event in events_of(whole / "RES")} == set(SPLITS)


def test_the_same_bytes_again_and_over_an_earlier_result(whole: Path, tmp_path: Path) -> None:
    for _ in range(2):
        evaluate(whole / "01", tmp_path, model=MODEL, chain=PLAIN)
        assert bytes_of(tmp_path) == bytes_of(whole / "RES")


@pytest.mark.parametrize("last", [154, 156, 160])
def test_a_movie_cut_short_says_the_same_until_then(whole: Path, tmp_path: Path, last: int) -> None:
    source = movie(tmp_path / "01", frames=range(FIRST, last + 1))
    evaluate(source, tmp_path / "RES", model=MODEL, chain=PLAIN)
    cut, full = bytes_of(tmp_path / "RES"), bytes_of(whole / "RES")
    masks = [f"mask{number}.tif" for number in range(FIRST, last + 1)]
    assert {name for name in cut if name.startswith("mask")} == set(masks)
    assert all(cut[name] == full[name] for name in masks)
    known = [event for event in events_of(whole / "RES") if event["emitted_frame"] <= last]  # type: ignore[operator]
    said = events_of(tmp_path / "RES")
    assert [event for event in said if event["emitted_frame"] <= last] == known  # type: ignore[operator]
    assert {event["reason"] for event in said[len(known) :]} <= {"end_of_stream"}


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_a_gap_is_judged_by_what_came_before_it(count: int, tmp_path: Path) -> None:
    numbers = [0, 3, 6, 9, 12, 18][:count]
    for number in numbers:
        tifffile.imwrite(tmp_path / f"t{number:03d}.tif", np.zeros((8, 8), np.uint16))
    driver = ReplayDriver()
    driver.open(CameraSettings(driver="replay", options={"source": tmp_path, "speed": "max"}), run="", session="")
    driver.start(PlanSettings())
    found = [(moment.frame.frame, moment.missed) for moment in moments_of(driver, PLAIN)]
    driver.stop()
    assert found == list(zip(numbers, [0, 0, 0, 0, 0, 1], strict=False))


def test_truth_is_read_only_after_everything_is_written(whole: Path, tmp_path: Path) -> None:
    """Truth that cannot be read stops the scoring, when the whole result is on disk already."""
    (tmp_path / "01_GT" / "TRA").mkdir(parents=True)
    (tmp_path / "01_GT" / "TRA" / "man_track150.tif").write_bytes(b"torn")
    (tmp_path / "01_GT" / "TRA" / "man_track.txt").write_text("1 150 163 0\n")
    with pytest.raises(SourceError, match=r"man_track150\.tif: not a readable TIFF"):
        evaluate(whole / "01", tmp_path / "RES", model=MODEL, gt=tmp_path / "01_GT", chain=PLAIN)
    assert bytes_of(tmp_path / "RES") == bytes_of(whole / "RES")


def test_a_hole_and_a_corrupt_frame(whole: Path, tmp_path: Path) -> None:
    """The rest is decided and scored; nothing is shifted, and the missing frames count as missed."""
    source = movie(tmp_path / "01")
    (source / "t152.tif").unlink()
    (source / "t161.tif").write_bytes(b"torn")
    scored = evaluate(source, tmp_path / "RES", model=MODEL, gt=whole / "01_GT", chain=PLAIN)
    assert scored["frames"] == FRAMES - 2
    assert {"mask152.tif", "mask161.tif"}.isdisjoint(bytes_of(tmp_path / "RES"))
    assert tifffile.imread(tmp_path / "RES" / "mask153.tif").max() == 9
    assert 0.7 < scored["DET"] < 0.9
    assert scored["division"]["f1"] == 1.0


def test_without_truth_and_without_a_model(whole: Path, tmp_path: Path) -> None:
    scored = evaluate(whole / "01", tmp_path, chain=PLAIN.model_copy(update={"segment": MODEL}))
    assert scored["model"] == "squares"
    assert {scored[name] for name in ("SEG", "SEG_ST", "DET", "TRA", "LNK", "CHOTA", "CT", "BC1")} == {None}
    assert set(scored["division"]["f1_asof"].values()) == {None}


def test_paths_that_cannot_be_meant(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="results cannot go where the recording"):
        evaluate(whole / "01", whole / "01", model=MODEL)
    with pytest.raises(SourceError, match="no such folder; give the NN_GT"):
        evaluate(whole / "01", tmp_path, model=MODEL, gt=tmp_path / "02_GT")
    with pytest.raises(SourceError, match="no such file or folder"):
        evaluate(tmp_path / "nowhere", tmp_path, model=MODEL)
