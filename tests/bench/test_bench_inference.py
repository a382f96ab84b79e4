"""The benchmark of networks: what it returns, what it compares with, what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.zoo.scene import scene
from stream.bench.inference import Plan, inference
from stream.bench.reading import Cells
from stream.errors import ConfigError
from tests.models.zoo import zoo_cases

QUICK: dict[str, Any] = {"runtimes": ("openvino", "onnxruntime"), "runs": 1, "seconds": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a small network."""
    path = tmp_path_factory.mktemp("bench") / "small.onnx"
    zoo_cases.network(path, fast=True)
    return str(path)


def test_each_runtime_and_size_is_measured_against_the_reference(model: str) -> None:
    said: list[str] = []
    found = inference(Plan((model,), (64, 128), **QUICK), said.append)
    rows = {(row["runtime"], row["size"]): row for row in found["runs"]}
    assert set(rows) == {(runtime, size) for runtime in QUICK["runtimes"] for size in (64, 128)}
    assert found["failed"] == {}
    assert len(said) == 2
    for (runtime, _), row in rows.items():
        assert (row["model"], row["kind"], row["speed"]) == ("small", "nuclei", "fast")
        assert row["network_ms"]["p50"] > 0
        assert row["decode_ms"]["p99"] >= row["decode_ms"]["p50"] > 0
        assert (row["ratio_to_ort_fp32"], row["parity"]) == (1.0, 0.0) or runtime == "openvino"
        assert 0 <= row["parity"] < 2
        assert 0 <= row["parity_labels"] <= 1


def test_the_reference_is_measured_without_being_asked_for(model: str) -> None:
    found = inference(Plan((model,), (64,), ("openvino",), runs=1, seconds=0.0, precision="fp32"), lambda _: None)
    (row,) = found["runs"]
    assert row["runtime"] == "openvino"
    assert row["ratio_to_ort_fp32"] > 0
    assert row["parity"] < 1e-2


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such runtime": ({"runtimes": ("openvno",)}, "runtime 'openvno': there is none; known: .*openvino"),
    "no such network": ({"models": ("nuclej",)}, "no network is called 'nuclej'"),
    "an odd size": ({"sizes": (500,)}, "a multiple of 16"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_measured_is_refused_first(model: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        inference(Plan(**{"models": (model,), "sizes": (64,), **QUICK, **change}), lambda _: None)


PICTURES: dict[str, tuple[list[int], list[int], float]] = {
    "the same": ([0, 1, 1, 2], [0, 1, 1, 2], 1.0),
    "other numbers": ([0, 1, 1, 2], [0, 2, 2, 1], 1.0),
    "nothing": ([0, 0], [0, 0], 1.0),
    "nothing in one": ([0, 0], [0, 1], 0.0),
    "one pixel more": ([0, 1, 1, 1], [1, 1, 1, 1], 0.75),
    "one cell cut in two": ([1, 1, 1, 1], [1, 1, 1, 2], 0.75),
    "two cells made one": ([1, 1, 1, 2], [1, 1, 1, 1], 0.75),
}


@pytest.mark.parametrize(("ours", "theirs", "share"), PICTURES.values(), ids=PICTURES)
def test_agreement_is_the_share_of_pixels_in_the_same_cell(ours: list[int], theirs: list[int], share: float) -> None:
    one, two = (Cells(np.array([labels], np.int32), max(labels)) for labels in (ours, theirs))
    assert one.agreement(two) == pytest.approx(share)
    assert two.agreement(one) == pytest.approx(share)


@pytest.mark.parametrize("kind", ["nuclei", "phase"])
def test_the_scene_is_always_the_same_and_full_of_cells(kind: str) -> None:
    frames = scene(kind, 256, object_px=26.0, seed=1)
    assert frames.shape == (2, 256, 256)
    assert np.array_equal(frames, scene(kind, 256, object_px=26.0, seed=1))
    assert not np.array_equal(frames, scene(kind, 256, object_px=26.0, seed=2))
    bright = frames[1] > np.percentile(frames[1], 30) + 60
    assert 0.2 < bright.mean() < 0.6
