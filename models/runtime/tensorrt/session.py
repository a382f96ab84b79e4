"""A network on the GPU: frames go in through a ring of slots, so that copying and computing overlap."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.runtime.tensorrt.audit import audit_engine
from models.runtime.tensorrt.bindings import Bindings
from models.runtime.tensorrt.cuda import Cuda
from models.runtime.tensorrt.shapes import Profile, Shapes, fits, static
from models.runtime.tensorrt.slot import DeviceArray, Slot
from stream.errors import StageError

LOG = logging.getLogger(__name__)
SLOTS = 2
"""Frames in flight that a session is opened for: one is computed while the next is copied."""
Result = TypeVar("Result")


class TensorRTSession:
    """An engine, ready to run; a :class:`models.runtime.session.Session`. One thread uses it at a time.

    What it holds on the GPU is given back by :meth:`close`, or with the last reference to it.

    Beside :meth:`run` there are :meth:`submit` and :meth:`collect` for streams of frames, and :meth:`run_device` for
    whoever goes on working on the GPU.

    Parameters
    ----------
    engine
        Bytes that this machine built.
    shapes
        Of each input.
    profile
        What the engine was built for; None: ``shapes`` alone.
    kernels
        What the cache of compiled kernels held, or empty.
    slots
        Frames that can be in flight.
    """

    def __init__(
        self, bindings: Bindings, cuda: Cuda, engine: bytes, shapes: Shapes, *, precision: str, reason: str,
        profile: Profile | None = None, kernels: bytes = b"", slots: int = SLOTS,
    ) -> None:  # fmt: skip
        self.runtime: str = bindings.flavour
        self.precision, self.reason = precision, reason
        self._bindings, self._cuda = bindings, cuda
        self._profile = profile or static(shapes)
        self._broken = ""
        self._waiting: deque[Slot] = deque()
        self._slots: deque[Slot] = deque()
        self._streams: list[Any] = []
        self._engine: list[Any] = []
        """Runtime, configuration, engine and cache of kernels: each goes before the one that it was made by."""
        self._held, self._shaped = ExitStack(), ExitStack()
        self._graphs = False
        self._release = weakref.finalize(
            self, _give_back, cuda, self._streams, self._shaped, self._slots, self._engine, self._held
        )
        self._release.atexit = False  # the driver may be gone by then, and takes all of a process back anyway
        try:
            self._open(engine, kernels, slots)
            self.reshape(shapes)
        except BaseException:
            self.close()
            raise

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run one frame.

        Parameters
        ----------
        inputs
            In the network's order, with the shapes of the session.

        Returns
        -------
        tuple
            The outputs in the network's order: read-only views, valid until the next run or :meth:`close`.

        Raises
        ------
        StageError
            For a wrong shape, frames still in flight, or an output that was not written.
        """
        if self._waiting:
            raise StageError(f"{len(self._waiting)} submitted frames were not collected yet")
        self.submit(*inputs)
        return self.collect()

    def submit(self, *inputs: NDArray[np.float32]) -> None:
        """Start one frame and return at once. Raises StageError where every slot waits to be collected."""
        slot = self._start(inputs)
        self._attempt(lambda: slot.download(self._down))
        slot.busy = True
        self._waiting.append(slot)

    def collect(self) -> tuple[NDArray[np.float32], ...]:
        """Wait for the oldest submitted frame; the outputs are valid until its slot is used again.

        Raises StageError where nothing was submitted, or an output was not written.
        """
        self._usable()
        if not self._waiting:
            raise StageError("no submitted frame is left to collect")
        slot = self._waiting.popleft()
        outputs = self._attempt(slot.outputs)
        slot.busy = False
        return outputs

    def run_device(self, *inputs: NDArray[np.float32]) -> tuple[DeviceArray, ...]:
        """Start one frame and return its outputs where they will be, on the GPU, without waiting for them.

        Work given to :attr:`stream` from now on sees them whole; with torch::

            with torch.cuda.stream(torch.cuda.ExternalStream(session.stream)):
                foreground, maps = (torch.as_tensor(o, device="cuda") for o in session.run_device(*inputs))

        They are valid for work on that stream that is given to it before the slot's next turn, which comes ``slots``
        frames later. Work on another stream needs events of its own, both ways.
        """
        return self._start(inputs).device_outputs(self.stream)

    def reshape(self, shapes: Shapes) -> None:
        """Serve other shapes from now on: new buffers, new graphs.

        Raises StageError where the engine's profile does not hold them or frames are in flight: the session then serves
        what it did.
        """
        self._usable()
        if self._waiting:
            raise StageError(f"{len(self._waiting)} submitted frames were not collected yet")
        if not fits(self._profile, shapes):
            raise StageError(f"this engine was not built for {dict(shapes)}; open another session")
        for stream in self._streams:
            self._cuda.finish(stream)
        self._shaped.close()
        self._attempt(lambda: self._prepare(shapes))

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream on which the network runs."""
        return int(self._compute)

    @property
    def graphs(self) -> bool:
        """Whether frames run as CUDA graphs."""
        return self._graphs

    @property
    def slots(self) -> int:
        """Frames that can be in flight."""
        return len(self._slots)

    def kernels(self) -> bytes:
        """Return what the cache of compiled kernels holds now; empty with TensorRT 11."""
        runtime_cache = self._engine[-1] if self._engine else None
        memory = None if runtime_cache is None else runtime_cache.serialize()
        return b"" if memory is None else bytes(memory)

    def audit(self) -> int:
        """Check the precision of the engine's own layers; see :func:`models.runtime.tensorrt.audit.audit_engine`."""
        self._usable()
        return audit_engine(self._engine[2], self._bindings.trt, self.precision)

    def close(self) -> None:
        """Wait for what is in flight and give everything back. Idempotent."""
        self._broken = self._broken or "it was closed"
        self._waiting.clear()
        self._release()

    def _open(self, engine: bytes, kernels: bytes, slots: int) -> None:
        """Deserialise, and make what does not depend on shapes."""
        trt, held = self._bindings.trt, self._held
        with self._bindings.listening() as said:
            runtime = trt.Runtime(self._bindings.logger)
            loaded = runtime.deserialize_cuda_engine(engine)
            if loaded is None:
                raise StageError(f"{self.runtime} does not load its engine: {said.reason()}")
            inputs, outputs = _tensors(loaded, trt)
            config, runtime_cache = self._bindings.runtime_config(loaded, kernels)
            self._engine += (runtime, config, loaded, runtime_cache)
            self._up, self._compute, self._down = (self._stream() for _ in range(3))
            for _ in range(slots):
                context = loaded.create_execution_context(config)
                if context is None:
                    raise StageError(f"{self.runtime} makes no context: {said.reason()}")
                self._slots.append(Slot(self._cuda, context, inputs, outputs, held))

    def _stream(self) -> Any:
        stream = self._cuda.stream()
        self._held.callback(self._cuda.end_stream, stream)
        self._streams.append(stream)
        return stream

    def _prepare(self, shapes: Shapes) -> None:
        """Set shapes, make buffers, and run and capture each slot once.

        One scratch memory serves all slots: they compute on one stream, so one after the other.
        """
        cuda, held = self._cuda, self._shaped
        with self._bindings.listening() as said:
            scratch = max(slot.shape(shapes) for slot in self._slots)
            address = cuda.allocate(scratch)
            held.callback(cuda.free, address)
            for slot in self._slots:
                slot.allocate(shapes, (address, scratch), held)
            captured = [slot.warm(self._compute, self._bindings.capturable, held) for slot in self._slots]
            if said.errors:
                raise StageError(f"{self.runtime}: {said.reason()}")
        self._graphs = all(captured)
        if not self._graphs:
            LOG.warning("%s: this engine's work cannot be captured; frames run without CUDA graphs", self.runtime)

    def _start(self, inputs: Sequence[NDArray[np.float32]]) -> Slot:
        self._usable()
        slot = self._slots[0]
        if slot.busy:
            raise StageError(f"all {len(self._slots)} slots are in flight: collect first")
        slot.check(inputs)
        self._slots.rotate(-1)
        self._attempt(lambda: slot.upload(self._up, inputs))
        self._attempt(lambda: slot.compute(self._compute))
        return slot

    def _usable(self) -> None:
        if self._broken:
            raise StageError(f"this {self.runtime} session is of no use any more: {self._broken}")

    def _attempt(self, work: Callable[[], Result]) -> Result:
        """Do one step; after a failure nobody knows what the GPU still holds, so the session is used no more."""
        try:
            return work()
        except StageError as error:
            self._broken = str(error)
            raise


def _give_back(
    cuda: Cuda, streams: list[Any], shaped: ExitStack, slots: deque[Slot], parts: list[Any], held: ExitStack
) -> None:
    """Wait for what is in flight and give everything back; knows no session, so that it can outlive one."""
    for stream in streams:
        cuda.settle(stream)
    streams.clear()
    shaped.close()
    slots.clear()  # contexts go before their engine
    while parts:
        parts.pop()
    held.close()


def _tensors(engine: Any, trt: Any) -> tuple[list[str], list[str]]:
    """Return the names of inputs and outputs, in the network's order. Raises StageError for other than float32."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    other = [name for name in names if engine.get_tensor_dtype(name) != trt.DataType.FLOAT]
    if other:
        raise StageError(f"inputs and outputs are float32 here; {', '.join(other)} are not")
    taken = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    return taken, [name for name in names if name not in taken]
