"""Folders of images and labels as people have them: what is read, what is passed by, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from models.train.pairs import read_pairs
from stream.errors import SourceError

CENTRES = ((15, 15), (15, 45), (45, 30))
"""Of cells of 16 px."""


def labels() -> NDArray[np.uint16]:
    rows, columns = np.mgrid[:60, :72]
    drawn = np.zeros((60, 72), np.uint16)
    for label, (y, x) in enumerate(CENTRES, start=1):
        drawn[(rows - y) ** 2 + (columns - x) ** 2 <= 64] = label
    return drawn


def picture() -> NDArray[np.uint16]:
    return (100 + 5000 * (labels() > 0)).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with six images of three cells."""
    for part, drawn in (("images", picture()), ("labels", labels())):
        (tmp_path / part).mkdir()
        for number in range(6):
            tifffile.imwrite(tmp_path / part / f"{number}.tif", drawn)
    return tmp_path


def png(path: Path, pixels: NDArray[np.generic]) -> None:
    path.with_suffix(".tif").unlink(missing_ok=True)
    assert cv2.imwrite(str(path), pixels)


def test_every_pair_is_a_movie_of_one_frame(folder: Path) -> None:
    movies = read_pairs(folder)
    assert [movie.name for movie in movies] == [f"{number}.tif" for number in range(6)]
    for movie in movies:
        assert len(movie) == 1
        assert movie.cohorts[0].label.tolist() == [1, 2, 3]
        assert movie.diameter_px == pytest.approx(16, abs=1)
        np.testing.assert_array_equal(movie.images[0], picture())


def test_one_image_at_least_is_held_out_and_one_is_not(folder: Path) -> None:
    """No hash of the six names falls into the fifth that is held out; without them, one image is learned from."""
    edges = [movie.validation_from_px for movie in read_pairs(folder)]
    assert sorted(edges) == [0, 72, 72, 72, 72, 72]
    assert edges == [movie.validation_from_px for movie in read_pairs(folder)]


def test_png_is_read_as_tiff_is(folder: Path) -> None:
    png(folder / "images" / "0.png", picture())
    png(folder / "labels" / "0.png", labels())
    png(folder / "images" / "1.png", picture())  # its labels are a TIFF
    one, two = (movie for movie in read_pairs(folder) if movie.name.endswith("png"))
    for movie in (one, two):
        np.testing.assert_array_equal(movie.images[0], picture())
        np.testing.assert_array_equal(movie.labels[0], labels())


def test_colours_are_averaged_and_opacity_is_not_light(folder: Path) -> None:
    grey = (picture() // 64).astype(np.uint8)
    png(folder / "images" / "0.png", np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    tifffile.imwrite(folder / "images" / "1.tif", np.dstack([grey, grey // 2, 0 * grey]), photometric="rgb")
    found = {movie.name: movie.images[0] for movie in read_pairs(folder)}
    np.testing.assert_array_equal(found["0.png"], grey)
    np.testing.assert_allclose(found["1.tif"], grey / 2, atol=1)


def test_a_mask_of_two_values_is_taken_apart(folder: Path) -> None:
    mask = (255 * (labels() > 0)).astype(np.uint8)
    png(folder / "labels" / "0.png", mask)
    png(folder / "labels" / "1.png", np.dstack([mask, mask, mask]))
    for movie in read_pairs(folder)[:2]:
        assert len(movie.cohorts[0].label) == 3
        centres = {tuple(round(float(side)) for side in centre) for centre in movie.cohorts[0].centre_px}
        assert centres == set(CENTRES)


def test_images_without_cells_are_left_out(folder: Path) -> None:
    tifffile.imwrite(folder / "labels" / "3.tif", np.zeros((60, 72), np.uint16))
    assert [movie.name for movie in read_pairs(folder)] == ["0.tif", "1.tif", "2.tif", "4.tif", "5.tif"]


def test_what_is_no_image_of_anybodys_is_passed_by(folder: Path) -> None:
    for name in ("Thumbs.db", ".DS_Store", "._0.tif", "desktop.ini"):
        (folder / "images" / name).write_bytes(b"words")
    (folder / "images" / "more").mkdir()
    assert len(read_pairs(folder)) == 6


def _cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _torn_png(folder: Path) -> None:
    png(folder / "images" / "1.png", picture())
    _cut(folder / "images" / "1.png")


def _all_without_cells(folder: Path) -> None:
    for path in (folder / "labels").iterdir():
        tifffile.imwrite(path, np.zeros((60, 72), np.uint16))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no labels": (lambda at: (at / "labels" / "1.tif").unlink(), r"1\.tif: there are no labels"),
    "another size": (
        lambda at: tifffile.imwrite(at / "labels" / "1.tif", labels()[:, :-1]),
        r"1\.tif: labels of \(60, 71\) rows and columns for .*1\.tif of \(60, 72\)",
    ),
    "another format": (lambda at: (at / "images" / "1.jpg").write_bytes(b"x"), r"1\.jpg: .*only TIFF and PNG"),
    "half a TIFF": (lambda at: _cut(at / "images" / "1.tif"), r"1\.tif: cannot be read"),
    "no TIFF": (lambda at: (at / "labels" / "1.tif").write_bytes(b"words"), r"1\.tif: cannot be read"),
    "half a PNG": (_torn_png, r"1\.png: cannot be read"),
    "an empty PNG": (lambda at: (at / "images" / "7.png").write_bytes(b""), r"7\.png: cannot be read"),
    "a stack": (lambda at: tifffile.imwrite(at / "images" / "1.tif", [picture()] * 5), r"1\.tif: of shape \(5, 60"),
    "labels in colour": (
        lambda at: tifffile.imwrite(at / "labels" / "1.tif", np.dstack([labels(), labels(), 2 * labels()])),
        r"1\.tif: of shape \(60, 72, 3\); labels are one plane",
    ),
    "labels below 0": (
        lambda at: tifffile.imwrite(at / "labels" / "1.tif", labels().astype(np.int16) - 1), r"holds the label -1",
    ),
    "no cells at all": (_all_without_cells, "not one cell"),
    "no images": (lambda at: [path.unlink() for path in (at / "images").iterdir()], "no images"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_used_is_named(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(folder)
    with pytest.raises(SourceError, match=said):
        read_pairs(folder)
