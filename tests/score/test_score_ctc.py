"""The challenge's figures against py-ctcmetrics on folders, and perfect results on real truth."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stream.errors import SourceError
from stream.score.ctc import crop
from stream.score.folder import score_folder

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ctc"
HELA = DATA / "Fluo-N2DL-HeLa"
NAMES = {"DET": "DET", "TRA": "TRA", "LNK": "LNK", "CHOTA": "CHOTA", "CT": "CT", "BC1": "BC(1)", "SEG": "SEG"}


def random_movie(folder: Path, truth: bool, first: int, seed: int) -> None:
    """Discs that move, divide and (in a result) are missed, merged, broken and confused now and then."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    cells = {label: np.array([20.0 * (label % 4) + 20, 20.0 * (label // 4) + 20]) for label in range(1, 13)}
    rows = {label: [label, first, first, 0] for label in cells}
    motion = np.random.default_rng(7)
    for frame in range(first, first + 12):
        if frame - first in (3, 6, 9):
            mother = sorted(cells)[motion.integers(len(cells))]
            place = cells.pop(mother)
            for sign in (-1, 1):
                rows[len(rows) + 1] = [len(rows) + 1, frame, frame, mother]
                cells[len(rows)] = place + sign * np.array([0.0, 5.0])
        elif not truth and frame > first and random.random() < 0.5:
            lost = sorted(cells)[random.integers(len(cells))]
            rows[len(rows) + 1] = [len(rows) + 1, frame, frame, lost if random.random() < 0.5 else 0]
            cells[len(rows)] = cells.pop(lost)
        image = np.zeros((110, 110), np.uint16)
        for label, place in cells.items():
            cells[label] = place + motion.normal(0, 1, 2)
            y, x = cells[label] + (0 if truth else random.normal(0, 0.7, 2))
            rows[label][2] = frame
            radius = 3 if truth else 5
            image[np.hypot(*(np.ogrid[:110, :110][i] - (y, x)[i] for i in (0, 1))) <= radius] = label
        for label in set(cells) - set(np.unique(image).tolist()):
            image[0, label] = label
        name = "man_track" if truth else "mask"
        tifffile.imwrite(folder / f"{name}{frame:03d}.tif", image)
    track = "man_track.txt" if truth else "res_track.txt"
    (folder / track).write_text("".join(" ".join(map(str, row)) + "\n" for row in rows.values()))


@pytest.mark.parametrize("seed", range(4))
def test_same_figures_as_py_ctcmetrics(tmp_path: Path, seed: int) -> None:
    from ctc_metrics.scripts.evaluate import evaluate_sequence

    for first in (0, 150):
        random_movie(tmp_path / f"{first}_GT" / "TRA", True, first, seed)
        random_movie(tmp_path / f"{first}_RES", False, first, seed)
        hand = tmp_path / f"{first}_GT" / "SEG"
        hand.mkdir()
        shutil.copy(
            tmp_path / f"{first}_GT" / "TRA" / f"man_track{first + 4:03d}.tif", hand / f"man_seg{first + 4:03d}.tif"
        )
    theirs = evaluate_sequence(str(tmp_path / "0_RES"), str(tmp_path / "0_GT"), [*NAMES.values(), "BC"], threads=1)
    for first in (0, 150):
        ours = score_folder(tmp_path / f"{first}_RES", tmp_path / f"{first}_GT")
        assert {name: ours[name] for name in NAMES} == pytest.approx({name: theirs[key] for name, key in NAMES.items()})
    assert 0.3 < ours["TRA"] < 1


def test_nothing_found_scores_nothing(tmp_path: Path) -> None:
    random_movie(tmp_path / "GT" / "TRA", True, 0, 0)
    (tmp_path / "RES").mkdir()
    for frame in range(12):
        tifffile.imwrite(tmp_path / "RES" / f"mask{frame:03d}.tif", np.zeros((110, 110), np.uint16))
    (tmp_path / "RES" / "res_track.txt").write_text("")
    scored = score_folder(tmp_path / "RES", tmp_path / "GT")
    assert {scored[name] for name in ("DET", "TRA", "LNK", "CHOTA", "CT", "BC1")} == {0.0}
    assert (scored["SEG"], scored["SEG_ST"], scored["division"]["f1"]) == (None, None, 0.0)


def test_a_frame_without_a_mask_counts_as_one_where_nothing_was_found(tmp_path: Path) -> None:
    random_movie(tmp_path / "GT" / "TRA", True, 0, 0)
    for kind in ("GT", "ST"):
        shutil.copytree(tmp_path / "GT" / "TRA", tmp_path / kind / "SEG")
        for path in (tmp_path / kind / "SEG").glob("*.tif"):
            path.rename(path.with_name(path.name.replace("man_track", "man_seg")))
    (tmp_path / "RES").mkdir()
    for path in (tmp_path / "GT" / "TRA").glob("*.tif"):
        shutil.copy(path, tmp_path / "RES" / path.name.replace("man_track", "mask"))
    shutil.copy(tmp_path / "GT" / "TRA" / "man_track.txt", tmp_path / "RES" / "res_track.txt")
    whole = score_folder(tmp_path / "RES", tmp_path / "GT", tmp_path / "ST")
    assert (whole["SEG"], whole["SEG_ST"]) == (1.0, 1.0)
    (tmp_path / "RES" / "mask004.tif").unlink()
    holed = score_folder(tmp_path / "RES", tmp_path / "GT", tmp_path / "ST")
    assert holed["SEG"] == holed["SEG_ST"] < 1


def test_crop_cuts_parents_that_are_over() -> None:
    rows = np.array([[1, 0, 3, 0], [2, 4, 9, 1], [3, 0, 5, 0], [4, 6, 9, 3]])
    assert crop(rows, 4, 7).tolist() == [[2, 4, 7, 0], [3, 4, 5, 0], [4, 6, 7, 3]]


BAD = {
    "no folder": (None, "no such folder"),
    "empty": ([], "no TRA/man_trackNNN.tif"),
    "torn mask": (["TRA/man_track000.tif"], "not a readable TIFF"),
}


@pytest.mark.parametrize(("files", "message"), BAD.values(), ids=BAD.keys())
def test_bad_truth_is_named(tmp_path: Path, files: list[str] | None, message: str) -> None:
    random_movie(tmp_path / "RES", False, 0, 0)
    truth = tmp_path / "01_GT"
    if files is not None:
        (truth / "TRA").mkdir(parents=True)
        for name in files:
            (truth / name).write_bytes(b"torn")
        (truth / "TRA" / "man_track.txt").write_text("1 0 0 0\n")
    with pytest.raises(SourceError, match=message):
        score_folder(tmp_path / "RES", truth)


@pytest.mark.skipif(not HELA.is_dir(), reason="needs ctc/Fluo-N2DL-HeLa in $CYTOLOOP_DATA or beside the checkout")
@pytest.mark.parametrize("part", ["", "TRA"])
def test_the_truth_itself_scores_one(tmp_path: Path, part: str) -> None:
    truth = HELA / "02_GT" / "TRA"
    for path in truth.glob("*.tif"):
        shutil.copy(path, tmp_path / path.name.replace("man_track", "mask"))
    shutil.copy(truth / "man_track.txt", tmp_path / "res_track.txt")
    scored = score_folder(tmp_path, HELA / "02_GT" / part)
    assert {scored[name] for name in ("DET", "TRA", "LNK", "CHOTA", "CT", "BC1")} == {1.0}
    division = scored["division"]
    assert {division["precision"], division["recall"], division["f1"], *division["f1_asof"].values()} == {1.0}
    assert (division["delay_frames"], division["retract_rate"], division["brier"]) == (0.0, 0.0, 0.0)
