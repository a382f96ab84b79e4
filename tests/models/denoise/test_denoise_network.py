"""The network denoiser, with networks whose answer is known, on the reference runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from models.denoise import kernel
from models.denoise.network import MOST, NetworkDenoiser
from models.denoise.spec import PLANES, DenoiseSpec
from models.spec import NetSpec
from stream.errors import ConfigError, StageError
from tests.models.denoise.dim_cells import GAIN, KNOWN, OFFSET, SHAPE, electrons, gained_db, moment, shot
from tests.models.denoise.drawn_net import drawn_net

NOTHING = (0.0,) * PLANES


@pytest.fixture(scope="module")
def blur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_net(tmp_path_factory.mktemp("blur") / "blur.onnx")


def stage_of(model: Path, **options: Any) -> NetworkDenoiser:
    return NetworkDenoiser({"model": str(model), "runtime": "onnxruntime", "threads": 1, **KNOWN, **options})


def stabilised(counts: np.ndarray, noise: Any) -> np.ndarray:
    out = np.empty(counts.shape, np.float32)
    kernel.stabilise(np.ascontiguousarray(counts), out, noise.gain, noise.zero, noise.sigma)
    return out


@pytest.mark.parametrize("photons", [5, 20, 100])
def test_what_it_holds_for_noise_is_taken_away_without_bias(blur: Path, photons: float) -> None:
    gain_db, bias = gained_db(stage_of(blur), photons, 0.5, frames=6)
    assert gain_db > 3
    assert abs(bias) < 0.15 * GAIN


def test_the_answer_is_in_standard_deviations_of_the_noise(blur: Path) -> None:
    """Where the fine structure is small, and so hardly bent, taking it away is a mean of 3x3 stabilised pixels."""
    stage = stage_of(blur)
    pixels = shot(electrons(60), np.random.default_rng(1))
    out = stage.step(moment(0, pixels)).denoised
    assert out is not None
    before, after = stabilised(pixels, stage.noise), stabilised(out, stage.noise)
    mean = np.pad(before, 1, mode="reflect")
    near = sum(mean[y : y + SHAPE[0], x : x + SHAPE[1]] for y in range(3) for x in range(3)) / 9
    little = np.abs(before - near) < 0.2
    assert np.abs(after - near)[little].max() < 0.2
    assert np.abs(after - before).mean() > 0.4


@pytest.mark.parametrize("way", [-1000.0, 1000.0])
def test_no_pixel_is_changed_by_more_than_its_noise_allows(tmp_path: Path, way: float) -> None:
    stage = stage_of(drawn_net(tmp_path / "wild.onnx", (way, way, 0.0, 0.0, 0.0)))
    pixels = shot(electrons(400), np.random.default_rng(1))
    out = stage.step(moment(0, pixels)).denoised
    assert out is not None
    change = np.abs(stabilised(out, stage.noise) - stabilised(pixels, stage.noise))
    assert change.max() < MOST + 0.2
    assert change.max() > 1


GEOMETRY = {"roi_px": (0, 0, SHAPE[1], SHAPE[0]), "exposure_ms": 10.0, "channel": "GFP"}


@pytest.mark.parametrize(
    ("changed", "missed", "known"),
    [
        ({}, 0, 2),
        ({}, 2, 2),
        ({}, 3, 0),
        ({"exposure_ms": 20.0}, 0, 0),
        ({"channel": "RFP"}, 0, 0),
        ({"stage_um": (9.0, 0.0, 0.0)}, 0, 0),
    ],
    ids=["goes on", "short gap", "long gap", "exposure", "channel", "stage"],
)
def test_it_says_how_much_past_there_is(tmp_path: Path, changed: dict[str, Any], missed: int, known: int) -> None:
    """A network that only counts: each known frame shifts the answer by one standard deviation."""
    stage = stage_of(drawn_net(tmp_path / "count.onnx", NOTHING, per_known=1.0))
    pixels = np.full(SHAPE, 500, np.uint16)
    for t in range(3):
        out = stage.step(moment(t, pixels, **GEOMETRY)).denoised
        assert out is not None
        assert _taken(stage, out) == pytest.approx(min(t, 2), abs=0.05)
    out = stage.step(moment(3, pixels, missed, **(GEOMETRY | changed))).denoised
    assert out is not None
    assert _taken(stage, out) == pytest.approx(known, abs=0.05)


def _taken(stage: NetworkDenoiser, out: np.ndarray) -> float:
    """Return by how many standard deviations a still frame of 500 counts was lowered; a level below 1 counts too."""
    noise, state = stage.noise, msgpack.unpackb(stage.save())
    assert noise is not None
    flat = stabilised(np.full((4, 4), 500, np.uint16), noise)
    lowered = stabilised(out - GAIN / 4 * state["level"] ** 2, noise)  # less the noise's share in the inverse
    return float((flat[0, 0] - lowered.mean()) / state["level"])


@pytest.mark.parametrize("shape", [(64, 80), (61, 83), (3, 2), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_shape_and_extreme_counts_stay_finite(blur: Path, dtype: type, shape: tuple[int, int]) -> None:
    top = np.iinfo(dtype).max
    rng, stage = np.random.default_rng(2), NetworkDenoiser({"model": str(blur), "runtime": "onnxruntime"})
    outs = []
    for t, pixels in enumerate((np.zeros(shape), np.full(shape, top), rng.integers(0, top, shape), np.zeros((9, 7)))):
        out = stage.step(moment(t, pixels.astype(dtype))).denoised
        assert out is not None
        assert out.shape == pixels.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        outs.append((out, out.copy()))
    assert all(np.array_equal(held, copy) for held, copy in outs)


def test_a_rim_that_is_padded_is_like_one_that_is_not(blur: Path) -> None:
    pixels = shot(electrons(30), np.random.default_rng(4))
    whole = stage_of(blur).step(moment(0, pixels[:120, :136])).denoised
    cut = stage_of(blur).step(moment(0, pixels[:115, :129])).denoised
    assert whole is not None
    assert cut is not None
    assert np.allclose(whole[:107, :121], cut[:107, :121], atol=1e-3)


def test_strength_zero_leaves_all_but_the_inverse(blur: Path) -> None:
    pixels = shot(electrons(30), np.random.default_rng(4))
    out = stage_of(blur, strength=0.0).step(moment(0, pixels)).denoised
    assert out is not None
    assert np.abs(out[pixels > OFFSET + 4 * GAIN] - pixels[pixels > OFFSET + 4 * GAIN]).max() < GAIN


def test_a_saved_state_goes_on_exactly(blur: Path) -> None:
    rng, one, other = np.random.default_rng(9), stage_of(blur), stage_of(blur)
    for t in range(5):
        pixels = shot(electrons(20), rng)
        other.load(one.save())
        assert np.array_equal(one.step(moment(t, pixels)).denoised, other.step(moment(t, pixels)).denoised)
    assert one.save() == other.save()
    one.reset("test")
    assert one.save() == b""
    assert one.noise is None


@pytest.mark.parametrize("case", ["cut", "foreign", "schema", "short", "nan", "small", "noise", "recursive"])
def test_a_torn_state_is_refused(blur: Path, case: str) -> None:
    stage = stage_of(blur)
    stage.step(moment(0, np.full(SHAPE, 200, np.uint16)))
    whole = stage.save()
    said = msgpack.unpackb(whole)
    torn = {
        "cut": whole[: len(whole) // 2],
        "foreign": b"\x93\x01\x02\x03",
        "schema": msgpack.packb(said | {"schema": 99}),
        "short": msgpack.packb(said | {"frames": [said["frames"][0][:-4]]}),
        "nan": msgpack.packb(said | {"frames": [np.full(SHAPE, np.nan, np.float32).tobytes()]}),
        "small": msgpack.packb(said | {"frames": [bytes(4)], "shape": [1, 1]}),
        "noise": msgpack.packb(said | {"noise": [0.0, 0.0, 0.0]}),
        "recursive": msgpack.packb(said | {"kind": "recursive"}),
    }
    with pytest.raises(StageError):
        stage.load(torn[case])
    stage.step(moment(1, np.full(SHAPE, 200, np.uint16)))


def test_a_state_of_another_size_starts_anew_with_the_next_frame(blur: Path) -> None:
    one, other = stage_of(blur), stage_of(blur)
    one.step(moment(0, np.full((40, 40), 200, np.uint16)))
    other.load(one.save())
    out = other.step(moment(1, np.full(SHAPE, 200, np.uint16))).denoised
    assert out is not None
    assert out.shape == SHAPE


def test_its_table_is_its_own_and_never_taken_for_a_cell_networks() -> None:
    table = DenoiseSpec("some", (8, 16))
    assert DenoiseSpec.from_json(table.to_json()) == table
    cell = NetSpec("nuclei", "nuclei", 26.0)
    with pytest.raises(StageError, match="denoising"):
        DenoiseSpec.from_json(cell.to_json())
    with pytest.raises(StageError, match="cell network"):
        NetSpec.from_json(table.to_json())
    for broken in ("", "[]", json.dumps({"schema": 1, "task": "denoise"}), json.dumps({"schema": 2})):
        with pytest.raises(StageError):
            DenoiseSpec.from_json(broken)


def test_what_is_no_denoiser_is_refused_at_once(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    with pytest.raises(ConfigError, match=r"other\.onnx"):
        NetworkDenoiser({"model": str(other)})
    with pytest.raises(ConfigError, match="absent"):
        NetworkDenoiser({"model": str(tmp_path / "absent.onnx")})
    with pytest.raises(ConfigError, match="strength"):
        NetworkDenoiser({"strength": 2.0})
