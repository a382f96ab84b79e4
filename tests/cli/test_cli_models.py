"""``cytoloop models`` and ``cytoloop bench`` as a user meets them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models import zoo
from models.runtime import available
from stream.cli import app
from stream.cli.models import lacking
from stream.errors import ConfigError, CytoloopError
from tests.models.zoo import zoo_cases


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a zoo with one network."""
    figures = [{"sequence": "drawn", "role": "held out", "DET": 0.9}]
    return zoo_cases.packed(tmp_path_factory.mktemp("shipped"), "mine", figures=figures)[0].parent


@pytest.fixture(autouse=True)
def _zoo(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "HERE", shipped)


def cytoloop(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the object on the last line."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if isinstance(done.exception, CytoloopError):
        raise done.exception
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def test_networks_are_listed_beside_the_stages() -> None:
    code, found = cytoloop("models", "list")
    assert code == 0
    assert list(found["networks"]) == ["mine"]
    assert found["networks"]["mine"].startswith("nuclei, quality; ")
    assert "classical" in found["segmenters"]


def test_info_tells_the_card() -> None:
    _, found = cytoloop("models", "info", "mine")
    assert found["data"] == [{"name": "drawn cells", "terms": "CC0", "use": "nothing was learnt"}]
    assert found["figures"] == [{"sequence": "drawn", "role": "held out", "DET": 0.9}]
    assert found["seed"] == 3
    assert found["table"]["kind"] == "nuclei"
    assert "| drawn | held out | 0.900 |" in CliRunner().invoke(app, ["models", "info", "mine"]).stdout


def test_info_of_a_network_of_ones_own_tells_its_table(tmp_path: Path) -> None:
    zoo_cases.network(tmp_path / "own.onnx", kind="phase")
    _, found = cytoloop("models", "info", str(tmp_path / "own.onnx"))
    assert found["card"] is None
    assert found["table"]["kind"] == "phase"


def test_check_passes_what_is_whole_and_fails_what_is_not(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = cytoloop("models", "check", "--all", "--no-compile", "--runtime", "onnxruntime")
    assert code == 0
    assert found["models"][0]["name"] == "mine"
    assert found["models"][0]["runtimes"] == {"onnxruntime": "ok"}
    spoilt = tmp_path / "zoo"
    shutil.copytree(shipped, spoilt)
    monkeypatch.setattr(zoo, "HERE", spoilt)
    zoo.half(spoilt / "mine.onnx").write_bytes(b"")
    code, found = cytoloop("models", "check", "mine", "--no-compile", "--runtime", "onnxruntime")
    assert code == 1
    assert "mine.fp16.onnx" in found["models"][0]["files"]


FAILURES = {
    "an unknown network": (("models", "info", "mien"), "did you mean 'mine'"),
    "nothing to check": (("models", "check"), "name a network, or give --all"),
    "no checkpoint": (("models", "export", "nowhere.pt", "--out", "x"), "nowhere.pt: cannot be read"),
    "no GPU to compile for": (("models", "compile", "mine"), "no engine can be built on this machine"),
    "an unknown runtime to check": (
        ("models", "check", "mine", "--runtime", "opnvino"), "runtime 'opnvino': there is none; known: .*openvino",
    ),
    "an unknown runtime": (("bench", "inference", "--runtime", "abacus"), "runtime 'abacus': there is none"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), FAILURES.values(), ids=FAILURES)
def test_a_failure_says_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    if "compile" in arguments and "" in (available()["tensorrt"], available()["tensorrt-rtx"]):
        pytest.skip("engines can be built on this machine")
    with pytest.raises(CytoloopError, match=said):
        cytoloop(*arguments)


BAD_RUNS = {
    "not there": (None, "run.toml: no such file; see models/train/configs"),
    "a folder": ("", "run.toml: cannot be read"),
    "no TOML": ("name = ", "run.toml: not TOML"),
    "a word too many": ('nmae = "x"', "run.toml: .*did you mean 'name'"),
}


@pytest.mark.parametrize("command", ["train", "cross-validate", "ablate"])
@pytest.mark.parametrize(("text", "said"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_a_training_file_that_cannot_be_meant_is_an_error(
    tmp_path: Path, command: str, text: str | None, said: str
) -> None:
    pytest.importorskip("torch", reason="training needs the extra [train]")
    run = tmp_path / "run.toml"
    if text:
        run.write_text(text)
    elif text is not None:
        run.mkdir()
    with pytest.raises(ConfigError, match=said):
        cytoloop("models", command, str(run), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript", "matplotlib"])
def test_what_training_needs_at_its_end_is_missed_at_its_beginning(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    pytest.importorskip("torch", reason="training needs the extra [train]")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=f"training needs {missing}, which is not installed: pip install {missing}"):
        cytoloop("models", "train", "run.toml")


LACKING: dict[str, tuple[ImportError, str]] = {
    "by the name where it is sold": (
        ModuleNotFoundError("No module named 'skimage'", name="skimage.segmentation"),
        r"export needs skimage, which is not installed: pip install scikit-image, or all it needs: .*\[cpu,train\]",
    ),
    "broken": (ImportError("cannot import name 'x' from 'onnx'", name="onnx"), "does not load: cannot import name 'x'"),
}


@pytest.mark.parametrize(("error", "said"), LACKING.values(), ids=LACKING)
def test_a_package_that_is_missing_is_named(error: ImportError, said: str) -> None:
    assert re.search(said, str(lacking("export", error)))


def test_bench_prints_one_object() -> None:
    words = ("--size", "64", "--runtime", "onnxruntime", "--runs", "1", "--seconds", "0")
    code, found = cytoloop("bench", "inference", *words)
    assert code == 0
    assert [(row["model"], row["runtime"], row["size"]) for row in found["runs"]] == [("mine", "onnxruntime", 64)]
    assert set(found["runs"][0]) >= {
        "model", "kind", "speed", "runtime", "precision", "size", "network_ms", "decode_ms", "cells",
        "ratio_to_ort_fp32", "parity",
    }  # fmt: skip


def test_a_checkpoint_becomes_a_network(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "best.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(CytoloopError, match="not a network that training kept"):
        cytoloop("models", "export", str(tmp_path / "best.pt"), "--out", str(tmp_path))
    torch.save({"spec": "{}", "net": {}}, tmp_path / "best.pt")
    with pytest.raises(CytoloopError, match="unreadable"):
        cytoloop("models", "export", str(tmp_path / "best.pt"), "--out", str(tmp_path))


def test_what_is_no_training_run_is_not_packed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(CytoloopError, match=r"checkpoint\.pt: cannot be read"):
        cytoloop("models", "pack", str(tmp_path), "--into", str(tmp_path / "zoo"))
    torch.save({"settings": "{}"}, tmp_path / "checkpoint.pt")
    with pytest.raises(CytoloopError, match=r"checkpoint\.pt: no checkpoint of a training run"):
        cytoloop("models", "pack", str(tmp_path), "--into", str(tmp_path / "zoo"))
