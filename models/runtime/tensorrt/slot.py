"""One place of the ring: its own context, buffers, events and graph, so that nothing in flight is shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.runtime.tensorrt.cuda import Cuda
from models.runtime.tensorrt.shapes import Shape, Shapes
from stream.errors import StageError

POISON = 0xFF
"""Each byte of a float that no network computes: a NaN with every bit set."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceArray:
    """A float32 array in the GPU's memory, for whoever understands ``__cuda_array_interface__`` (torch, CuPy, numba).

    It is whole for work given to ``stream`` after it was handed out.
    """

    address: int
    shape: Shape
    stream: int

    @property
    def __cuda_array_interface__(self) -> Mapping[str, Any]:
        return {
            "version": 3, "shape": self.shape, "typestr": "<f4", "data": (self.address, False), "strides": None,
            "stream": self.stream,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """One tensor, pinned on the host and on the GPU."""

    host: NDArray[np.float32]
    device: int

    @classmethod
    def make(cls, cuda: Cuda, held: ExitStack, shape: Shape) -> Buffer:
        """Allocate; ``held`` gives it back."""
        host = cuda.pinned(shape)
        device = cuda.allocate(host.nbytes)
        held.callback(cuda.free, device)
        return cls(host, device)

    @property
    def pinned(self) -> int:
        """Address of the host's side."""
        return int(self.host.ctypes.data)


class Slot:
    """A context with all that one frame in flight needs.

    Parameters
    ----------
    context
        Of this slot alone: a graph captured from a context is only valid while that context is left as it was.
    held
        Gives the events back.
    """

    def __init__(
        self, cuda: Cuda, context: Any, inputs: Sequence[str], outputs: Sequence[str], held: ExitStack
    ) -> None:
        self.context = context
        self.busy = False
        self._cuda = cuda
        self._names = (tuple(inputs), tuple(outputs))
        self._uploaded, self._computed, self._downloaded = (_event(cuda, held) for _ in range(3))
        self._inputs: list[Buffer] = []
        self._outputs: list[Buffer] = []
        self._graph: Any = None

    def shape(self, shapes: Shapes) -> int:
        """Set the shapes of the inputs and return the bytes of scratch memory that they take."""
        context = self.context
        for name in self._names[0]:
            if not context.set_input_shape(name, shapes[name]):
                raise StageError(f"TensorRT refuses the shape {shapes[name]} for input '{name}'")
        unclear = context.infer_shapes()
        if unclear:
            raise StageError(f"TensorRT cannot tell the shapes of {', '.join(unclear)}")
        return int(context.update_device_memory_size_for_shapes())

    def allocate(self, shapes: Shapes, scratch: tuple[int, int], held: ExitStack) -> None:
        """Make the buffers for the shapes that were set; ``scratch`` is (address, bytes), ``held`` gives all back."""
        context, cuda = self.context, self._cuda
        outputs = [tuple(int(side) for side in context.get_tensor_shape(name)) for name in self._names[1]]
        if any(side < 0 for shape in outputs for side in shape):
            raise StageError(f"TensorRT cannot tell the shapes of the outputs: {outputs}")
        context.set_device_memory(*scratch)
        self._inputs = [Buffer.make(cuda, held, shapes[name]) for name in self._names[0]]
        self._outputs = [Buffer.make(cuda, held, shape) for shape in outputs]
        for name, buffer in zip((*self._names[0], *self._names[1]), (*self._inputs, *self._outputs), strict=True):
            if not context.set_tensor_address(name, buffer.device):
                raise StageError(f"TensorRT refuses the buffer of '{name}'")

    def warm(self, stream: Any, capturable: Callable[[Any, int], bool], held: ExitStack) -> bool:
        """Run once, which compiles what is left to compile, then capture the work; return whether it was captured.

        Only a context that has run once in its present shape gives a whole graph.
        """
        cuda = self._cuda
        for buffer in self._inputs:
            cuda.fill(buffer.device, 0, buffer.host.nbytes, stream)
        self._work(stream)
        cuda.finish(stream)
        self._graph = None
        if capturable(self.context, int(stream)):
            self._graph = cuda.capture(stream, lambda: self._work(stream))
            held.callback(cuda.end_graph, self._graph)
        return self._graph is not None

    def check(self, arrays: Sequence[NDArray[np.float32]]) -> None:
        """Raise StageError for arrays that are not finite float32 of the shapes that were set."""
        wanted = [(buffer.host.shape, buffer.host.dtype) for buffer in self._inputs]
        given = [(array.shape, array.dtype) for array in arrays]
        if given != wanted:
            raise StageError(f"inputs are {_named(given)}; this session was opened for {_named(wanted)}")
        for name, array in zip(self._names[0], arrays, strict=True):
            if not np.isfinite(array).all():
                raise StageError(f"input '{name}' holds NaN or infinity, which a network turns into cells")

    def upload(self, stream: Any, arrays: Sequence[NDArray[np.float32]]) -> None:
        """Copy the inputs in; the copy waits for whatever still reads the slot's inputs."""
        cuda = self._cuda
        cuda.reach(self._uploaded)
        for buffer, array in zip(self._inputs, arrays, strict=True):
            np.copyto(buffer.host, array)
        cuda.wait(stream, self._computed)
        for buffer in self._inputs:
            cuda.upload(buffer.device, buffer.pinned, buffer.host.nbytes, stream)
        cuda.record(self._uploaded, stream)

    def compute(self, stream: Any) -> None:
        """Run the network when its inputs are there."""
        cuda = self._cuda
        cuda.wait(stream, self._uploaded)
        if self._graph is None:
            self._work(stream)
        else:
            cuda.launch(self._graph, stream)
        cuda.record(self._computed, stream)

    def download(self, stream: Any) -> None:
        """Copy the outputs back when they are there."""
        cuda = self._cuda
        cuda.wait(stream, self._computed)
        for buffer in self._outputs:
            cuda.download(buffer.pinned, buffer.device, buffer.host.nbytes, stream)
        cuda.record(self._downloaded, stream)

    def outputs(self) -> tuple[NDArray[np.float32], ...]:
        """Wait for the outputs and return them as read-only views, valid until the slot is used again."""
        self._cuda.reach(self._downloaded)
        return tuple(_fresh(name, out.host) for name, out in zip(self._names[1], self._outputs, strict=True))

    def device_outputs(self, stream: int) -> tuple[DeviceArray, ...]:
        """Return the outputs where they are, valid for work on ``stream`` until the slot is used again."""
        return tuple(DeviceArray(buffer.device, buffer.host.shape, stream) for buffer in self._outputs)

    def _work(self, stream: Any) -> None:
        """Poison the outputs, then run: what nobody wrote shows."""
        for buffer in self._outputs:
            self._cuda.fill(buffer.device, POISON, buffer.host.nbytes, stream)
        if not self.context.execute_async_v3(int(stream)):
            raise StageError("TensorRT did not take the frame (execute_async_v3 said no)")


def _event(cuda: Cuda, held: ExitStack) -> Any:
    event = cuda.event()
    held.callback(cuda.end_event, event)
    return event


def _fresh(name: str, host: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a read-only view of an output. Raises StageError where the network wrote nothing, or no numbers."""
    if not np.isfinite(host).all():
        raise StageError(f"output '{name}' is not finite, or was not written by this run; choose another precision")
    view = host.view()
    view.flags.writeable = False
    return view


def _named(given: Sequence[tuple[Shape, Any]]) -> str:
    return ", ".join(f"{dtype} {shape}" for shape, dtype in given)
