"""A CUDA runtime without a GPU, as unkind as a real one may be.

Memory is real, and so are the copies; but what a stream was given runs at any later time, in an order that only streams
and events bound: a seed chooses among all that is allowed. A host that reads before an event, or a copy that should
have waited, sees bytes of another frame. Handles that were destroyed, memory that was freed and graphs whose context
was changed since are recorded in :attr:`StandInCuda.wrong`.
"""

from __future__ import annotations

import ctypes
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

Op = tuple[str, Callable[[], None] | None, int, int]
"""What it is called, what it does, and for events which one and the how many-th record of it."""


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


@dataclass
class Stream:
    queue: deque[Op] = field(default_factory=deque)
    captured: list[Op] | None = None


@dataclass
class Event:
    recorded: int = 0
    reached: int = 0


class StandInCuda:
    """What ``cuda.bindings.runtime`` offers of the calls that the runner makes."""

    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaHostAllocDefault = 0
    cudaStreamNonBlocking = 1
    cudaEventDefault = 0
    cudaEventDisableTiming = 2
    capability = (8, 6)

    def __init__(self, seed: int = 0, *, version: int = 13000, devices: tuple[int, int | None] = (0, 1)) -> None:
        self.chance = random.Random(seed)
        self.version, self.devices = version, devices
        self.calls: Counter[str] = Counter()
        self.fail: dict[str, int] = {}
        """Call → the how many-th of it fails."""
        self.wrong: list[str] = []
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.graveyard: list[Any] = []  # freed memory stays mapped: reading it is wrong, not fatal
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, list[Op]] = {}
        self.execs: dict[int, list[Op]] = {}
        self.last = 100

    def left(self) -> dict[str, int]:
        """Return what was made and never given back."""
        kinds = ("memory", "pinned", "streams", "events", "graphs", "execs")
        return {kind: len(getattr(self, kind)) for kind in kinds if getattr(self, kind)}

    # facts

    def cudaGetDeviceCount(self) -> tuple[int, int | None]:
        return self.devices

    def cudaDriverGetVersion(self) -> tuple[int, int]:
        return 0, self.version

    def cudaRuntimeGetVersion(self) -> tuple[int, int]:
        return 0, 13050

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, f"error {error}".encode()

    def cudaGetDeviceProperties(self, device: int) -> tuple[int, Any]:
        facts = SimpleNamespace(name=b"Stand-in\0\0", major=self.capability[0], minor=self.capability[1])
        return self._call("cudaGetDeviceProperties", facts)

    def cudaMemGetInfo(self) -> tuple[int, ...]:
        return 0, 1 << 30, 1 << 31

    # memory

    def cudaMalloc(self, size: int) -> tuple[int, ...]:
        return self._make("cudaMalloc", lambda: self._allocate(self.memory, size))

    def cudaFree(self, address: int) -> tuple[int]:
        self._idle("memory is freed")
        return self._end("cudaFree", self.memory, address)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int, ...]:
        return self._make("cudaHostAlloc", lambda: self._allocate(self.pinned, size))

    def cudaFreeHost(self, address: int) -> tuple[int]:
        return self._end("cudaFreeHost", self.pinned, address)

    # streams and events

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, ...]:
        return self._make("cudaStreamCreateWithFlags", lambda: self._new(self.streams, Stream()))

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        return self._end("cudaStreamDestroy", self.streams, stream)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        if self.streams[stream].captured is not None:
            self.wrong.append("a stream is waited for while it is captured")
        self._until(lambda: not self.streams[stream].queue)
        return self._call("cudaStreamSynchronize")

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[int, ...]:
        return self._make("cudaEventCreateWithFlags", lambda: self._new(self.events, Event()))

    def cudaEventDestroy(self, event: int) -> tuple[int]:
        return self._end("cudaEventDestroy", self.events, event)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:
        self.events[event].recorded += 1
        self._give(stream, ("record", None, event, self.events[event].recorded))
        return self._call("cudaEventRecord")

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[int]:
        self._give(stream, ("wait", None, event, self.events[event].recorded))
        return self._call("cudaStreamWaitEvent")

    def cudaEventSynchronize(self, event: int) -> tuple[int]:
        wanted = self.events[event].recorded
        self._until(lambda: self.events[event].reached >= wanted)
        return self._call("cudaEventSynchronize")

    # work

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:
        device, host = (target, source) if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else (source, target)
        self._give(stream, ("copy", lambda: self._copy(target, source, size, device, host), 0, 0))
        return self._call("cudaMemcpyAsync")

    def cudaMemsetAsync(self, address: int, value: int, size: int, stream: int) -> tuple[int]:
        self._give(stream, ("set", lambda: self._set(address, value, size), 0, 0))
        return self._call("cudaMemsetAsync")

    def run(self, stream: int, work: Callable[[], None]) -> None:
        """Give a stream work of another library's."""
        self._give(stream, ("run", work, 0, 0))

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        result = self._call("cudaStreamBeginCapture")
        if not result[0]:
            self.streams[stream].captured = []
        return result

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, ...]:
        captured, self.streams[stream].captured = self.streams[stream].captured, None
        return self._make("cudaStreamEndCapture", lambda: self._new(self.graphs, list(captured or ())))

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[int, ...]:
        return self._make("cudaGraphInstantiate", lambda: self._new(self.execs, self.graphs[graph]))

    def cudaGraphDestroy(self, graph: int) -> tuple[int]:
        return self._end("cudaGraphDestroy", self.graphs, graph)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[int]:
        for op in self.execs[graph]:
            self._give(stream, op)
        return self._call("cudaGraphLaunch")

    def cudaGraphExecDestroy(self, graph: int) -> tuple[int]:
        self._idle("a graph is destroyed")
        return self._end("cudaGraphExecDestroy", self.execs, graph)

    # how it comes about

    def _call(self, name: str, *values: Any) -> tuple[Any, ...]:
        """Count a call, let some of what waits run, and answer."""
        self.calls[name] += 1
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            self._step()
        if self.fail.get(name) == self.calls[name]:
            return 999, *(None for _ in values)
        return 0, *values

    def _make(self, name: str, make: Callable[[], int]) -> tuple[Any, ...]:
        error, _ = self._call(name, 0)
        return (error, None) if error else (0, make())

    def _end(self, name: str, kind: dict[int, Any], handle: int) -> tuple[Any, ...]:
        if handle not in kind:
            self.wrong.append(f"{name} of what is not there")
            return (1,)
        self.graveyard.append(kind.pop(handle))
        return self._call(name)

    def _new(self, kind: dict[int, Any], made: Any) -> int:
        self.last += 1
        kind[self.last] = made
        return self.last

    def _allocate(self, kind: dict[int, Any], size: int) -> int:
        made = (ctypes.c_ubyte * size)(*([0xAB] * min(size, 64)))
        address = ctypes.addressof(made)
        kind[address] = made
        return address

    def _give(self, stream: int, op: Op) -> None:
        if stream not in self.streams:
            self.wrong.append(f"'{op[0]}' is given to a stream that is not there")
            return
        captured = self.streams[stream].captured
        (self.streams[stream].queue if captured is None else captured).append(op)

    def _step(self) -> bool:
        """Run one of the things that may run now; False: there is none."""
        ready = [s for s in self.streams.values() if s.queue and self._may(s.queue[0])]
        if not ready:
            return False
        name, work, event, number = self.chance.choice(ready).queue.popleft()
        if name == "record" and event in self.events:
            self.events[event].reached = number
        if work is not None:
            work()
        return True

    def _may(self, op: Op) -> bool:
        name, _, event, number = op
        return name != "wait" or event not in self.events or self.events[event].reached >= number

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            if not self._step():
                raise AssertionError("a stream waits for what never comes")

    def _idle(self, what: str) -> None:
        if any(stream.queue for stream in self.streams.values()):
            self.wrong.append(f"{what} while work is in flight")

    def _copy(self, target: int, source: int, size: int, device: int, host: int) -> None:
        self._inside(self.memory, device, size)
        self._inside(self.pinned, host, size)
        ctypes.memmove(target, source, size)

    def _set(self, address: int, value: int, size: int) -> None:
        self._inside(self.memory, address, size)
        ctypes.memset(address, value, size)

    def _inside(self, kind: dict[int, Any], address: int, size: int) -> None:
        if not any(start <= address and address + size <= start + len(made) for start, made in kind.items()):
            self.wrong.append(f"{size} bytes at {address} are not in memory of ours")
