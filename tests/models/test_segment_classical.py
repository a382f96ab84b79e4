"""The classical segmenters on pictures whose cells are known, and on pictures that are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from segment_scene import discs, grid, moment

from models.segment.classical import ClassicalSegmenter, NucleiSegmenter, PhaseSegmenter
from stream.errors import ConfigError, StageError

SHAPE = (256, 320)
CENTRES = grid(SHAPE, 40)


def found(segmentation, centres, radius):
    """How many of the centres have a label of their own whose area fits the disc."""
    labels, cells = segmentation.labels, segmentation.cells
    names = [int(labels[round(y), round(x)]) for y, x in centres]
    areas = dict(zip(cells.label.tolist(), cells.area_px.tolist(), strict=True))
    fits = [n for n in set(names) - {0} if 0.7 < areas[n] / (np.pi * radius**2) < 1.4 and names.count(n) == 1]
    return len(fits)


@pytest.mark.parametrize("radius", [5.0, 9.0, 15.0, 30.0])
def test_any_scale_is_measured_in_the_first_frame(radius):
    shape = (round(radius * 28), round(radius * 30))
    centres = grid(shape, round(radius * 4))
    segmenter = ClassicalSegmenter({})
    result = segmenter.step(moment(discs(shape, centres, radius)))
    assert found(result, centres, radius) == len(centres) == len(result.cells)
    assert "classical-nuclei, bright" in segmenter.choice
    diameter = float(segmenter.choice.split()[-2])
    assert diameter == pytest.approx(2 * radius, rel=0.2)


@pytest.mark.parametrize(
    ("name", "offset", "contrast"),
    [("dim", 100.0, 45.0), ("bright", 30000.0, 30000.0), ("next to nothing above zero", 20.0, 400.0)],
)
def test_brightness_does_not_matter(name, offset, contrast):
    image = discs(SHAPE, CENTRES, 10, contrast, offset)
    assert found(NucleiSegmenter({}).step(moment(image)), CENTRES, 10) == len(CENTRES), name


def test_a_dim_cell_beside_a_bright_one_keeps_its_outline():
    centres = [*CENTRES, (60.0, 62.0)]
    heights = [500.0] * len(CENTRES) + [60.0]
    heights[CENTRES.index((40.0, 40.0))] = 4000.0
    result = NucleiSegmenter({}).step(moment(discs(SHAPE, centres, 10, heights)))
    assert found(result, centres, 10) == len(centres)


@pytest.mark.parametrize("distance", [17.0, 19.0, 22.0])
def test_touching_cells_are_parted(distance):
    pairs = [(y, x + side * distance / 2) for y, x in grid(SHAPE, 60) for side in (-1, 1)]
    result = NucleiSegmenter({"diameter_px": 20}).step(moment(np.minimum(discs(SHAPE, pairs, 10), 1500)))
    assert len(result.cells) == len(pairs)
    assert found(result, pairs, 10) == len(pairs)


def test_dark_holes_belong_to_their_cell():
    image = discs(SHAPE, CENTRES, 12, 500.0)
    hole = discs(SHAPE, CENTRES, 2.5, 480.0, offset=0.0, noise=0.0)
    result = NucleiSegmenter({"diameter_px": 24}).step(moment(image - hole))
    assert found(result, CENTRES, 12) == len(CENTRES) == len(result.cells)


def test_dark_cells_when_asked():
    image = 4000 - discs(SHAPE, CENTRES, 10)
    result = NucleiSegmenter({"polarity": "dark"}).step(moment(image))
    assert found(result, CENTRES, 10) == len(CENTRES)


def test_halos_mean_phase_contrast():
    image = discs(SHAPE, CENTRES, 8, 900.0).astype(np.int64) - discs(SHAPE, CENTRES, 14, 300.0, seed=1) + 1500
    segmenter = ClassicalSegmenter({})
    segmenter.step(moment(image.astype(np.uint16)))
    assert segmenter.choice.startswith("classical-phase, bright")


def test_the_table_describes_the_labels():
    image = discs(SHAPE, CENTRES, 10)
    other = np.arange(image.size, dtype=np.uint16).reshape(SHAPE)
    result = NucleiSegmenter({}).step(moment(image, channels={"red": other, "green": image}))
    labels, cells = result.labels, result.cells
    assert cells.label.tolist() == list(range(1, len(CENTRES) + 1)) == np.unique(labels)[1:].tolist()
    for i, label in enumerate(cells.label):
        y, x = np.nonzero(labels == label)
        assert cells.centroid_px[i] == pytest.approx([y.mean(), x.mean()], abs=1e-3)
        assert cells.bbox_px[i].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
        assert cells.area_px[i] == len(y)
        assert cells.mean_counts[i] == pytest.approx([other[y, x].mean(), image[y, x].mean()], rel=1e-5)
    assert ((cells.score > 0.5) & (cells.score <= 1)).all()


def test_a_channel_that_was_not_taken_leaves_its_own_column_unknown():
    image = discs(SHAPE, CENTRES, 10)
    cells = NucleiSegmenter({}).step(moment(image, channels={"red": None, "green": image})).cells
    assert np.isnan(cells.mean_counts[:, 0]).all()
    assert (cells.mean_counts[:, 1] > 0).all()


def test_raw_pixels_are_measured_where_no_channel_is_named_and_denoised_ones_are_segmented():
    image = discs(SHAPE, CENTRES, 10)
    flat = np.full(SHAPE, 7, np.uint16)
    result = NucleiSegmenter({}).step(moment(flat, denoised=image.astype(np.float32)))
    assert len(result.cells) == len(CENTRES)
    assert (result.cells.mean_counts == 7).all()


@pytest.mark.parametrize("segmenter", [ClassicalSegmenter, NucleiSegmenter, PhaseSegmenter])
@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("black", np.zeros(SHAPE, np.uint16)),
        ("saturated", np.full(SHAPE, 65535, np.uint16)),
        ("saturated, 8 bit", np.full(SHAPE, 255, np.uint8)),
        ("one pixel", np.full((1, 1), 9, np.uint16)),
        ("one row", np.arange(300, dtype=np.uint16)[None]),
        ("tiny", np.eye(3, dtype=np.uint8)),
        ("a ramp", np.add.outer(np.arange(200), np.arange(200)).astype(np.uint16)),
    ],
)
def test_pictures_without_cells_are_no_error(segmenter, name, pixels):
    result = segmenter({}).step(moment(pixels))
    assert result.labels.shape == pixels.shape
    assert len(result.cells) == result.labels.max() <= 3, name
    assert result.cells.mean_counts.shape == (len(result.cells), 1)


def test_noise_alone_shows_next_to_nothing():
    image = discs(SHAPE, [], 10)
    assert len(NucleiSegmenter({"diameter_px": 20}).step(moment(image)).cells) <= 2


def test_nothing_is_chosen_before_cells_were_seen():
    segmenter = ClassicalSegmenter({})
    segmenter.step(moment(np.zeros(SHAPE, np.uint16)))
    assert segmenter.choice.startswith("undecided")
    assert len(segmenter.step(moment(discs(SHAPE, CENTRES, 10), 1)).cells) == len(CENTRES)
    assert segmenter.choice.startswith("classical-nuclei")
    segmenter.reset("a test")
    assert segmenter.choice.startswith("undecided")


def test_another_binning_or_roi_keeps_the_choice():
    segmenter = NucleiSegmenter({})
    centres = grid((512, 640), 80)
    segmenter.step(moment(discs((512, 640), centres, 20)))
    part = segmenter.step(moment(discs((256, 256), [(80.0, 80.0)], 20), 1))
    assert found(part, [(80.0, 80.0)], 20) == 1 == len(part.cells)
    binned = moment(discs(SHAPE, CENTRES, 10), 2)
    result = segmenter.step(replace(binned, frame=replace(binned.frame, binning=2)))
    assert found(result, CENTRES, 10) == len(CENTRES) == len(result.cells)
    assert float(segmenter.choice.split()[-2]) == pytest.approx(20, rel=0.1)


def with_nan():
    image = discs(SHAPE, CENTRES, 10).astype(np.float32)
    image[5, 5] = np.nan
    return image


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"denoised": with_nan()}, "NaN"),
        ({"denoised": np.full(SHAPE, np.inf, np.float32)}, "infinity"),
        ({"denoised": np.zeros((3, 3), np.float32)}, r"\(3, 3\)"),
        ({"channels": {"red": np.zeros((3, 3), np.uint16)}}, "measured channel"),
    ],
    ids=["nan", "inf", "shape", "channel"],
)
def test_impossible_input_is_refused_and_the_next_frame_is_fine(known, message):
    segmenter = NucleiSegmenter({})
    image = discs(SHAPE, CENTRES, 10)
    with pytest.raises(StageError, match=message):
        segmenter.step(moment(image, **known))
    assert len(segmenter.step(moment(image)).cells) == len(CENTRES)


def test_load_of_save_changes_nothing():
    movie = [discs(SHAPE, [(y + t, x) for y, x in CENTRES], 10, seed=t) for t in range(3)]
    whole, first = ClassicalSegmenter({}), ClassicalSegmenter({})
    expected = [whole.step(moment(p, t)) for t, p in enumerate(movie)]
    first.step(moment(movie[0]))
    second = ClassicalSegmenter({})
    second.load(first.save())
    assert second.choice == first.choice
    for t in (1, 2):
        result = second.step(moment(movie[t], t))
        assert np.array_equal(result.labels, expected[t].labels)
        assert np.array_equal(result.cells.score, expected[t].cells.score)
    assert second.save() == whole.save()


@pytest.mark.parametrize(
    "state",
    [b"", b"nonsense", b"\x80", b"\x82\xa6schema\x09\xa6chosen\x80", b"\x82\xa6schema\x01\xa6chosen\x81\xa1a\x01"],
)
def test_foreign_states_are_refused(state):
    with pytest.raises(StageError, match="saved state"):
        NucleiSegmenter({}).load(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"diametr_px": 5}, "did you mean 'diameter_px'"),
        ({"diameter_px": 1}, "diameter_px"),
        ({"polarity": 3}, "polarity"),
    ],
)
def test_options_that_cannot_be_meant(options, message):
    with pytest.raises(ConfigError, match=message):
        ClassicalSegmenter(options)


def test_options_shift_what_counts():
    image = discs(SHAPE, CENTRES, 10)
    none = NucleiSegmenter({"least_area_px": 1000}).step(moment(image))
    assert len(none.cells) == 0
    deaf = NucleiSegmenter({"sigmas": 1000.0, "diameter_px": 20}).step(moment(image))
    assert len(deaf.cells) == 0
