"""Whether a network becomes an engine on GPUs that are not here: TensorRT-RTX compiles for them without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.runtime.tensorrt.audit import TYPES
from models.runtime.tensorrt.bindings import load
from models.runtime.tensorrt.build import Built, Plan, build, model_file
from models.runtime.tensorrt.shapes import Profile, Shapes, dynamic, static
from stream.errors import StageError

CAPABILITIES = ("8.6", "8.9", "12.0")
"""GeForce and RTX of three generations: Ampere, Ada, Blackwell."""


def compile_for(model: Path, capabilities: Sequence[str], *, precision: str, free: bool) -> Built:
    """Compile a network with TensorRT-RTX, and audit its layers.

    Raises StageError.

    Parameters
    ----------
    model
        ``X.onnx``, with ``X.fp16.onnx`` beside it.
    capabilities
        Compute capabilities that the engine shall serve, all of them.
    precision
        ``"fp16"`` or ``"fp32"``; every convolution must compute in it.
    free
        For a range of ``n``, rows and columns; else for one shape.
    """
    plan: Plan = dynamic if free else _one_shape
    file = model_file(model, precision)
    return build(load("tensorrt-rtx"), file.read_bytes(), plan, capabilities=capabilities, precision=precision)


def compile_check(model: Path, capability: str, *, precision: str, dynamic: bool) -> str:
    """Return ``"ok"`` where a network compiles for a compute capability, else the reason; see :func:`compile_for`."""
    return _said(model, [capability], precision, dynamic)


def check_model(model: Path) -> Mapping[str, str]:
    """Compile a network in both precisions, static and dynamic, for each of :data:`CAPABILITIES`.

    One engine for all of them takes as long as one for a single GPU, so each is tried alone only where that fails.

    Returns
    -------
    Mapping
        ``"8.6"`` → ``"ok"``, or the first reason and the case that gave it.
    """
    cases = [(precision, free) for precision in TYPES for free in (False, True)]
    failed = [case for case in cases if _said(model, CAPABILITIES, *case) != "ok"]
    return {capability: _first(model, capability, failed) for capability in CAPABILITIES}


def _first(model: Path, capability: str, cases: Sequence[tuple[str, bool]]) -> str:
    for precision, free in cases:
        said = _said(model, [capability], precision, free)
        if said != "ok":
            return f"{precision}, {'dynamic' if free else 'static'} shapes: {said}"
    return "ok"


def _said(model: Path, capabilities: Sequence[str], precision: str, free: bool) -> str:
    try:
        compile_for(model, capabilities, precision=precision, free=free)
    except StageError as error:
        return str(error)
    return "ok"


def _one_shape(declared: Shapes) -> Profile:
    """Plan for the favourite shape of the whole range alone."""
    return static({name: wanted.best for name, wanted in dynamic(declared).items()})
