"""The suite for GPUs, as far as it goes without one: its arguments, its plan, how it declines and what fails it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.runtime.tensorrt import cuda
from models.runtime.tensorrt.cuda import Gpu
from models.spec import NetSpec
from stream.errors import RuntimeUnavailable

ROOT = Path(__file__).parents[4]
SUITE = ROOT / "benchmarks" / "gpu_suite.py"


def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SUITE), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The suite as it is."""
    monkeypatch.syspath_prepend(str(SUITE.parent))
    return importlib.import_module("gpu_suite")


def test_the_plan_names_every_measurement_of_every_case(
    program: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--list", "--models", "a.onnx", "b.onnx", "--sizes", "512", "1024", "--minutes", "2"]
    assert program.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = {word: sum(line.startswith(word) for line in lines) for word in ("parity", "latency", "throughput")}
    assert counts == {"parity": 4, "latency": 4, "throughput": 4}
    assert lines[-2].startswith("compile: a.onnx at 512")
    assert lines[-1] == "memory: a.onnx, 2 minutes"


def test_without_a_gpu_it_says_so_in_one_line_and_writes_nothing(tmp_path: Path, network: Path) -> None:
    try:
        why = cuda.load().missing()
    except RuntimeUnavailable as error:
        why = str(error)
    if not why:
        pytest.skip("there is a GPU here; run the suite itself")
    done = suite("--models", str(network), "--json", str(tmp_path / "out.json"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"gpu_suite: nothing to measure: {why}\n"
    assert not (tmp_path / "out.json").exists()


def test_arguments_that_make_no_sense_are_refused(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        program.main(["--sizes", "large"])
    assert refused.value.code == 2
    assert "invalid int value: 'large'" in capsys.readouterr().err


HERE = {"tensorrt": "not installed", "tensorrt-rtx": "", "torch": "", "openvino": "", "onnxruntime": ""}
SECTIONS = ("parity", "latency", "throughput", "compile_times", "memory")


@pytest.fixture
def faked(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The suite with a GPU that is not there."""
    gpu = SimpleNamespace(missing=lambda: "", gpu=lambda: Gpu("Stand-in", "8.6", "13.0"))
    monkeypatch.setattr(program, "cuda", SimpleNamespace(load=lambda: gpu))
    monkeypatch.setattr(program, "available", lambda: HERE)
    return program


@pytest.fixture
def measures(faked: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Every measurement is one good line for each runtime that it is asked for."""
    for section in SECTIONS:
        monkeypatch.setattr(faked, section, measured)
    return faked


def measured(case: object, runtimes: str | list[str], *_: object) -> list[dict[str, Any]]:
    names = [runtimes] if isinstance(runtimes, str) else ["torch eager", *runtimes]
    return [{"runtime": name, "ok": True} for name in names]


def run(measures: ModuleType, out: Path) -> tuple[int, dict[str, Any]]:
    model = out.parent / "a.onnx"
    model.touch()
    status = measures.main(["--models", str(model), "--sizes", "512", "--json", str(out)])
    return status, json.loads(out.read_text())


def test_every_runtime_that_is_here_has_a_line_in_each_section_that_is_its_own(
    measures: ModuleType, tmp_path: Path
) -> None:
    status, found = run(measures, tmp_path / "out.json")
    assert (status, found["failures"]) == (0, [])
    lines = {what: [row["runtime"] for row in found[what]] for what in ("parity", "latency", "throughput", "memory")}
    assert lines == {
        "parity": ["tensorrt-rtx", "torch", "openvino"],
        "latency": ["torch eager", "tensorrt-rtx", "torch"],
        "throughput": ["tensorrt-rtx"],
        "memory": ["tensorrt-rtx", "torch"],
    }


def raises(error: BaseException) -> Callable[..., Any]:
    def work(*_: object) -> None:
        raise error

    return work


FAULTS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "a vendor's own error": ("parity", raises(MemoryError("out of it")), "parity, a at 512: MemoryError: out of it"),
    "a line that is not good": ("latency", lambda *_: {"runtime": "torch", "ok": False}, "latency, a at 512: {"),
    "a section that is empty": ("compile_times", lambda *_: [], "compile: nothing was measured with tensorrt-rtx"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_goes_wrong_fails_the_suite_and_the_rest_goes_on(
    measures: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    section, work, words = FAULTS[case]
    monkeypatch.setattr(measures, section, work)
    status, found = run(measures, tmp_path / "out.json")
    assert status == 1
    assert any(failure.startswith(words) for failure in found["failures"]), found["failures"]
    assert [row["runtime"] for row in found["memory"]] == ["tensorrt-rtx", "torch"]


def test_a_gpu_that_no_runtime_uses_is_a_failure(
    measures: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measures, "available", lambda: {**HERE, "tensorrt-rtx": "no", "torch": "no"})
    status, found = run(measures, tmp_path / "out.json")
    assert (status, found["failures"]) == (1, ["there is a GPU, and no runtime here uses it"])


def test_what_was_measured_is_kept_when_the_suite_is_stopped(
    measures: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measures, "memory", raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(measures, tmp_path / "out.json")
    assert len(json.loads((tmp_path / "out.json").read_text())["parity"]) == 3


class Graph:
    """What ``torch.cuda.CUDAGraph`` is to the suite."""

    def replay(self) -> None: ...


@pytest.mark.parametrize("captures", [True, False])
def test_decoding_that_is_not_captured_is_a_failure(monkeypatch: pytest.MonkeyPatch, captures: bool) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(SUITE.parent))
    frames = importlib.import_module("gpu_frames")

    def captured(*_: object, **__: object) -> Any:
        if not captures:
            raise RuntimeError("operation not permitted when stream is capturing")
        return nullcontext()

    fakes = {"graph": captured, "CUDAGraph": Graph, "stream": lambda _: nullcontext()}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    spec = NetSpec("blobs", "nuclei", 26.0)
    outputs = [torch.zeros(1, 1, 64, 64), torch.zeros(1, len(spec.channels), 32, 32)]
    stream = SimpleNamespace(synchronize=lambda: None)
    timed = frames.Timed(frames.OnGpu("trial", stream, lambda: outputs), spec)
    timed.turn(keep=True)
    row = timed.row(frames.Cells(np.zeros((64, 64), np.int32), 0))
    assert (row["captured"], row["ok"], row["agreement"]) == (captures, captures, 1.0)


@pytest.mark.parametrize(("per_opening_mib", "ok"), [(0.0, True), (1.0, False)])
def test_memory_that_grows_with_every_opening_is_a_failure(
    faked: ModuleType, monkeypatch: pytest.MonkeyPatch, per_opening_mib: float, ok: bool
) -> None:
    opened: list[str] = []
    closed: list[str] = []

    def open_(*_: object, runtime: str) -> Any:
        opened.append(runtime)
        return SimpleNamespace(run=lambda *_: (), close=lambda: closed.append(runtime))

    driver = SimpleNamespace(memory_used=lambda: int(per_opening_mib * len(opened) * 2**20))
    monkeypatch.setattr(faked, "open_session", open_)
    monkeypatch.setattr(faked, "cuda", SimpleNamespace(load=lambda: driver))
    case = SimpleNamespace(model=Path("a.onnx"), inputs=dict, shapes=dict)
    row = faked.memory(case, "torch", 0.0)
    assert (row["runtime"], row["ok"], row["openings"]) == ("torch", ok, 20)
    assert opened == closed == ["torch"] * 20
