"""Says what is installed, what a configuration would run, and what is missing, without moving or exposing anything.

A *problem* would stop the run or make it useless; a *warning* would not, but a person with a live sample wants to know.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stream import plugins
from stream.config import Configuration, load
from stream.doctor import advice, permissions, policies, schedule
from stream.errors import CytoloopError
from stream.facts.run_folder import versions
from stream.stages import Looks

_EXTRAS = {
    "cpu": ("numba", "cv2", "scipy", "tifffile", "zarr", "ctc_metrics", "matplotlib"),
    "watch": ("starlette", "uvicorn", "websockets"),
    "demo": ("mm_test_adapters",),
    "rtx": ("tensorrt_rtx",),
    "tensorrt": ("tensorrt",),
    "train": ("torch", "onnx", "onnxscript", "onnxruntime", "skimage"),
}


def examine(path: Path | None) -> dict[str, Any]:
    """Return what was found.

    Returns
    -------
    dict
        ``versions``, ``extras``; with a configuration ``camera``, ``plan``, ``limits``, ``dose``, ``feedback`` (by kind
        of command: see :mod:`stream.doctor.permissions`), ``policies``, ``chain``; ``problems`` and ``warnings`` are
        sentences that say what to do (both empty: all is well).
    """
    problems, warnings = shadowed(), list[str]()
    found: dict[str, Any] = {"versions": versions(), "extras": _extras()}
    if path is not None:
        try:
            config = load(path)
        except CytoloopError as error:
            problems.append(str(error))
        else:
            found |= _configured(config, path.parent.resolve(), problems, warnings)
    return {**found, "warnings": warnings, "problems": problems}


def shadowed() -> list[str]:
    """Return a sentence for each of our packages that Python would take from somewhere else."""
    home = Path(__file__).parents[2]
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


def _configured(config: Configuration, base: Path, problems: list[str], warnings: list[str]) -> dict[str, Any]:
    def attempt(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except CytoloopError as error:
            problems.append(str(error))
            return f"problem: {error}"

    camera = attempt(lambda: look(config, base))
    known: Mapping[str, Any] | None = camera if isinstance(camera, Mapping) else None
    told = [attempt(partial(policies.describe, spec, base)) for spec in config.feedback.policies]
    table = permissions.table(config, known)
    problems += advice.problems(config, known)
    warnings += advice.warnings(config, known, table, [one for one in told if isinstance(one, dict)])
    return {
        "camera": camera,
        "plan": schedule.describe(config, known),
        "limits": config.limits.model_dump(exclude={"allow"}, exclude_none=True),
        "dose": schedule.dose(config),
        "feedback": table,
        "policies": told,
        "chain": attempt(lambda: _chain(config, base)),
    }


def look(config: Configuration, base: Path) -> Mapping[str, Any]:
    """Return what the driver says of its devices; nothing is moved, exposed or set. Raises ConfigError, DriverError."""
    driver = plugins.load("drivers", config.camera.driver, base)()
    if isinstance(driver, Looks):
        return dict(driver.look(config.camera))
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
