"""Leaving out movies: every fold is trained, exported and judged on what it has not seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from models.zoo.check import check
from stream import trainer
from stream.errors import ConfigError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
CONFIG = """
name = "tiny"
kind = "nuclei"
fast = true
stride = 4
widths = [16, 16]
object_px = 20.0
side = 64
batch = 2
validation_batches = 1
steps = 2
"""
SOURCE = """
[[data]]
path = "{}/01"
terms = "drawn"
"""


def discs(folder: Path, seed: int) -> None:
    """A movie of three frames: six bright discs that stay, in noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :128]
    labels = np.zeros((96, 128), np.uint16)
    for label, (y, x) in enumerate([(24, 20), (24, 60), (24, 100), (70, 20), (70, 60), (70, 104)], start=1):
        labels[(rows - y - rng.integers(-3, 4)) ** 2 + (columns - x) ** 2 <= 100] = label
    images, tra = folder / "01", folder / "01_GT" / "TRA"
    images.mkdir(parents=True)
    tra.mkdir(parents=True)
    for number in range(3):
        picture = 200 + 800 * (labels > 0) + rng.normal(0, 20, labels.shape)
        tifffile.imwrite(images / f"t{number:03d}.tif", picture.astype(np.uint16))
        tifffile.imwrite(tra / f"man_track{number:03d}.tif", labels)
    (tra / "man_track.txt").write_text("".join(f"{label} 0 2 0\n" for label in range(1, 7)))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYTOLOOP_DATA", str(tmp_path / "data"))
    for seed, name in enumerate(("one", "two")):
        discs(tmp_path / "data" / name, seed)
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG + SOURCE.format("one") + SOURCE.format("two"))
    return path


def test_what_was_trained_can_be_checked(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = trainer.train_one(config)
    assert made["model"] == str(Path("training", "tiny", "tiny.onnx"))
    assert {path.suffix for path in (tmp_path / "training" / "tiny").iterdir()} >= {
        ".onnx",
        ".npz",
        ".pt",
        ".csv",
        ".png",
    }
    found = check(made["model"], runtimes=("openvino", "onnxruntime"), compile_rtx=False)
    assert found["failures"] == []


@pytest.fixture
def single_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each fold the export in half precision: a fold is judged by its other file, and the check reads both."""
    from models.nets.export import export

    monkeypatch.setattr("models.nets.export.export", lambda net, path, half=False: half or export(net, path))


@pytest.mark.usefixtures("single_alone")
def test_each_movie_is_left_out_once_and_judged(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("[16, 16]", "[16]"))  # of one level: sooner exported
    said: list[str] = []
    found = trainer.cross_validate(config, tmp_path / "out", say=said.append)
    assert [fold["left_out"] for fold in found["folds"]] == ["one/01", "two/01"]
    assert said == ["without one/01: learning from two/01", "without two/01: learning from one/01"]
    assert all(0 <= fold["DET"] <= 1 for fold in found["folds"])
    kept = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert found in kept
    assert "one/01" in trainer.table(found["folds"])


@pytest.mark.parametrize("line", ['start = "other/best.pt"', 'teachers = ["other/best.pt"]'])
def test_weights_that_know_what_is_left_out_are_refused(config: Path, tmp_path: Path, line: str) -> None:
    config.write_text(f"{line}\n{config.read_text()}")
    for judge in (trainer.cross_validate, trainer.ablate):
        with pytest.raises(ConfigError, match="left out"):
            judge(config, tmp_path / "out")


def test_leaving_out_needs_something_that_stays(config: Path, tmp_path: Path) -> None:
    config.write_text(CONFIG + SOURCE.format("one"))
    with pytest.raises(ConfigError, match="two sources"):
        trainer.cross_validate(config, tmp_path / "out")
