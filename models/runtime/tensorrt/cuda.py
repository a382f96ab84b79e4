"""The few CUDA calls that a runner needs, each checked; and what GPU there is."""

from __future__ import annotations

import ctypes
import importlib
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import RuntimeUnavailable, StageError

LOG = logging.getLogger(__name__)
DEVICE = 0
"""The first that is visible; ``CUDA_VISIBLE_DEVICES`` chooses another."""
NO_DRIVER = 35
"""cudaErrorInsufficientDriver: none, or one older than the CUDA of the bindings."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What engines depend on."""

    name: str
    capability: str
    driver: str
    """CUDA version that the driver serves."""


class Cuda:
    """CUDA's runtime calls; each raises StageError with CUDA's own words where it fails.

    Parameters
    ----------
    cudart
        ``cuda.bindings.runtime``, or what stands in for it.
    """

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart

    def missing(self) -> str:
        """Return why no GPU can be used, or ``""``; asked before any engine is touched: some libraries do not ask."""
        cudart = self._cudart
        error, count = cudart.cudaGetDeviceCount()
        if int(error) == NO_DRIVER:
            _, version = cudart.cudaDriverGetVersion()
            _, wanted = cudart.cudaRuntimeGetVersion()
            have = f"serves CUDA {_dotted(version)}" if version else "is not installed"
            return f"the NVIDIA driver {have}; CUDA {int(wanted) // 1000} is needed"
        if int(error):
            return f"no GPU can be used: {self._words(error)}"
        return "" if count else "there is no NVIDIA GPU"

    def gpu(self) -> Gpu:
        """Describe the GPU."""
        cudart = self._cudart
        facts = self._done("cudaGetDeviceProperties", cudart.cudaGetDeviceProperties(DEVICE))
        version = self._done("cudaDriverGetVersion", cudart.cudaDriverGetVersion())
        name = bytes(facts.name).split(b"\0")[0].decode()
        return Gpu(name, f"{facts.major}.{facts.minor}", _dotted(version))

    def memory_used(self) -> int:
        """Return the bytes of the GPU's memory in use, by anyone."""
        free, total = self._done("cudaMemGetInfo", self._cudart.cudaMemGetInfo())
        return int(total) - int(free)

    def allocate(self, count: int) -> int:
        """Return the address of ``count`` bytes on the GPU."""
        return int(self._done(f"cudaMalloc of {count} bytes", self._cudart.cudaMalloc(max(count, 256))))

    def free(self, address: int) -> None:
        """Give GPU memory back."""
        self._let_go("cudaFree", self._cudart.cudaFree(address))

    def pinned(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array that the GPU can copy from and to by itself.

        Its memory is given back with the last view of it: who keeps an output past its time reads old pixels, not
        somebody else's memory.
        """
        cudart = self._cudart
        count = int(np.prod(shape, dtype=np.int64))
        size = count * ctypes.sizeof(ctypes.c_float)
        made = cudart.cudaHostAlloc(size, cudart.cudaHostAllocDefault)
        address = int(self._done(f"cudaHostAlloc of {size} bytes", made))
        memory = (ctypes.c_float * count).from_address(address)
        weakref.finalize(memory, self._unpin, address).atexit = False
        return np.ctypeslib.as_array(memory).reshape(shape)

    def stream(self) -> Any:
        """Return a new stream, which waits for no other."""
        cudart = self._cudart
        return self._done("cudaStreamCreateWithFlags", cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))

    def end_stream(self, stream: Any) -> None:
        """Destroy a stream."""
        self._let_go("cudaStreamDestroy", self._cudart.cudaStreamDestroy(stream))

    def finish(self, stream: Any) -> None:
        """Wait until a stream has nothing left to do."""
        self._done("cudaStreamSynchronize", self._cudart.cudaStreamSynchronize(stream))

    def settle(self, stream: Any) -> None:
        """Wait as :meth:`finish` does, also for a stream that failed."""
        self._let_go("cudaStreamSynchronize", self._cudart.cudaStreamSynchronize(stream))

    def event(self, *, timed: bool = False) -> Any:
        """Return a new event."""
        cudart = self._cudart
        flags = cudart.cudaEventDefault if timed else cudart.cudaEventDisableTiming
        return self._done("cudaEventCreateWithFlags", cudart.cudaEventCreateWithFlags(flags))

    def end_event(self, event: Any) -> None:
        """Destroy an event."""
        self._let_go("cudaEventDestroy", self._cudart.cudaEventDestroy(event))

    def record(self, event: Any, stream: Any) -> None:
        """Let ``event`` stand for all that ``stream`` was given so far."""
        self._done("cudaEventRecord", self._cudart.cudaEventRecord(event, stream))

    def wait(self, stream: Any, event: Any) -> None:
        """Let ``stream`` go on only after ``event``; the host goes on at once."""
        self._done("cudaStreamWaitEvent", self._cudart.cudaStreamWaitEvent(stream, event, 0))

    def reach(self, event: Any) -> None:
        """Wait on the host for ``event``."""
        self._done("cudaEventSynchronize", self._cudart.cudaEventSynchronize(event))

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the time between two timed events."""
        return float(self._done("cudaEventElapsedTime", self._cudart.cudaEventElapsedTime(start, end)))

    def upload(self, device: int, host: int, count: int, stream: Any) -> None:
        """Copy pinned memory to the GPU."""
        cudart = self._cudart
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._done("cudaMemcpyAsync", cudart.cudaMemcpyAsync(device, host, count, kind, stream))

    def download(self, host: int, device: int, count: int, stream: Any) -> None:
        """Copy from the GPU to pinned memory."""
        cudart = self._cudart
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._done("cudaMemcpyAsync", cudart.cudaMemcpyAsync(host, device, count, kind, stream))

    def fill(self, device: int, value: int, count: int, stream: Any) -> None:
        """Set ``count`` bytes on the GPU."""
        self._done("cudaMemsetAsync", self._cudart.cudaMemsetAsync(device, value, count, stream))

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        """Return what ``work`` gives ``stream`` as a graph that can be launched again and again; nothing runs yet."""
        cudart = self._cudart
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._done("cudaStreamBeginCapture", cudart.cudaStreamBeginCapture(stream, mode))
        try:
            work()
        except BaseException:
            error, graph = cudart.cudaStreamEndCapture(stream)  # what stopped the work is the error to show
            if not int(error):
                self._let_go("cudaGraphDestroy", cudart.cudaGraphDestroy(graph))
            raise
        graph = self._done("cudaStreamEndCapture", cudart.cudaStreamEndCapture(stream))
        try:
            return self._done("cudaGraphInstantiate", cudart.cudaGraphInstantiate(graph, 0))
        finally:
            self._let_go("cudaGraphDestroy", cudart.cudaGraphDestroy(graph))

    def launch(self, graph: Any, stream: Any) -> None:
        """Give a captured graph to a stream."""
        self._done("cudaGraphLaunch", self._cudart.cudaGraphLaunch(graph, stream))

    def end_graph(self, graph: Any) -> None:
        """Destroy a captured graph."""
        self._let_go("cudaGraphExecDestroy", self._cudart.cudaGraphExecDestroy(graph))

    def _done(self, call: str, result: tuple[Any, ...]) -> Any:
        error, *values = result
        if int(error):
            raise StageError(f"CUDA: {call} failed: {self._words(error)}")
        return values[0] if len(values) == 1 else tuple(values)

    def _let_go(self, call: str, result: tuple[Any, ...]) -> None:
        """Releasing goes on whatever happened: what cannot be released is logged."""
        if int(result[0]):
            LOG.warning("CUDA: %s failed: %s", call, self._words(result[0]))

    def _unpin(self, address: int) -> None:
        self._let_go("cudaFreeHost", self._cudart.cudaFreeHost(address))

    def _words(self, error: Any) -> str:
        _, text = self._cudart.cudaGetErrorString(error)
        return f"{text.decode()} ({int(error)})"


@cache
def load() -> Cuda:
    """Import CUDA's bindings. Raises RuntimeUnavailable that says what to install."""
    try:
        return Cuda(importlib.import_module("cuda.bindings.runtime"))
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeUnavailable(f"cuda-bindings is not installed ({error}); pip install 'cytoloop[rtx]'") from error


def _dotted(version: int) -> str:
    return f"{int(version) // 1000}.{int(version) % 1000 // 10}"
