"""From an ONNX file to the bytes of an engine: strongly typed, in the file's own precision, for known shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.runtime.tensorrt.audit import TYPES, Audit, audit
from models.runtime.tensorrt.bindings import Bindings, Said
from models.runtime.tensorrt.shapes import DYNAMIC, Profile, Shapes
from stream.errors import RuntimeUnavailable, StageError

Plan = Callable[[Shapes], Profile]
"""Says which shapes an engine is for, given the inputs as the network declares them."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine, and what its layers said."""

    engine: bytes
    audit: Audit


def model_file(model: Path, precision: str) -> Path:
    """Return ``X.onnx``, or ``X.fp16.onnx`` beside it. Raises RuntimeUnavailable where it is missing."""
    if precision not in TYPES:
        raise RuntimeUnavailable(f"TensorRT runs these networks in {' or '.join(TYPES)}, not in {precision}")
    file = model.with_suffix(".fp16.onnx") if precision == "fp16" else model
    if not file.is_file():
        raise RuntimeUnavailable(f"{file} does not exist; export the network in {precision} first")
    return file


def build(bindings: Bindings, model: bytes, plan: Plan, *, capabilities: Sequence[str], precision: str) -> Built:
    """Compile a network.

    Parameters
    ----------
    model
        An ONNX file; its own types decide the precision.
    plan
        Which shapes the engine will serve.
    capabilities
        Compute capabilities that one engine shall serve, as ``["8.6"]``; TensorRT 11 builds for the GPU that it finds.
    precision
        What the file is in, ``"fp16"`` or ``"fp32"``: checked layer by layer.

    Raises
    ------
    StageError
        With TensorRT's own words: the file does not parse, a layer is in another precision, the shapes do not suit
        the network (for which TensorRT itself only warns), the compute capability is not served, or the build failed.
    """
    trt = bindings.trt
    with bindings.listening() as said:
        builder = trt.Builder(bindings.logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        _parse(bindings, network, model, said)
        seen = audit(network, precision)
        config = builder.create_builder_config()
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if precision == "fp32":
            config.clear_flag(trt.BuilderFlag.TF32)  # TF32 keeps 10 bits of a mantissa: not what fp32 says
        bindings.target(config, capabilities)
        _add_profile(builder, config, network, plan)
        memory = builder.build_serialized_network(network, config)
        if memory is None:
            raise StageError(f"{bindings.flavour} builds no engine for {', '.join(capabilities)}: {said.reason()}")
        about_profiles = [warning for warning in said.warnings if "profile" in warning.lower()]
        if about_profiles:
            raise StageError(f"shapes do not suit the network: {about_profiles[0]}")
        return Built(bytes(memory), seen)


def _parse(bindings: Bindings, network: Any, model: bytes, said: Said) -> None:
    parser = bindings.trt.OnnxParser(network, bindings.logger)
    if parser.parse(model) and not parser.num_errors:
        return
    told = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
    raise StageError(f"the ONNX file does not parse: {'; '.join(told) or said.reason()}")


def _add_profile(builder: Any, config: Any, network: Any, plan: Plan) -> None:
    """Name the shapes of every input. Raises StageError for a profile that is no sense in itself."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    declared = {tensor.name: tuple(int(side) for side in tensor.shape) for tensor in inputs}
    ranges = plan(declared)
    if set(ranges) != set(declared):
        raise StageError(f"shapes are given for {sorted(ranges)}, the network takes {sorted(declared)}")
    profile = builder.create_optimization_profile()
    for name, wanted in ranges.items():
        if not all(_serves(shape, declared[name]) for shape in (wanted.least, wanted.best, wanted.most)):
            raise StageError(f"input '{name}' is {declared[name]} in the network; {wanted} cannot be")
        profile.set_shape(name, wanted.least, wanted.best, wanted.most)
    if config.add_optimization_profile(profile) < 0:
        raise StageError(f"TensorRT refuses the profile {ranges}")


def _serves(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(d in (DYNAMIC, s) for s, d in zip(shape, declared, strict=True))
