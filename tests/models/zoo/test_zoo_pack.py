"""What packing writes, what it refuses, and that a check notices every kind of damage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from models import zoo
from models.zoo import stored
from models.zoo.card import Card, figures_table
from models.zoo.check import check
from models.zoo.pack import pack, store_check
from stream.errors import ConfigError, StageError
from tests.models.denoise.drawn_net import drawn_net
from tests.models.zoo.zoo_cases import FIELDS, network, packed

TRIED = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a packed network."""
    return packed(tmp_path_factory.mktemp("packed"))[0].parent


@pytest.fixture
def model(once: Path, tmp_path: Path) -> Path:
    """Return a packed network that may be spoilt."""
    shutil.copytree(once, tmp_path / "zoo")
    return tmp_path / "zoo" / "small.onnx"


def test_a_card_is_read_as_it_was_written(model: Path) -> None:
    card = zoo.card(model)
    assert (card.kind, card.speed, card.object_px) == ("nuclei", "quality", 26.0)
    assert card.parameters > 4000
    assert set(card.sha256) == {"small.onnx", "small.fp16.onnx"}
    assert card.training.validation == "None was held out."


def test_a_card_can_be_read_by_people(model: Path) -> None:
    text = model.with_suffix(".md").read_text("utf-8")
    assert "sees | nothing" in text
    assert "| drawn cells | CC0 | nothing was learnt |" in text
    assert "Not measured yet." in text


def test_figures_of_different_rows_share_a_table() -> None:
    rows = [
        {"sequence": "a|b", "role": "training", "DET": 0.98765},
        {"sequence": "c", "role": "held out", "DET": None, "F1": 0.5},
    ]
    assert figures_table(rows).splitlines()[0] == "| sequence | role | DET | F1 |"
    assert figures_table(rows).splitlines()[2:] == ["| a\\|b | training | 0.988 |  |", "| c | held out |  | 0.500 |"]


BAD_CARDS = {"no JSON": "{", "nothing in it": "{}", "an unknown key": '{"colour": "red"}'}


@pytest.mark.parametrize("text", BAD_CARDS.values(), ids=BAD_CARDS)
def test_a_spoilt_card_is_an_error_that_names_it(model: Path, text: str) -> None:
    model.with_suffix(".json").write_text(text)
    with pytest.raises(StageError, match=r"small\.json: not a model card"):
        zoo.card(model)
    model.with_suffix(".json").unlink()
    with pytest.raises(StageError, match=r"small\.json: there is no card"):
        zoo.card(model)


def test_stored_outputs_are_those_of_small_pictures_with_cells(model: Path) -> None:
    inputs, outputs = stored.read(zoo.stored_check(model))
    assert list(inputs) == ["frames", "offset", "scale"]
    assert list(outputs) == ["foreground", "maps"]
    assert max(inputs["frames"].shape) <= 128
    assert inputs["frames"].std() > 50


def test_packing_twice_gives_the_same_files(once: Path, tmp_path: Path) -> None:
    again = packed(tmp_path)[0].parent
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in once.iterdir()
    }


def test_two_precisions_of_two_networks_are_refused(tmp_path: Path) -> None:
    network(tmp_path / "small.onnx")
    _turn_a_weight(zoo.half(tmp_path / "small.onnx"))
    with pytest.raises(StageError, match=r"small\.fp16\.onnx is not the same network"):
        pack(tmp_path / "small.onnx", folder=tmp_path / "zoo", **FIELDS)


def test_a_network_without_its_half_is_refused(tmp_path: Path) -> None:
    network(tmp_path / "small.onnx")
    zoo.half(tmp_path / "small.onnx").unlink()
    with pytest.raises(StageError, match=r"small\.fp16\.onnx: there is no such file"):
        pack(tmp_path / "small.onnx", folder=tmp_path / "zoo", **FIELDS)


def test_inputs_of_another_network_are_refused(tmp_path: Path) -> None:
    network(tmp_path / "small.onnx")
    with pytest.raises(StageError, match="takes frames, offset, scale"):
        pack(tmp_path / "small.onnx", folder=tmp_path / "zoo", inputs={"x": np.zeros(1, np.float32)}, **FIELDS)


def test_what_is_too_large_to_ship_is_refused(tmp_path: Path) -> None:
    network(tmp_path / "small.onnx")
    large = onnx.load(tmp_path / "small.onnx")
    large.graph.initializer.append(numpy_helper.from_array(np.zeros(2_000_001, np.float32), "ballast"))
    onnx.save(large, tmp_path / "small.onnx")
    with pytest.raises(StageError, match="below 8"):
        pack(tmp_path / "small.onnx", folder=tmp_path / "zoo", **FIELDS)


def test_a_whole_network_passes(model: Path) -> None:
    found = check(model, runtimes=TRIED, compile_rtx=False)
    assert found["failures"] == []
    assert found["files"] == "ok"
    assert found["runtimes"]["openvino"] == found["runtimes"]["onnxruntime"] == "ok"
    assert "stored" in found["said"]["openvino"]


def _turn_a_weight(file: Path) -> None:
    """Change the sign of the weights of the first convolution."""
    broken = onnx.load(file)
    weights = next(one for one in broken.graph.initializer if len(one.dims) == 4)
    weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), weights.name))
    onnx.save(broken, file)


def _other_hash(model: Path) -> None:
    card = zoo.card(model)
    card.model_copy(update={"sha256": {**card.sha256, "small.onnx": "0" * 64}}).write(model.parent)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _with_hole(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
    file.write_bytes(bytes(whole))


def _one_array(file: Path) -> None:
    with file.open("wb") as out:
        np.save(out, np.zeros(3))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a weight": (_turn_a_weight, "openvino: .*computes wrongly"),
    "the half": (lambda model: _turn_a_weight(zoo.half(model)), r"small\.fp16\.onnx is not the file"),
    "no half": (lambda model: zoo.half(model).unlink(), r"small\.fp16\.onnx is missing"),
    "a hash": (_other_hash, r"small\.onnx is not the file"),
    "no stored outputs": (lambda model: zoo.stored_check(model).unlink(), "no stored check"),
    "torn stored outputs": (lambda model: zoo.stored_check(model).write_bytes(b"PK"), "no stored check"),
    "half of the stored outputs": (lambda model: _cut(zoo.stored_check(model)), "no stored check"),
    "stored outputs with a hole": (lambda model: _with_hole(zoo.stored_check(model)), "no stored check"),
    "stored outputs that are one array": (lambda model: _one_array(zoo.stored_check(model)), "no stored check"),
}


@pytest.mark.parametrize(("spoil", "said"), DAMAGE.values(), ids=DAMAGE)
def test_a_check_notices(model: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(model)
    failures = check(model, runtimes=TRIED, compile_rtx=False)["failures"]
    assert failures
    assert any(re.search(said, one) for one in failures), failures


def test_a_runtime_that_is_asked_for_has_to_be_here(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.runtime.available", lambda: {"openvino": "not installed: get it", "onnxruntime": ""})
    found = check(model, runtimes=["openvino"], compile_rtx=False)
    assert found["failures"] == ["openvino: asked for, and not installed: get it"]
    assert check(model, compile_rtx=False)["failures"] == []
    with pytest.raises(ConfigError, match=r"runtime 'opnvino': there is none; known: .*openvino"):
        check(model, runtimes=["opnvino"], compile_rtx=False)


def test_a_card_of_unknown_figures_can_be_made_anew(model: Path) -> None:
    figures = ({"sequence": "a", "role": "held out", "DET": 0.5},)
    zoo.card(model).model_copy(update={"figures": figures}).write(model.parent)
    assert Card.read(model.with_suffix(".json")).figures == figures
    assert "| a | held out | 0.500 |" in model.with_suffix(".md").read_text("utf-8")


def test_a_network_for_another_task_has_a_card_too(tmp_path: Path) -> None:
    drawn_net(tmp_path / "denoise.onnx")
    drawn_net(tmp_path / "denoise.fp16.onnx")
    inputs = {"planes": np.ones((1, 5, 16, 16), np.float32), "known": np.ones((1, 2), np.float32)}
    card = pack(tmp_path / "denoise.onnx", folder=tmp_path / "zoo", inputs=inputs, **FIELDS)
    assert (card.kind, card.object_px) == ("denoise", None)
    assert stored.read(tmp_path / "zoo" / "denoise.check.npz")[1]["excess"].shape == (1, 1, 16, 16)


def test_a_denoiser_is_checked_with_drawn_frames(tmp_path: Path) -> None:
    for file in ("denoise.onnx", "denoise.fp16.onnx"):
        drawn_net(tmp_path / file)
    pack(tmp_path / "denoise.onnx", folder=tmp_path / "zoo", **FIELDS)
    model = tmp_path / "zoo" / "denoise.onnx"
    for name, drawn in stored.denoise_inputs().items():
        np.testing.assert_array_equal(stored.read(zoo.stored_check(model))[0][name], drawn)
    packed_once = zoo.stored_check(model).read_bytes()
    zoo.stored_check(model).unlink()
    store_check(model)
    assert zoo.stored_check(model).read_bytes() == packed_once
