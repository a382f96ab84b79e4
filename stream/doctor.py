"""Says what is installed, what a configuration would run, and what is missing, without moving or exposing anything."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stream import plugins
from stream.config import Configuration, load
from stream.errors import CytoloopError
from stream.facts.run_folder import versions

_EXTRAS = {
    "cpu": ("numba", "cv2", "scipy", "tifffile", "zarr", "ctc_metrics", "matplotlib"),
    "watch": ("starlette", "uvicorn", "websockets"),
    "demo": ("mm_test_adapters",),
    "rtx": ("tensorrt_rtx",),
    "tensorrt": ("tensorrt",),
    "train": ("torch",),
}


def examine(path: Path | None) -> dict[str, Any]:
    """Return what was found, with ``problems`` as sentences that say what to do (empty: all is well)."""
    problems = shadowed()
    found: dict[str, Any] = {"versions": versions(), "extras": _extras()}
    if path is not None:
        try:
            config = load(path)
        except CytoloopError as error:
            problems.append(str(error))
        else:
            found |= _configured(config, path.parent.resolve(), problems)
    return {**found, "problems": problems}


def shadowed() -> list[str]:
    """Return a sentence for each of our packages that Python would take from somewhere else."""
    home = Path(__file__).parents[1]
    sentences: list[str] = []
    for name in ("stream", "drivers", "models"):
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        if [Path(place).resolve() for place in places] != [(home / name).resolve()]:
            sentences.append(
                f"the package '{name}' comes from {places or 'nowhere'}, not from {home}: another project shadows it; "
                "install cytoloop into an environment of its own"
            )
    return sentences


def _extras() -> dict[str, str]:
    said: dict[str, str] = {}
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        said[extra] = "installed" if not missing else f"missing {', '.join(missing)} (pip install 'cytoloop[{extra}]')"
    return said


def _configured(config: Configuration, base: Path, problems: list[str]) -> dict[str, Any]:
    def attempt(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except CytoloopError as error:
            problems.append(str(error))
            return f"problem: {error}"

    return {
        "camera": attempt(lambda: _camera(config, base)),
        "chain": attempt(lambda: _chain(config, base)),
        "policies": [attempt(partial(_policy, spec, base)) for spec in config.feedback.policies],
        "feedback may": list(config.limits.allow) if config.limits.allow is not None else "send every command",
        "limits": config.limits.model_dump(exclude={"allow"}),
        "light dose": "calibrated" if config.dose.mw_per_mm2 else "unit not calibrated: set [dose] mw_per_mm2",
    }


def _camera(config: Configuration, base: Path) -> Mapping[str, Any]:
    driver = plugins.load("drivers", config.camera.driver, base)()
    try:
        driver.open(config.camera, run="doctor", session="doctor")
        return dict(driver.describe())
    finally:
        driver.stop()


def _chain(config: Configuration, base: Path) -> dict[str, str]:
    from stream.analyse.chain import Chain

    chain = Chain(config.chain, base)
    parts = (chain.denoiser, chain.segmenter, chain.tracker, chain.divider)
    return {
        name: type(part).__name__ for name, part in zip(("denoise", "segment", "track", "divide"), parts, strict=True)
    }


def _policy(spec: str, base: Path) -> str:
    from stream.feedback.load import load_policy

    name, policy = load_policy(spec, base)
    return f"{name} ({type(policy).__name__})"
