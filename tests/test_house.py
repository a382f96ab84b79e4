"""The shape of the house: nobody shadows our packages, and the rig stays light and portable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.doctor import shadowed

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "openvino", "onnxruntime", "skimage", "numba", "cv2", "scipy", "starlette", "matplotlib", "tifffile")

LOADED_BY_THE_RIG = """
import sys
import stream.nodes, stream.acquire.node, drivers.micromanager.driver
from stream import plugins
plugins.load("drivers", "micromanager")
print(",".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""

HIDE_POSIX = """
import importlib, os, pkgutil, sys

class Hidden:
    names = {"fcntl", "resource", "termios", "pwd", "grp"}
    def find_spec(self, name, path=None, target=None):
        if name in self.names and any("/stream/" in f or "/drivers/" in f for f in self.callers()):
            raise ModuleNotFoundError(f"hidden: {name}")
    def callers(self):
        frame = sys._getframe(2)
        while frame is not None:
            name = frame.f_code.co_filename
            if "importlib" not in name:
                return [name]
            frame = frame.f_back
        return []

for name in Hidden.names:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
for name in ("memfd_create", "fork", "getuid", "sched_setaffinity", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
import stream, drivers
skip = ("stream.watch",)
count = 0
for package in (stream, drivers):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith(skip):
            importlib.import_module(module.name)
            count += 1
print(count)
"""


def _python(code: str, shadow: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code away from the checkout, so that only what is installed is found, and what ``shadow`` puts before it."""
    environment = {**os.environ, "PYTHONPATH": str(shadow or "")}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=environment, timeout=100, check=False, cwd=shadow or ROOT / "docs",
    )  # fmt: skip


def test_nothing_shadows_our_packages() -> None:
    assert shadowed() == []


@pytest.mark.parametrize("name", ["models", "drivers"])
def test_a_shadowed_package_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = _python("from stream.doctor import shadowed; print(shadowed())", tmp_path)
    assert f"the package '{name}' comes from" in done.stdout, done.stderr


def test_doctor_fails_on_a_shadowed_package(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    done = _python("import sys; sys.argv = ['cytoloop', 'doctor']; from stream.cli import main; main()", tmp_path)
    assert done.returncode != 0
    assert "environment of its own" in done.stdout


def test_the_rig_loads_nothing_heavy() -> None:
    done = _python(LOADED_BY_THE_RIG)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.strip().split(","))
    assert {"pymmcore_plus", "zmq"} <= loaded
    assert loaded.isdisjoint(HEAVY), loaded & set(HEAVY)


def test_rig_and_wire_import_without_posix() -> None:
    done = _python(HIDE_POSIX)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_the_names_of_the_repository_stay_in_it() -> None:
    """No path of one machine in what is shipped."""
    roots = ("/wo" + "rk/", "/ro" + "ot/")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    texts = [
        ROOT / name for name in listed.stdout.split("\n") if name.endswith((".py", ".md", ".toml", ".js", ".html"))
    ]
    assert not [str(path) for path in texts if path.is_file() and any(r in path.read_text("utf-8") for r in roots)]
