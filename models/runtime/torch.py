"""torch: half precision with CUDA graphs on an NVIDIA GPU; float32 on a CPU, for those who ask for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.runtime.bound import BoundSession, Port, aligned
from models.runtime.cuda_driver import gpus
from models.runtime.session import Floats, Session, Shapes
from models.runtime.shared import fingerprint, shared
from stream.errors import RuntimeUnavailable

if TYPE_CHECKING:
    import torch

    from models.runtime.onnx_graph import Network

NAME = "torch"
_WARM_UPS = 3
"""Runs before a capture, in which libraries choose their kernels and allocate."""


def unavailable() -> str:
    """Return why this runtime cannot be used here, "" if it can; on a CPU it can."""
    missing = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
    return f"not installed: pip install {' '.join(missing)}" if missing else ""


def not_automatic() -> str:
    """Return why nobody should get this runtime without asking, "" if it is a good choice here."""
    return "" if gpus() else "no NVIDIA GPU; on a CPU it is slower than openvino"


def open_torch(model: Path, shapes: Shapes, precision: str, threads: int = 0) -> Session:
    """Return a session on the first GPU, or on the CPU where there is none; its reason names the device.

    Parameters
    ----------
    precision
        ``fp16`` (a GPU, from the file in half precision beside ``model``) or ``fp32``. ``auto``: fp16 if it can be.
    threads
        On a CPU. torch has one number for a whole process: it is set for all. 0: left as it is.

    Raises
    ------
    RuntimeUnavailable
        The precision is not offered here, or there is a GPU that this torch cannot use: nobody gets the CPU instead.
    """
    import torch

    from models.runtime.onnx_graph import Network, Weights

    on_gpu = gpus() > 0
    if on_gpu and not torch.cuda.is_available():
        made_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs alone"
        raise RuntimeUnavailable(
            f"torch {torch.__version__} was built for {made_for} and cannot use the NVIDIA GPU that is here: install a "
            "torch whose CUDA this driver serves, choose another runtime, or hide the GPU (CUDA_VISIBLE_DEVICES=)"
        )
    half = model.with_name(f"{model.stem}.fp16.onnx")
    chosen = precision if precision != "auto" else "fp16" if on_gpu and half.is_file() else "fp32"
    if chosen == "fp16" and not (on_gpu and half.is_file()):
        raise RuntimeUnavailable(f"torch: fp16 needs an NVIDIA GPU and {half.name} beside {model.name}")
    if chosen not in ("fp16", "fp32"):
        raise RuntimeUnavailable(f"torch: {chosen} is not offered; fp16 on a GPU and fp32 are")
    if threads and not on_gpu:
        torch.set_num_threads(threads)
    file, device = half if chosen == "fp16" else model, torch.device("cuda" if on_gpu else "cpu")
    network = Network(shared((NAME, fingerprint(file), device), lambda: Weights(file, device)), shapes)
    engine = _Captured(network, shapes) if on_gpu else _Eager(network, shapes)
    return BoundSession(engine, NAME, chosen, torch.cuda.get_device_name() if on_gpu else "CPU")


class _Eager:
    """Runs a network call by call on the CPU."""

    def __init__(self, network: Network, shapes: Shapes) -> None:
        import torch

        self._network = network
        self.inputs = tuple(Port(name, tuple(shapes[name])) for name in network.inputs)
        self.outputs = tuple(Port(name, network.shapes[name]) for name in network.outputs)
        self._staged = tuple(aligned(port.shape) for port in self.inputs)
        self.into = tuple(aligned(port.shape) for port in self.outputs)
        self._given = tuple(torch.from_numpy(array) for array in self._staged)
        self._taken = tuple(torch.from_numpy(array) for array in self.into)

    def run(self, inputs: tuple[Floats, ...]) -> None:
        import torch

        for staged, array in zip(self._staged, inputs, strict=True):
            np.copyto(staged, array)
        with torch.inference_mode():
            for taken, found in zip(self._taken, self._network(*self._given), strict=True):
                taken.copy_(found)


class _Captured:
    """Runs a network as one CUDA graph: copy in, compute, copy out, all between buffers that never move."""

    def __init__(self, network: Network, shapes: Shapes) -> None:
        import torch

        self._network = network
        self.inputs = tuple(Port(name, tuple(shapes[name])) for name in network.inputs)
        self.outputs = tuple(Port(name, network.shapes[name]) for name in network.outputs)
        self._given = tuple(torch.empty(port.shape, pin_memory=True) for port in self.inputs)
        self._taken = tuple(torch.empty(port.shape, pin_memory=True) for port in self.outputs)
        self._there = tuple(torch.ones(port.shape, device="cuda") for port in self.inputs)
        self._staged: tuple[Floats, ...] = tuple(tensor.numpy() for tensor in self._given)
        self.into: tuple[Floats, ...] = tuple(tensor.numpy() for tensor in self._taken)
        for staged in self._staged:
            staged.fill(1.0)
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph = self._capture()

    def run(self, inputs: tuple[Floats, ...]) -> None:
        import torch

        for staged, array in zip(self._staged, inputs, strict=True):
            np.copyto(staged, array)
        with torch.cuda.stream(self._stream):
            self._graph.replay()
        self._stream.synchronize()

    def _capture(self) -> torch.cuda.CUDAGraph:
        import torch

        graph = torch.cuda.CUDAGraph()
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    self._once()
            self._stream.synchronize()
            # other threads of this process may use the GPU meanwhile: only this one is watched
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._once()
        return graph

    def _once(self) -> None:
        for there, given in zip(self._there, self._given, strict=True):
            there.copy_(given, non_blocking=True)
        for taken, found in zip(self._taken, self._network(*self._there), strict=True):
            taken.copy_(found, non_blocking=True)
