"""TensorRT without a GPU: contexts that check what they are asked, and a network whose result is known.

The network takes ``frames`` (n, 2, y, x) and ``offset`` (n, 2) and gives ``total`` (n, 1, y, x), the sum of both frames
above their offsets, and ``half`` (n, 1, y/2, x/2), every second pixel of it.
"""

from __future__ import annotations

import ctypes
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models.runtime.tensorrt.stand_in_cuda import StandInCuda

Array = NDArray[np.float32]
Shape = tuple[int, ...]
ENGINE = b"an engine"
KERNELS = b"kernels"


class DataType(Enum):
    FLOAT = 0
    HALF = 1


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class Strategy(IntEnum):
    STATIC = 0
    USER_MANAGED = 2
    EAGER = 3


def network(frames: Array, offset: Array) -> tuple[Array, Array]:
    """Return ``total`` and ``half``."""
    total = (frames - offset[:, :, None, None]).sum(1, keepdims=True)
    return total, total[:, :, ::2, ::2].copy()


class StandInTrt:
    """What ``tensorrt_rtx`` offers of the names that the runner uses.

    Parameters
    ----------
    refuse
        Calls that say no: ``{"set_tensor_address": 2}`` lets the second one return False (or None).
    written
        How much of each output a run writes: ``"all"``, ``"nothing"``, or ``"ends"``, its first and last row.
    """

    __version__ = "11.0.0"
    DataType, TensorIOMode = DataType, TensorIOMode
    ExecutionContextAllocationStrategy = DynamicShapesKernelSpecializationStrategy = Strategy

    class ComputeCapability(Enum):
        SM86 = 86

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

    def __init__(self, cuda: StandInCuda, refuse: dict[str, int] | None = None, *, written: str = "all") -> None:
        self.cuda, self.refuse, self.written = cuda, dict(refuse or {}), written
        self.capturable = True
        self.loaded: list[bytes] = []
        self.contexts: list[Context] = []
        self.given_kernels: list[bytes] = []

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._engine, logger=logger)

    def says_no(self, call: str) -> bool:
        """Count a call down to the one that is refused."""
        if call not in self.refuse:
            return False
        self.refuse[call] -= 1
        return self.refuse[call] == 0

    def _engine(self, serialized: bytes) -> Any:
        self.loaded.append(serialized)
        return None if self.says_no("deserialize_cuda_engine") or serialized != ENGINE else Engine(self)


class Engine:
    num_io_tensors = 4
    names = ("frames", "offset", "total", "half")

    def __init__(self, trt: StandInTrt) -> None:
        self.trt = trt

    def get_tensor_name(self, i: int) -> str:
        return self.names[i]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.HALF if self.trt.says_no("get_tensor_dtype") else DataType.FLOAT

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.names[:2] else TensorIOMode.OUTPUT

    def create_runtime_config(self) -> Any:
        return None if self.trt.says_no("create_runtime_config") else RuntimeConfig(self.trt)

    def create_execution_context(self, config: RuntimeConfig) -> Any:
        if self.trt.says_no("create_execution_context"):
            return None
        made = Context(self.trt, config)
        self.trt.contexts.append(made)
        return made


class RuntimeConfig:
    def __init__(self, trt: StandInTrt) -> None:
        self.trt = trt
        self.strategy: Strategy | None = None
        self.dynamic_shapes_kernel_specialization_strategy: Strategy | None = None

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> Any:
        return SimpleNamespace(deserialize=self.trt.given_kernels.append, serialize=lambda: KERNELS)

    def set_runtime_cache(self, cache: Any) -> bool:
        return not self.trt.says_no("set_runtime_cache")


class Context:
    """Like TensorRT's: work that was captured is only good while its context is left as it was."""

    def __init__(self, trt: StandInTrt, config: RuntimeConfig) -> None:
        self.trt, self.user_managed = trt, config.strategy == Strategy.USER_MANAGED
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self.scratch: tuple[int, int] | None = None
        self.changes = 0
        self.ran = -1

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        if self.trt.says_no("set_input_shape"):
            return False
        self.shapes[name] = shape
        self.changes += 1
        return True

    def infer_shapes(self) -> list[str]:
        return ["total"] if self.trt.says_no("infer_shapes") else []

    def update_device_memory_size_for_shapes(self) -> int:
        return int(np.prod(self.shapes["frames"]))

    def set_device_memory(self, address: int, size: int) -> None:
        self.scratch = (address, size)
        self.changes += 1

    def get_tensor_shape(self, name: str) -> Shape:
        n, _, rows, columns = self.shapes["frames"]
        if self.trt.says_no("get_tensor_shape"):
            return (-1, -1)
        return self.shapes.get(name, (n, 1, rows, columns) if name == "total" else (n, 1, rows // 2, columns // 2))

    def set_tensor_address(self, name: str, address: int) -> bool:
        if self.trt.says_no("set_tensor_address"):
            return False
        self.addresses[name] = address
        self.changes += 1
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self.trt.capturable

    def execute_async_v3(self, stream: int) -> bool:
        cuda = self.trt.cuda
        ready = set(self.addresses) == set(Engine.names) and (self.scratch is not None or not self.user_managed)
        if self.trt.says_no("execute_async_v3") or not ready:
            return False
        if cuda.streams[stream].captured is not None and self.ran != self.changes:
            cuda.wrong.append("captured before the context ran in its present shape")
        self.ran = self.changes
        made_for, shapes, addresses = self.changes, dict(self.shapes), dict(self.addresses)
        cuda.run(stream, lambda: self._compute(made_for, shapes, addresses))
        return True

    def _compute(self, made_for: int, shapes: dict[str, Shape], addresses: dict[str, int]) -> None:
        if made_for != self.changes:
            self.trt.cuda.wrong.append("a graph runs whose context was changed since")
        if self.scratch is not None:
            ctypes.memset(self.scratch[0], 0xCD, self.scratch[1])
            self.trt.cuda._inside(self.trt.cuda.memory, *self.scratch)
        inputs = [self._array(addresses[name], shapes[name]) for name in Engine.names[:2]]
        rows = {"all": slice(None), "nothing": slice(0), "ends": [0, -1]}[self.trt.written]
        for name, made in zip(Engine.names[2:], network(*inputs), strict=True):
            self._array(addresses[name], made.shape)[:, :, rows] = made[:, :, rows]

    def _array(self, address: int, shape: Shape) -> Array:
        count = int(np.prod(shape))
        self.trt.cuda._inside(self.trt.cuda.memory, address, 4 * count)
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)
