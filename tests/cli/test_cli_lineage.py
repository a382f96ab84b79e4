"""``cytoloop lineage`` and ``cytoloop export`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.errors import SourceError
from tests.cases import family


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.record(tmp_path_factory.mktemp("recorded") / "run")


def printed(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_the_tree_is_printed(run: Path) -> None:
    lines = printed("lineage", run).splitlines()
    assert lines[:6] == [
        "cell 1: there from the start, at frame 10, divided at 13 after ≥ 3 frames (6 s), p 0.94 confirmed, "
        "daughters' area 0.64 intensity 0.92",
        "├── cell 2: born at frame 13, divided at 18 after 5 frames (10 s), p 0.97 confirmed, daughters' area 0.25 "
        "intensity 0.94",
        "│   ├── cell 5: born at frame 18, alive at 21, age 3 frames (6 s)",
        "│   └── cell 6: born at frame 18, alive at 21, age 3 frames (6 s)",
        "└── cell 3: born at frame 13, alive at 21, age 8 frames (16 s)",
        "cell 4: came into view at frame 11, divided at 14 after ≥ 3 frames (6 s), p 0.62 confirmed, daughters' area "
        "1.00 intensity 0.89",
    ]
    assert lines[-2:] == [
        "Camera:p0 after frame 21: 15 cells, 3 divisions, 2 generations in a row",
        "division time, median of 1 cells whose birth and division were both seen: 5 frames (10 s)",
    ]
    assert not any(line.startswith("cell 16") for line in lines)


def test_all_and_one_family(run: Path) -> None:
    every = printed("lineage", run, "--all")
    assert "cell 14: came into view at frame 12, died at 16 (p 0.88), age ≥ 4 frames (8 s)" in every
    assert "cell 13: there from the start, at frame 10, left the picture at 14" in every
    one = printed("lineage", run, "--track", 11).splitlines()
    assert one[0].startswith("cell 10 then 11 ←: there from the start")
    assert len(one) == 3


def test_lineage_as_json(run: Path) -> None:
    said = json.loads(printed("lineage", run, "--track", 6, "--interval-s", "60", "--json"))
    assert [life["cell_id"] for life in said["lives"]] == [1, 2, 3, 5, 6]
    assert (said["lives"][1]["cycle_frames"], said["lives"][1]["cycle_s"]) == (5, 300.0)


def test_an_unknown_track_is_named(run: Path) -> None:
    with pytest.raises(SourceError, match="no track 99 in Camera:p0"):
        printed("lineage", run, "--track", 99)


@pytest.mark.parametrize("to", ["ctc", "geff", "napari"])
def test_export_says_what_it_wrote(run: Path, tmp_path: Path, to: str) -> None:
    said = json.loads(printed("export", run, "--to", to, "--out", tmp_path / "out", "--json"))
    assert said["format"] == to
    assert Path(said["out"]).exists()
