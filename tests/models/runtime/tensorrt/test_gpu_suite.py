"""The suite for GPUs, as far as it goes without one: its arguments, its plan, and how it declines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.runtime.tensorrt import cuda
from stream.errors import RuntimeUnavailable

ROOT = Path(__file__).parents[4]
SUITE = ROOT / "benchmarks" / "gpu_suite.py"


def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SUITE), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_plan_names_every_measurement_of_every_case() -> None:
    done = suite("--list", "--models", "a.onnx", "b.onnx", "--sizes", "512", "1024", "--minutes", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
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


def test_arguments_that_make_no_sense_are_refused() -> None:
    done = suite("--sizes", "large")
    assert done.returncode == 2
    assert "invalid int value: 'large'" in done.stderr
