"""OpenVINO: the default runtime, on any CPU."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.bound import BoundSession, Port, aligned
from models.runtime.session import Floats, Session, Shapes
from models.runtime.shared import fingerprint, shared
from stream.errors import RuntimeUnavailable

NAME = "openvino"
_HINTS = {"bf16": "bf16", "fp32": "f32"}


def unavailable() -> str:
    """Return why this runtime cannot be used here, "" if it can."""
    return "" if importlib.util.find_spec("openvino") else "not installed: pip install cytoloop[cpu]"


def precisions() -> tuple[str, ...]:
    """Return what this CPU computes in, the preferred one first: bf16 where it is native, else fp32.

    Not fp16, where it is native: OpenVINO rounds the frames themselves to it, and counts above 32768 by 32.
    """
    told = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name in _HINTS if name.upper() in told)


def open_openvino(model: Path, shapes: Shapes, precision: str, threads: int = 0) -> Session:
    """Return a session on the CPU.

    Parameters
    ----------
    model
        The fp32 ONNX file; OpenVINO lowers the precision itself.
    threads
        Of this compiled network, which every session of the same model, shapes and precision shares: sessions in
        several threads take turns on them. 0: all cores.
    """
    known = precisions()
    chosen = known[0] if precision == "auto" else precision
    if chosen not in known:
        raise RuntimeUnavailable(f"openvino: no {chosen} on this CPU; it has {', '.join(known)}")
    key = (NAME, fingerprint(model), chosen, tuple(sorted(shapes.items())), threads)
    return BoundSession(_Engine(shared(key, lambda: _compile(model, shapes, chosen, threads))), NAME, chosen)


@dataclass(slots=True, weakref_slot=True)
class _Compiled:
    network: Any
    inputs: tuple[Port, ...]
    """As the ONNX file has them; the compiled network may take them with further axes of length 1."""


class _Engine:
    """An infer request of its own, bound to arrays of its own."""

    def __init__(self, compiled: _Compiled) -> None:
        from openvino import Tensor

        self._tensor = Tensor
        self._request = compiled.network.create_infer_request()
        self.inputs = compiled.inputs
        self.outputs = tuple(Port(port.any_name, tuple(port.shape)) for port in compiled.network.outputs)
        self.into = tuple(aligned(port.shape) for port in self.outputs)
        for index, array in enumerate(self.into):
            self._request.set_output_tensor(index, Tensor(array, shared_memory=True))
        self._shapes = tuple(tuple(port.shape) for port in compiled.network.inputs)
        self._staged = tuple(aligned(shape) for shape in self._shapes)

    def run(self, inputs: tuple[Floats, ...]) -> None:
        for index, (array, shape, staged) in enumerate(zip(inputs, self._shapes, self._staged, strict=True)):
            shown = array.reshape(shape)
            if not shown.flags.writeable:  # OpenVINO takes no read-only memory, though it only reads
                np.copyto(staged, shown)
                shown = staged
            self._request.set_input_tensor(index, self._tensor(shown, shared_memory=True))
        self._request.infer()


@cache
def _core() -> Any:
    from openvino import Core

    return Core()


def _compile(model: Path, shapes: Shapes, precision: str, threads: int) -> _Compiled:
    network = _core().read_model(model)
    ports = tuple(Port(port.any_name, tuple(shapes[port.any_name])) for port in network.inputs)
    network.reshape({port.name: list(port.shape) for port in ports})
    _widen_scalars(network)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "ENABLE_CPU_PINNING": False,  # several networks pinned to the same first cores would wait for each other
        **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
    }
    return _Compiled(_core().compile_model(network, "CPU", settings), ports)


def _widen_scalars(network: Any) -> None:
    """Take inputs that are only unsqueezed in their final shape.

    The Unsqueeze is a layer of its own, which OpenVINO runs in bf16: an offset of 33000 counts would move by up to 128
    before it meets a frame of contrast 1500. Without it, ``(frames - offset) / scale`` is one float32 layer.
    """
    from openvino import opset13

    parameters = []
    for old in network.get_parameters():
        users = [use.get_node() for use in old.output(0).get_target_inputs()]
        new = old
        if len(users) == 1 and users[0].get_type_name() == "Unsqueeze":
            shape = list(users[0].output(0).shape)
            new = opset13.parameter(shape, np.float32, name=old.get_friendly_name())
            new.output(0).tensor.set_names(old.output(0).tensor.names)
            users[0].output(0).replace(new.output(0))
        parameters.append((old, new))
    _replace(network, parameters)


def _replace(network: Any, parameters: list[tuple[Any, Any]]) -> None:
    """Exchange parameters, keeping the order of the inputs."""
    for old, new in parameters:
        network.remove_parameter(old)
        network.add_parameters([new])
