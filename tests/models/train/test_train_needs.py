"""``pip install 'cytoloop[cpu,train]'`` brings all that training, exporting and packing import."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
OURS = ("stream", "drivers", "models")
SOLD_AS = {
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "ctc_metrics": "py-ctcmetrics",
    "useq": "pymmcore-plus",
    "pydantic": "pymmcore-plus",
}
"""Packages by the name of what they bring, or of what brings them, where it is another one."""
GPU = ("cuda", "tensorrt", "tensorrt_rtx")
PLACES = (
    "models/train",
    "models/nets",
    "models/zoo",
    "models/segment",
    "models/runtime",
    "models/denoise",
    "stream/score",
)


def imported(file: Path) -> Iterator[str]:
    """Yield the packages of others that a file imports, in functions too."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in (full.partition(".")[0] for full in names):
            if name not in (*sys.stdlib_module_names, *OURS, *GPU):
                yield name


def test_the_extras_bring_what_training_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    brought = {re.split(r"[^\w-]", line)[0] for line in (*project["dependencies"], *extras["cpu"], *extras["train"])}
    files = [ROOT / "stream" / "trainer.py", *(file for place in PLACES for file in (ROOT / place).rglob("*.py"))]
    needed = {name: str(file) for file in files for name in imported(file)}
    assert {"torch", "onnx", "skimage", "onnxruntime", "cv2", "matplotlib"} <= set(needed)
    assert {name: file for name, file in needed.items() if SOLD_AS.get(name, name) not in brought} == {}
