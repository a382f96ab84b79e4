"""The recursive denoiser on drawn movies: what it gains, where it lets go, when it starts anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from dim_cells import GAIN, KNOWN, OFFSET, READ, moment, shot

from models.denoise.noise import estimate
from models.denoise.recursive import RecursiveDenoiser
from stream.errors import ConfigError, StageError
from stream.frame import Frame
from stream.stages import Moment

SHAPE = (160, 192)


def electrons(photons: float, shift_px: float = 0.0) -> np.ndarray:
    y, x = np.indices(SHAPE)
    image = np.full(SHAPE, photons * 0.1)
    for centre_y, centre_x in ((40, 40), (45, 130), (110, 70), (120, 140)):
        away = np.hypot(y - centre_y - shift_px, x - centre_x - shift_px / 2)
        image += photons / (1 + np.exp((away - 12).clip(-50, 50)))
    return image


def gained_db(photons: float, speed_px: float, options: dict[str, Any]) -> tuple[float, float, float]:
    """Return the PSNR gain over all pixels and over those that changed, and the bias in counts."""
    rng, stage = np.random.default_rng(7), RecursiveDenoiser(options)
    raw = ours = raw_changed = ours_changed = bias = 0.0
    before = electrons(photons)
    for t in range(16):
        mean = electrons(photons, speed_px * t)
        pixels, truth = shot(mean, rng), mean * GAIN + OFFSET
        out = stage.step(moment(t, pixels)).denoised
        assert out is not None
        changed = np.abs(mean - before) > 0.5 * np.sqrt(mean + 2.25)
        before = mean
        if t >= 6:
            raw, ours = raw + np.sum((pixels - truth) ** 2), ours + np.sum((out - truth) ** 2)
            raw_changed += np.sum((pixels - truth)[changed] ** 2)
            ours_changed += np.sum((out - truth)[changed] ** 2)
            bias += float(np.mean(out - truth)) / 10
    return 10 * np.log10(raw / ours), 10 * np.log10((raw_changed + 1e-9) / (ours_changed + 1e-9)), bias


@pytest.mark.parametrize("options", [{}, KNOWN], ids=["estimated", "known"])
@pytest.mark.parametrize("photons", [5, 20, 100])
def test_a_still_scene_gains_and_keeps_its_brightness(photons: float, options: dict[str, Any]) -> None:
    gain_db, _, bias = gained_db(photons, 0.0, options)
    assert gain_db >= 4.0
    assert abs(bias) < 0.15 * GAIN


@pytest.mark.parametrize("options", [{}, KNOWN], ids=["estimated", "known"])
@pytest.mark.parametrize("speed_px", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("photons", [5, 20, 100])
def test_a_moving_scene_is_never_worse_than_raw(photons: float, speed_px: float, options: dict[str, Any]) -> None:
    gain_db, changed_db, _ = gained_db(photons, speed_px, options)
    assert gain_db > 0.5
    assert changed_db > -0.2


def test_a_cell_that_appears_shows_at_once_and_leaves_no_ghost() -> None:
    rng, stage = np.random.default_rng(3), RecursiveDenoiser(KNOWN)
    dark = np.full(SHAPE, 5.0)
    bright = dark.copy()
    bright[60:80, 60:80] = 60.0
    core = np.s_[62:78, 62:78]
    seen = []
    for t in range(14):
        mean = bright if 8 <= t < 12 else dark
        out = stage.step(moment(t, shot(mean, rng))).denoised
        assert out is not None
        seen.append(float(out[core].mean() - (mean[core] * GAIN + OFFSET).mean()))
    assert max(abs(miss) for miss in seen) < 2.0  # of a step of 110 counts


def test_compressed_phase_contrast_is_left_as_it_is() -> None:
    y, x = np.indices(SHAPE)
    stage = RecursiveDenoiser({})
    for t in range(6):
        halo = 140 + 60 * np.exp(-((np.hypot(y - 80, x - 90 - t) - 15) ** 2) / 8)
        pixels = np.round(halo).astype(np.uint8)
        out = stage.step(moment(t, pixels)).denoised
        assert out is not None
        assert np.abs(out - pixels).max() <= 1.0
    assert stage.noise is not None
    assert stage.noise.gain == 0


@pytest.mark.parametrize("photons", [20, 100, 1000])
def test_noise_is_read_from_one_frame(photons: float) -> None:
    rng = np.random.default_rng(int(photons))
    ramp = photons * (0.1 + np.indices((256, 256))[1] / 256)
    noise = estimate(shot(ramp, rng))
    assert noise.gain == pytest.approx(GAIN, rel=0.15)
    for level in (0.3, 0.9):
        counts = photons * level * GAIN + OFFSET
        want = GAIN**2 * photons * level + READ**2
        assert noise.gain * (counts - noise.zero) == pytest.approx(want, rel=0.15)


FLAT = np.full((32, 40), 200, np.uint16)
GEOMETRY = {"roi_px": (0, 0, 40, 32), "affine_um": ((0.5, 0.0), (0.0, 0.5)), "exposure_ms": 10.0, "channel": "GFP"}


@pytest.mark.parametrize(
    ("changed", "restarts"),
    [
        ({}, False),
        ({"missed": 2}, False),
        ({"missed": 3}, True),
        ({"stage_um": (0.2, 0.0, 0.0)}, False),
        ({"stage_um": (0.3, 0.0, 0.0)}, True),
        ({"roi_px": (8, 0, 40, 32)}, True),
        ({"binning": 2}, True),
        ({"exposure_ms": 20.0}, True),
        ({"channel": "RFP"}, True),
    ],
)
def test_it_starts_anew_when_the_scene_changes(changed: dict[str, Any], restarts: bool) -> None:
    rng, stage = np.random.default_rng(5), RecursiveDenoiser(KNOWN)
    frames = [shot(FLAT / 4.0, rng) for _ in range(4)]
    for t in range(3):
        stage.step(moment(t, frames[t], **GEOMETRY))
    out = stage.step(moment(3, frames[3], **(GEOMETRY | changed))).denoised
    assert out is not None
    assert np.array_equal(out, frames[3]) == restarts


def test_another_size_or_type_starts_anew_and_reset_forgets() -> None:
    stage = RecursiveDenoiser({})
    for t, pixels in enumerate((FLAT, FLAT[:16], FLAT[:16].astype(np.uint8), FLAT[:3, :2])):
        out = stage.step(moment(t, pixels)).denoised
        assert out is not None
        assert out.shape == pixels.shape
        assert out.dtype == np.float32
    assert stage.noise is not None
    stage.reset("test")
    assert stage.noise is None
    assert stage.save() == b""


@pytest.mark.parametrize("options", [{}, KNOWN, {"gain": 1e-3}, {"offset": 65535.0, "read_noise": 0.0}], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_extreme_counts_stay_finite_and_each_result_is_its_own(options: dict[str, Any], dtype: type) -> None:
    top = np.iinfo(dtype).max
    rng, stage = np.random.default_rng(2), RecursiveDenoiser(options)
    frames = [np.zeros(SHAPE), np.full(SHAPE, top), rng.integers(0, top, SHAPE, endpoint=True), np.zeros(SHAPE)]
    outs = []
    for t, pixels in enumerate(frames):
        out = stage.step(moment(t, pixels.astype(dtype))).denoised
        assert out is not None
        assert np.isfinite(out).all()
        outs.append((out, out.copy()))
    assert all(np.array_equal(held, copy) for held, copy in outs)


def test_a_saved_state_goes_on_exactly() -> None:
    rng = np.random.default_rng(9)
    frames = [shot(electrons(20), rng) for _ in range(6)]
    one, other = RecursiveDenoiser({}), RecursiveDenoiser({})
    for t, pixels in enumerate(frames):
        other.load(one.save())
        first, second = one.step(moment(t, pixels)).denoised, other.step(moment(t, pixels)).denoised
        assert np.array_equal(np.asarray(first), np.asarray(second))
    assert one.save() == other.save()


def torn_states() -> dict[str, bytes]:
    stage = RecursiveDenoiser(KNOWN)
    stage.step(moment(0, FLAT))
    whole = stage.save()
    said = msgpack.unpackb(whole)
    nan = np.full(FLAT.shape, np.nan, np.float32).tobytes()
    return {
        "cut": whole[: len(whole) // 2],
        "foreign": b"\x93\x01\x02\x03",
        "schema": msgpack.packb(said | {"schema": 99}),
        "short": msgpack.packb(said | {"filtered": said["filtered"][:-4]}),
        "nan": msgpack.packb(said | {"filtered": nan}),
        "shape": msgpack.packb(said | {"shape": [40, 32]}),
        "noise": msgpack.packb(said | {"noise": [0.0, 0.0, 0.0]}),
        "word": msgpack.packb(said | {"scene": "none"}),
    }


@pytest.mark.parametrize("case", ["cut", "foreign", "schema", "short", "nan", "shape", "noise", "word"])
def test_a_torn_state_is_refused(case: str) -> None:
    stage = RecursiveDenoiser(KNOWN)
    with pytest.raises(StageError):
        stage.load(torn_states()[case])
    stage.step(moment(0, FLAT))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"gian": 1.0}, "gain"), ({"offset": 1.0}, "read_noise"), ({"floor": 0.0}, "floor"), ({"gain": -1.0}, "gain")],
)
def test_impossible_options_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RecursiveDenoiser(options)


def test_strided_pixels_give_the_same() -> None:
    rng = np.random.default_rng(4)
    plain, strided = RecursiveDenoiser(KNOWN), RecursiveDenoiser(KNOWN)
    for t in range(3):
        wide = np.repeat(shot(electrons(20), rng), 2, axis=1)
        pixels = wide[:, ::2]
        crop = Moment(Frame("run", "cam", "ses", 0, t, "cam:p0", t, pixels))
        first, second = plain.step(moment(t, pixels)).denoised, strided.step(crop).denoised
        assert np.array_equal(np.asarray(first), np.asarray(second))


def test_the_moment_keeps_everything_else() -> None:
    before = replace(moment(4, FLAT), channels={"GFP": FLAT}, elapsed_s=2.5)
    after = RecursiveDenoiser({}).step(before)
    assert replace(after, denoised=None).frame is before.frame
    assert (after.channels, after.elapsed_s) == (before.channels, before.elapsed_s)


def test_the_sensors_noise_is_kept_where_only_the_scene_changes() -> None:
    rng, stage = np.random.default_rng(3), RecursiveDenoiser({})
    stage.step(moment(0, shot(electrons(50), rng)))
    first = stage.noise
    stage.step(moment(1, shot(electrons(100), rng), exposure_ms=20.0))
    assert stage.noise == first
    stage.step(moment(2, shot(electrons(100), rng), exposure_ms=20.0, binning=2))
    assert stage.noise != first
