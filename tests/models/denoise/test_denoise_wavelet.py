"""Wavelet-frame shrinkage: exact where nothing is shrunk, a gain where noise is, and the stage's state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.denoise.recursive import RecursiveDenoiser
from models.denoise.starlet import NOISE, THRESHOLDS, shrink
from models.denoise.wavelet import WaveletDenoiser
from stream.errors import ConfigError, StageError
from tests.models.denoise.dim_cells import GAIN, KNOWN, SHAPE, electrons, gained_db, moment, shot

RULES = tuple(THRESHOLDS)


def shrunk(image: np.ndarray, strength: float, rule: Any = "local", scales: int = 4) -> tuple[np.ndarray, np.ndarray]:
    room = np.full((4, *image.shape), np.nan, np.float32)
    found = shrink(image.astype(np.float32), np.ones(image.shape, np.float32), scales, strength, rule, room)
    return room[0].copy(), found


@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (64, 5), (61, 67)])
@pytest.mark.parametrize("rule", RULES)
def test_without_a_threshold_the_scales_add_up_to_the_image(rule: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).normal(20, 3, shape)
    assert np.allclose(shrunk(image, 0.0, rule, scales=5)[0], image, atol=1e-4)


def test_the_noise_of_each_scale_is_what_white_noise_gives() -> None:
    image = np.random.default_rng(1).normal(0, 1, (512, 512)).astype(np.float32)
    _, found = shrunk(image, 1.0, scales=len(NOISE))
    assert found == pytest.approx(np.ones(len(NOISE)), abs=0.07)
    assert found.max() <= 1


def test_half_the_noise_is_seen_as_half_and_a_cell_is_not_noise() -> None:
    image = np.random.default_rng(1).normal(0, 0.5, (256, 256))
    image[100:130, 90:125] += 20
    _, found = shrunk(image, 1.0)
    assert found == pytest.approx(np.full(4, 0.5), rel=0.25)


@pytest.mark.parametrize(("rule", "lost"), [("soft", 8.0), ("garrote", 3.0), ("local", 3.0)])
def test_pure_noise_goes_and_a_step_stays(rule: str, lost: float) -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (128, 128))
    assert shrunk(image, 1.0, rule)[0].std() < 0.25
    image[:, 64:] += 30
    out, _ = shrunk(image, 1.0, rule)
    assert out[:, 66:].mean() - out[:, :62].mean() == pytest.approx(30, abs=0.3)
    assert out[:, 64].mean() - out[:, 63].mean() == pytest.approx(30, abs=lost)


@pytest.mark.parametrize("speed_px", [0.0, 0.7, 4.0])
@pytest.mark.parametrize(("photons", "least_db"), [(5, 8.0), (20, 6.0), (100, 4.0)])
def test_it_gains_and_keeps_the_brightness(photons: float, least_db: float, speed_px: float) -> None:
    gain_db, bias = gained_db(WaveletDenoiser(KNOWN), photons, speed_px)
    assert gain_db > least_db
    assert abs(bias) < 0.15 * GAIN


@pytest.mark.parametrize("photons", [5, 20])
def test_looking_at_scales_and_in_time_is_better_than_either(photons: float) -> None:
    both, _ = gained_db(WaveletDenoiser(KNOWN), photons, 0.2)
    alone, _ = gained_db(WaveletDenoiser(KNOWN | {"time": False}), photons, 0.2)
    time, _ = gained_db(RecursiveDenoiser(KNOWN), photons, 0.2)
    assert both > max(alone, time)


def test_without_time_the_past_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    fresh, old = WaveletDenoiser(KNOWN | {"time": False}), WaveletDenoiser(KNOWN | {"time": False})
    old.step(moment(0, shot(electrons(20, 30), rng)))
    pixels = shot(electrons(20), rng)
    old.step(moment(1, pixels))
    assert np.array_equal(fresh.step(moment(1, pixels)).denoised, old.step(moment(2, pixels)).denoised)


def test_strength_zero_is_the_recursive_denoiser() -> None:
    rng, one, other = np.random.default_rng(3), WaveletDenoiser({"strength": 0}), RecursiveDenoiser({})
    for t in range(3):
        pixels = shot(electrons(20), rng)
        assert np.array_equal(one.step(moment(t, pixels)).denoised, other.step(moment(t, pixels)).denoised)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_extreme_counts_stay_finite_and_each_result_is_its_own(dtype: type) -> None:
    top = np.iinfo(dtype).max
    rng, stage = np.random.default_rng(2), WaveletDenoiser({})
    frames = [np.zeros(SHAPE), np.full(SHAPE, top), rng.integers(0, top, SHAPE, endpoint=True), np.zeros((3, 2))]
    outs = []
    for t, pixels in enumerate(frames):
        out = stage.step(moment(t, pixels.astype(dtype))).denoised
        assert out is not None
        assert out.shape == pixels.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        outs.append((out, out.copy()))
    assert all(np.array_equal(held, copy) for held, copy in outs)


def test_a_saved_state_goes_on_exactly_and_a_torn_one_is_refused() -> None:
    rng, one, other = np.random.default_rng(9), WaveletDenoiser({}), WaveletDenoiser({})
    for t in range(4):
        pixels = shot(electrons(20), rng)
        other.load(one.save())
        assert np.array_equal(one.step(moment(t, pixels)).denoised, other.step(moment(t, pixels)).denoised)
    with pytest.raises(StageError):
        other.load(one.save()[:-5])
    one.reset("test")
    assert one.save() == b""
    assert one.noise is None


@pytest.mark.parametrize("options", [{"rule": "hard"}, {"scales": 9}, {"strenght": 1.0}, {"gain": -1.0}], ids=str)
def test_impossible_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        WaveletDenoiser(options)
