"""Training data: truth is read as it is written, and a sample's targets are geometry that can be checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from models.train.movie import Movie, read_ctc
from models.train.noise import fewer_photons
from models.train.sample import NONE, Augmentation, draw
from models.train.split import held_out, is_validation
from stream.errors import SourceError

SIDE = 128
DIAMETER_PX = 16


def disc(labels: np.ndarray, y: int, x: int, label: int, radius: int = DIAMETER_PX // 2) -> None:
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = label


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """Four frames: cell 1 stays, cell 2 moves right by 6 px a frame and divides into 3 and 4 at frame 2."""
    frames: list[dict[int, tuple[int, int]]] = [
        {1: (40, 40), 2: (100, 60)},
        {1: (40, 40), 2: (100, 66)},
        {1: (40, 40), 3: (90, 72), 4: (110, 72)},
        {1: (40, 40), 3: (88, 72), 4: (112, 72)},
    ]
    images, tra, st = tmp_path / "01", tmp_path / "01_GT" / "TRA", tmp_path / "01_ST" / "SEG"
    for folder in (images, tra, st):
        folder.mkdir(parents=True)
    for number, cells in enumerate(frames, start=10):
        labels = np.zeros((160, 200), np.uint16)
        for label, (y, x) in cells.items():
            disc(labels, y, x, label)
        marks = labels.copy()
        if number == 13:
            labels[labels == 1] = 0  # a cell that only has a marker
        tifffile.imwrite(tra / f"man_track{number:03d}.tif", marks)
        tifffile.imwrite(st / f"man_seg{number:03d}.tif", labels)
        tifffile.imwrite(images / f"t{number:03d}.tif", (marks > 0).astype(np.uint16) * 900 + 100)
    (tra / "man_track.txt").write_text("1 10 13 0\n2 10 11 0\n3 12 13 2\n4 12 13 2\n")
    return images


@pytest.fixture
def movie(sequence: Path) -> Movie:
    return read_ctc(sequence)


def test_frames_count_from_the_first_file(movie: Movie) -> None:
    assert len(movie) == 4
    assert movie.tracks == {1: (0, 3, 0), 2: (0, 1, 0), 3: (2, 3, 2), 4: (2, 3, 2)}
    assert list(movie.divisions) == [(2, 2)]
    assert movie.diameter_px == pytest.approx(DIAMETER_PX, abs=1)


SEEN = {1: (0, 3, 0), 2: (0, 1, 0), 3: (2, 3, 2), 4: (2, 3, 2)}
"""The tracks of the sequence by its images, however they are numbered."""
FILES = {
    "by twos": (lambda n: 2 * n, "1 20 26 0\n2 20 22 0\n3 24 26 2\n4 24 26 2\n", SEEN),
    "the daughters' first image is missing": (
        lambda n: n + (n > 11), "1 10 14 0\n2 10 11 0\n3 12 14 2\n4 12 14 2\n", SEEN
    ),
    "the mother's last image is missing": (
        lambda n: n + (n > 11), "1 10 14 0\n2 10 12 0\n3 13 14 2\n4 13 14 2\n", SEEN
    ),
    "more is known than there are images": (
        lambda n: n, "1 2 17 0\n2 2 11 7\n3 12 15 2\n4 12 13 2\n", SEEN | {1: (-1, 4, 0), 2: (-1, 1, 7), 3: (2, 4, 2)}
    ),
}  # fmt: skip


@pytest.mark.parametrize(("renumber", "table", "tracks"), FILES.values(), ids=FILES.keys())
def test_frames_count_the_images_that_there_are(
    sequence: Path, renumber: Callable[[int], int], table: str, tracks: dict[int, tuple[int, int, int]]
) -> None:
    tra = sequence.with_name("01_GT") / "TRA"
    for folder in (sequence, tra, sequence.with_name("01_ST") / "SEG"):
        for path in sorted(folder.glob("*.tif"), reverse=True):
            stem, number = path.stem[:-3], int(path.stem[-3:])
            path.rename(folder / f"{stem}{renumber(number):03d}.tif")
    (tra / "man_track.txt").write_text(table)
    movie = read_ctc(sequence)
    assert movie.tracks == tracks
    assert list(movie.divisions) == [(2, 2)]
    assert [cohort.label.tolist() for cohort in movie.cohorts] == [[1, 2], [1, 2], [1, 3, 4], [1, 3, 4]]


def test_a_cell_with_only_a_marker_is_known_as_undrawn(movie: Movie) -> None:
    last = movie.cohorts[3]
    assert dict(zip(last.label.tolist(), last.drawn.tolist(), strict=True)) == {1: False, 3: True, 4: True}


def _division(movie: Movie, augment: Augmentation = NONE) -> object:
    rng = np.random.default_rng(0)
    for _ in range(200):
        sample = draw(movie, "nuclei", 26.0, SIDE, augment, rng)
        if sample.newborn.any():
            return sample
    raise AssertionError("no crop around the division was drawn in 200")


def test_daughters_point_to_their_mother(movie: Movie) -> None:
    sample = _division(movie)
    born = (sample.newborn > 0) & (sample.moved > 0)
    at = np.argwhere(born)
    aims = at * 2 + 0.5 + sample.previous[:, at[:, 0], at[:, 1]].T
    assert np.ptp(aims, axis=0).max() < 1.0, "both daughters' pixels aim at one place"
    own = at * 2 + 0.5 + sample.own[:, at[:, 0], at[:, 1]].T
    assert np.linalg.norm(own - aims, axis=1).min() > 8, "which is not where they are"


def test_teachers_are_hushed_around_a_cell_that_only_has_a_marker(movie: Movie) -> None:
    rng = np.random.default_rng(2)
    hushed = [draw(movie, "nuclei", 26.0, SIDE, NONE, rng, hushed=True) for _ in range(40)]
    silent = np.array([one.taught.size - one.taught.sum() for one in hushed])
    disc_blocks = np.pi / 4 * (1.2 * 26 / 2) ** 2
    assert silent.max() == pytest.approx(disc_blocks, rel=0.15), "a disc around the one marker of the last frame"
    assert (silent == 0).any(), "nothing where every cell is drawn"
    assert all(draw(movie, "nuclei", 26.0, SIDE, NONE, rng).taught.all() for _ in range(10))
    large = NONE.model_copy(update={"zoom": (1.4, 1.5)})
    assert not any(draw(movie, "nuclei", 26.0, SIDE, large, rng, hushed=True).taught.any() for _ in range(10))


def test_seeds_are_highest_where_the_own_offset_is_none(movie: Movie) -> None:
    sample = draw(movie, "nuclei", 26.0, SIDE, NONE, np.random.default_rng(3))
    assert sample.seed.max() > 0.8
    at = np.unravel_index(np.argmax(sample.seed), sample.seed.shape)
    assert np.hypot(*sample.own[:, at[0], at[1]]) < 2.0


def test_a_still_frame_pair_shows_the_same_levels_and_no_motion(movie: Movie) -> None:
    still = NONE.model_copy(update={"gaps": (1.0, 0.0, 0.0)})
    sample = draw(movie, "nuclei", 26.0, SIDE, still, np.random.default_rng(1))
    np.testing.assert_array_equal(sample.frames[0], sample.frames[1])
    counted = sample.moved > 0
    np.testing.assert_allclose(sample.previous[:, counted], sample.own[:, counted], atol=1e-4)


def test_training_never_sees_labels_of_the_validation_strip(movie: Movie) -> None:
    rng = np.random.default_rng(5)
    edge = movie.validation_from_px
    movie.labels[0][:, edge:] = 1  # all of the strip is one cell
    for image in movie.images:
        image[:, edge:] = 5000
    for _ in range(20):
        sample = draw(movie, "nuclei", 26.0, SIDE, NONE, rng)
        bright = sample.frames[1] > 3000
        assert not (sample.weight[bright] > 0).any()


def test_the_same_seed_draws_the_same_sample(movie: Movie) -> None:
    one, two = (draw(movie, "nuclei", 26.0, SIDE, Augmentation(), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_array_equal(one.previous, two.previous)


def test_a_folder_without_truth_is_refused(sequence: Path) -> None:
    (sequence.with_name("01_GT") / "TRA" / "man_track.txt").unlink()
    with pytest.raises(SourceError, match=r"man_track\.txt"):
        read_ctc(sequence)


def test_a_fifth_of_all_names_is_validation_always_the_same() -> None:
    kept = [is_validation(f"{i}.tif") for i in range(2000)]
    assert 0.17 < np.mean(kept) < 0.23
    assert kept == [is_validation(f"{i}.tif") for i in range(2000)]


def test_of_two_names_one_is_held_out_and_one_is_not() -> None:
    learned = [name for name in map(str, range(100)) if not is_validation(name)][:5]
    kept = [name for name in map(str, range(100)) if is_validation(name)][:5]
    assert len(held_out(learned)) == 1
    assert held_out(learned) == held_out(learned[::-1])
    assert len(held_out(kept)) == 4
    assert held_out(learned + kept) == frozenset(kept)
    assert held_out(learned[:1]) == frozenset()


@pytest.mark.parametrize("photons", [5.0, 20.0, 200.0])
def test_fewer_photons_keep_the_mean_and_give_poisson_noise(photons: float) -> None:
    flat = np.full((300, 300), 1100, np.uint16)
    noisy = fewer_photons(flat, 100.0, 1000.0, photons, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(1100, rel=0.01)
    assert (noisy.std() / 1000) ** 2 == pytest.approx(1 / photons, rel=0.05)


def test_a_cell_with_only_a_marker_claims_what_is_nearest_to_it(tmp_path: Path) -> None:
    """Sisters of 5 × 5 markers, 8 px apart, beside a cell that is drawn: the claims meet halfway and spare the mask."""
    images, tra, st = tmp_path / "01", tmp_path / "01_GT" / "TRA", tmp_path / "01_ST" / "SEG"
    for folder in (images, tra, st):
        folder.mkdir(parents=True)
    marks, drawn = np.zeros((120, 120), np.uint16), np.zeros((120, 120), np.uint16)
    for label, y in ((1, 60), (4, 20), (5, 100), (6, 80)):
        disc(drawn, y, 40, label)
        disc(marks, y, 40, label)
    marks[58:63, 54:59] = 2
    marks[58:63, 62:67] = 3
    tifffile.imwrite(tra / "man_track000.tif", marks)
    tifffile.imwrite(st / "man_seg000.tif", drawn)
    tifffile.imwrite(images / "t000.tif", marks)
    (tra / "man_track.txt").write_text("".join(f"{label} 0 0 0\n" for label in range(1, 7)))
    without = read_ctc(images)
    np.testing.assert_array_equal(without.claims[0], without.labels[0])
    movie = read_ctc(images, claimed=0.5)
    claims, labels = movie.claims[0], movie.labels[0]
    assert [int((labels == i).sum()) for i in (2, 3)] == [25, 25]
    reach_px = movie.diameter_px / 2
    for label, x in ((2, 56), (3, 64)):
        rows, columns = np.nonzero(claims == label)
        assert len(rows) > 60
        assert np.hypot(rows - 60, columns - x).max() <= reach_px
    assert np.nonzero(claims == 2)[1].max() < np.nonzero(claims == 3)[1].min()
    np.testing.assert_array_equal(claims[drawn > 0], drawn[drawn > 0])
    sample = draw(movie, "phase", DIAMETER_PX, SIDE, NONE, np.random.default_rng(0))
    own_known = np.repeat(np.repeat(sample.cell > 0, 2, 0), 2, 1)
    assert sample.foreground[own_known].mean() < 1  # votes are learned where the outline is not known
