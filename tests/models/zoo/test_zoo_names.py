"""What a network says about itself, read without the onnx package; and networks found by name or path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from models import zoo
from models.spec import PROPERTY
from models.zoo.metadata import properties
from stream.errors import ConfigError, StageError
from tests.models.zoo.zoo_cases import describe, network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return the file of a network that describes itself."""
    network(tmp_path / "mine.onnx", kind="phase", fast=True)
    return tmp_path / "mine.onnx"


def test_the_same_is_read_as_by_onnx(model: Path) -> None:
    assert properties(model) == {entry.key: entry.value for entry in onnx.load(model).metadata_props}


def test_a_network_tells_what_it_is(model: Path) -> None:
    found = zoo.spec(model)
    assert (found.name, found.kind, found.fast, found.object_px) == ("mine", "phase", True, 26.0)
    assert zoo.task_of(model) == zoo.CELLS


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.98, 0.999])
def test_a_torn_file_is_an_error_that_names_it(model: Path, share: float) -> None:
    whole = model.read_bytes()
    model.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(StageError, match=r"mine\.onnx"):
        zoo.spec(model)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("no network at all, but words"),
    "zeros": lambda file: file.write_bytes(bytes(1000)),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "not there": lambda file: file.unlink(),
    "no JSON": lambda file: describe(file, "{"),
    "no table": lambda file: describe(file, "[1]"),
    "another schema": lambda file: describe(file, '{"schema": 99}'),
    "not ours": lambda file: onnx.save(_without_words(onnx.load(file)), file),
    "another task": lambda file: describe(file, json.dumps({"schema": 1, "task": "denoise", "name": "mine"})),
}


def _without_words(model: onnx.ModelProto) -> onnx.ModelProto:
    del model.metadata_props[:]
    return model


@pytest.mark.parametrize("spoil", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_cell_network_is_refused(model: Path, spoil: Callable[[Path], object]) -> None:
    spoil(model)
    with pytest.raises(StageError, match=r"mine\.onnx"):
        zoo.spec(model)


def test_another_task_is_named(model: Path) -> None:
    describe(model, json.dumps({"schema": 1, "task": "denoise", "name": "mine"}))
    assert zoo.task_of(model) == "denoise"
    assert zoo.about(model)["name"] == "mine"
    with pytest.raises(StageError, match="denoise"):
        zoo.spec(model)


def test_shipped_networks_are_found_by_name(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "HERE", model.parent)
    assert zoo.names() == ("mine",)
    assert zoo.names(zoo.CELLS) == ("mine",)
    assert zoo.names("denoise") == ()
    assert zoo.path("mine") == model
    assert zoo.half(model).is_file()
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        zoo.path("mines")


WRONG = {
    "no such name": ("neither", "no network is called 'neither'"),
    "no such file": ("nowhere/x.onnx", "no such file"),
    "the half": ("mine.fp16.onnx", r"name the float32 file, mine\.onnx"),
}


@pytest.mark.parametrize(("name", "said"), WRONG.values(), ids=WRONG)
def test_a_name_that_means_nothing_says_what_to_do(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        zoo.path(name)


def test_every_shipped_network_is_whole() -> None:
    """Name, task and card of what lies in the zoo now; the outputs are compared by ``cytoloop models check``."""
    for name in zoo.names():
        card = zoo.card(name)
        assert card.name == name == zoo.about(zoo.path(name))["name"]
        for file in (zoo.path(name), zoo.half(zoo.path(name))):
            assert file.stat().st_size < 8_000_000
            assert file.name in card.sha256
        assert zoo.stored_check(zoo.path(name)).is_file()
        assert card.in_words() == zoo.path(name).with_suffix(".md").read_text("utf-8")
        assert PROPERTY in properties(zoo.half(zoo.path(name)))
