"""Whether a network becomes an engine on GPUs that are not here: TensorRT-RTX compiles for them without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.runtime.tensorrt.audit import TYPES
from models.runtime.tensorrt.bindings import load
from models.runtime.tensorrt.build import Built, Plan, build, model_file
from models.runtime.tensorrt.shapes import Profile, Shapes, dynamic, static
from stream.errors import StageError

CAPABILITIES = ("8.6", "8.9", "12.0")
"""GeForce and RTX of three generations: Ampere, Ada, Blackwell."""


def compile_for(model: Path, capability: str, *, precision: str, dynamic_shapes: bool) -> Built:
    """Compile a network with TensorRT-RTX, and audit its layers. Raises StageError."""
    plan: Plan = dynamic if dynamic_shapes else _one_shape
    file = model_file(model, precision)
    return build(load("tensorrt-rtx"), file.read_bytes(), plan, capability=capability, precision=precision)


def compile_check(model: Path, capability: str, *, precision: str, dynamic: bool) -> str:
    """Return ``"ok"`` where a network compiles for a compute capability, else the reason.

    Parameters
    ----------
    model
        ``X.onnx``, with ``X.fp16.onnx`` beside it.
    capability
        As ``"8.6"``.
    precision
        ``"fp16"`` or ``"fp32"``; every convolution must compute in it.
    dynamic
        With a range of ``n``, rows and columns; else for one shape.
    """
    try:
        compile_for(model, capability, precision=precision, dynamic_shapes=dynamic)
    except StageError as error:
        return str(error)
    return "ok"


def check_model(model: Path) -> Mapping[str, str]:
    """Compile a network in both precisions, static and dynamic, for each of :data:`CAPABILITIES`.

    Returns
    -------
    Mapping
        ``"8.6"`` → ``"ok"``, or the first reason and the case that gave it.
    """
    return {capability: _worst(model, capability) for capability in CAPABILITIES}


def _worst(model: Path, capability: str) -> str:
    for precision in TYPES:
        for free in (False, True):
            said = compile_check(model, capability, precision=precision, dynamic=free)
            if said != "ok":
                return f"{precision}, {'dynamic' if free else 'static'} shapes: {said}"
    return "ok"


def _one_shape(declared: Shapes) -> Profile:
    """Plan for the favourite shape of the whole range alone."""
    return static({name: wanted.best for name, wanted in dynamic(declared).items()})
