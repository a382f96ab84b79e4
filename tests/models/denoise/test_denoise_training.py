"""The denoiser's training: halves are independent, a network learns from them, and its export gives what it gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]")

import onnxruntime
import torch

from models.denoise.spec import MULTIPLE, PLANES, DenoiseSpec
from models.nets.denoisenet import DenoiseNet, export
from models.spec import PROPERTY
from models.train import denoise
from models.train.denoise import fit
from models.train.denoise_data import Split, halves, stabilised
from models.zoo.metadata import properties


@pytest.mark.parametrize("mean", [2.0, 20.0, 200.0])
def test_halves_of_a_photon_count_are_independent_and_have_half_of_it(mean: float) -> None:
    rng = np.random.default_rng(0)
    whole = rng.poisson(mean, (1, 400, 400)).astype(np.float32)
    first, second = halves(whole, False, rng)
    for half in (first, second):
        assert half.mean() == pytest.approx(mean / 2, rel=0.01)
        assert half.var() == pytest.approx(mean / 2, rel=0.03)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
    assert np.allclose(first + second, whole, rtol=1e-6)
    if mean > 10:
        assert stabilised(first, False, 1.0, 0.0).std() == pytest.approx(1, abs=0.05)


def test_halves_of_gaussian_noise_are_independent() -> None:
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((1, 400, 400), np.float32) + 7
    first, second = (stabilised(half, True, 1.0, 0.0) for half in halves(whole, True, rng))
    assert first.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01


def still_splits(count: int, rng: np.random.Generator) -> list[Split]:
    y, x = np.indices((96, 96))
    image = 30 + 20 * np.sin(y / 9) * np.cos(x / 11)
    movies = [rng.poisson(image, (3, 96, 96)).astype(np.float32) for _ in range(count)]
    return [Split(np.stack(halves(movie, False, rng)), False) for movie in movies]


@pytest.fixture
def one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield None
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_noise_alone_teaches_it_to_denoise() -> None:
    net, gains = fit(still_splits(13, np.random.default_rng(3)), seed=0, minutes=2.0, most_steps=60)
    assert gains[-1].steps == 60
    assert gains[-1].gain_db > 1.5
    assert sum(part.numel() for part in net.parameters()) < 100_000


@pytest.mark.usefixtures("one_thread")
def test_a_crop_that_is_no_number_costs_its_step_and_not_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, plain = iter(range(1000)), denoise.loss_of

    def torn(net: DenoiseNet, shown: Any) -> torch.Tensor:
        return plain(net, shown) * (torch.nan if next(steps) == 3 else 1.0)

    monkeypatch.setattr(denoise, "loss_of", torn)
    net, _ = fit(still_splits(13, np.random.default_rng(3)), seed=0, minutes=2.0, most_steps=6)
    assert next(steps) > 6
    assert all(torch.isfinite(part).all() for part in net.parameters())


@pytest.mark.filterwarnings("ignore")
def test_what_is_exported_says_what_it_is_and_gives_what_was_trained(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = DenoiseNet(DenoiseSpec(widths=(8, 12))).to(memory_format=torch.channels_last).eval()
        torch.nn.init.normal_(net.excess.weight, std=0.1)
    export(net, tmp_path / "net.onnx")
    assert DenoiseSpec.from_json(properties(tmp_path / "net.onnx")[PROPERTY]) == net.spec
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for batch, height, width in ((1, 2 * MULTIPLE, 5 * MULTIPLE), (2, 4 * MULTIPLE, 3 * MULTIPLE)):
        seen = np.random.default_rng(0).normal(0, 2, (batch, PLANES, height, width)).astype(np.float32)
        known = np.array([[1, 0], [1, 1]], np.float32)[:batch]
        (got,) = session.run(None, {"planes": seen, "known": known})
        with torch.no_grad():
            want = net(torch.from_numpy(seen), torch.from_numpy(known)).numpy()
        assert np.allclose(got, want, atol=1e-4)
        assert np.abs(want).max() > 0.05
