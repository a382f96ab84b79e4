"""ONNX Runtime in fp32 on the CPU: the reference that every other runtime is compared with."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.bound import BoundSession, Port, aligned
from models.runtime.session import Floats, Session, Shapes
from models.runtime.shared import fingerprint, shared
from stream.errors import RuntimeUnavailable

NAME = "onnxruntime"


def unavailable() -> str:
    """Return why this runtime cannot be used here, "" if it can."""
    return "" if importlib.util.find_spec("onnxruntime") else "not installed: pip install onnxruntime"


def precisions() -> tuple[str, ...]:
    """Return what it computes in."""
    return ("fp32",)


def open_onnxruntime(model: Path, shapes: Shapes, precision: str, threads: int = 0) -> Session:
    """Return a session on the CPU; sessions of one model share its threads (0: all cores)."""
    if precision not in ("auto", "fp32"):
        raise RuntimeUnavailable(f"onnxruntime is the fp32 reference; {precision} is not offered")
    key = (NAME, fingerprint(model), threads)
    return BoundSession(_Engine(shared(key, lambda: _load(model, threads)), shapes), NAME, "fp32")


@dataclass(slots=True, weakref_slot=True)
class _Loaded:
    network: Any


class _Engine:
    def __init__(self, loaded: _Loaded, shapes: Shapes) -> None:
        self._network = loaded.network
        self.inputs = tuple(Port(port.name, tuple(shapes[port.name])) for port in self._network.get_inputs())
        found = self._outputs(tuple(np.ones(port.shape, np.float32) for port in self.inputs))
        names = [port.name for port in self._network.get_outputs()]
        self.outputs = tuple(Port(name, array.shape) for name, array in zip(names, found, strict=True))
        self.into = tuple(aligned(port.shape) for port in self.outputs)

    def run(self, inputs: tuple[Floats, ...]) -> None:
        for own, array in zip(self.into, self._outputs(inputs), strict=True):
            np.copyto(own, array)

    def _outputs(self, inputs: tuple[Floats, ...]) -> list[Floats]:
        fed = {port.name: array for port, array in zip(self.inputs, inputs, strict=True)}
        found: list[Floats] = self._network.run(None, fed)
        return found


def _load(model: Path, threads: int) -> _Loaded:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    # threads that spin after a run take the cores from whatever runs next
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return _Loaded(onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"]))
