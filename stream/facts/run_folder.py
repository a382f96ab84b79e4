"""The folder of one run: what was asked for, with which versions, and what came of it."""

from __future__ import annotations

import json
import logging
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from stream.config import Configuration
from stream.errors import StoreError
from stream.facts.opening import NO_ROOM
from stream.settings import parse

log = logging.getLogger(__name__)

CONFIGURATION_FILE = "config.json"
VERSIONS_FILE = "versions.json"
_PACKAGES = (
    "cytoloop", "numpy", "pyzmq", "msgpack", "xxhash", "pymmcore", "pymmcore-plus", "useq-schema", "pydantic",
    "numba", "opencv-python-headless", "scipy", "zarr", "tifffile", "openvino", "onnxruntime", "torch",
)  # fmt: skip


def create(settings: Configuration) -> Path:
    """Make the folder ``[run] out``/UTC-NAME and write the resolved configuration and the versions into it.

    A folder is never used twice: the second run of a second gets a number. A disk that has room for the folder and not
    for the files does not keep the run from beginning: they are missing, and the log says so.

    Raises
    ------
    StoreError
        It cannot be made.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", settings.run.name).strip("-") or "run"
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}"
    try:
        run_dir = _make(settings.run.out, stem)
    except OSError as error:
        raise StoreError(f"{settings.run.out}: no run folder can be made there: {error}") from error
    _write(run_dir / CONFIGURATION_FILE, settings.model_dump_json(indent=2) + "\n")
    _write(run_dir / VERSIONS_FILE, json.dumps(versions(), indent=2) + "\n")
    return run_dir


def read_configuration(run_dir: Path) -> Configuration:
    """Return the configuration that a run was made with. Raises StoreError or ConfigError."""
    path = run_dir / CONFIGURATION_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
    return parse(Configuration, data, str(path))


def versions() -> dict[str, Any]:
    """Return what runs here; packages that are not installed are left out, and none is imported."""
    installed: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "host": platform.node(),
        "packages": installed,
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise StoreError(f"{path}: cannot be written: {error}") from error
        path.unlink(missing_ok=True)  # rather none than a torn one
        log.error("%s: cannot be written: %s", path, error)


def _make(out: Path, stem: str) -> Path:
    number = 1
    while True:
        run_dir = out / (stem if number == 1 else f"{stem}-{number}")
        try:
            run_dir.mkdir(parents=True)
            return run_dir
        except FileExistsError:
            if not out.is_dir():
                raise
            number += 1
