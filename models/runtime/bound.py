"""A session around any engine: what goes in is checked, and what comes out is proven to be of this run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.runtime.session import Floats
from stream.errors import StageError

POISON_PX = 16
"""Distance between the points of an output that are set to NaN before a run: what it leaves so is of an earlier one."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network, with every side known."""

    name: str
    shape: tuple[int, ...]


class Engine(Protocol):
    """A compiled network with the buffers of one session."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    into: tuple[Floats, ...]
    """Where a run writes its outputs: arrays of ours, the same at every run."""

    def run(self, inputs: tuple[Floats, ...]) -> None:
        """Fill :attr:`into`."""


class BoundSession:
    """A :class:`models.runtime.session.Session` around an :class:`Engine`.

    A runtime that is given a shape it does not expect may leave its outputs as they were and report nothing (OpenVINO
    with one thread does). So shapes are compared here, and before each run points of every output are set to NaN: a
    run that does not write is noticed. NaN *inputs* are looked for in full, because no output shows them: ReLU and
    Clip turn them into plausible numbers. Both looks together take 0.6 ms at 1024².
    """

    def __init__(self, engine: Engine, runtime: str, precision: str, reason: str = "") -> None:
        self.runtime, self.precision, self.reason = runtime, precision, reason
        self._engine: Engine | None = engine
        self._inputs = engine.inputs
        self._points = [_points(array) for array in engine.into]
        self._shown = tuple(_read_only(array) for array in engine.into)
        self._warm_up()

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        """Return the outputs; see :meth:`models.runtime.session.Session.run`."""
        if self._engine is None:
            raise StageError(f"{self.runtime}: the session was closed")
        self._check(inputs)
        for points in self._points:
            points.fill(np.nan)
        self._run(self._engine, inputs)
        for port, array in zip(self._engine.outputs, self._engine.into, strict=True):
            if not np.isfinite(array).all():
                raise StageError(
                    f"{self.runtime} ({self.precision}): output '{port.name}' is not finite, or was not written by "
                    "this run; choose another runtime or precision"
                )
        return self._shown

    def close(self) -> None:
        """Let go of the engine and its buffers."""
        self._engine = None

    def _run(self, engine: Engine, inputs: tuple[Floats, ...]) -> None:
        try:
            engine.run(inputs)
        except Exception as error:  # vendors' libraries raise what they like, some of it no RuntimeError
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise StageError(f"{self.runtime} ({self.precision}) did not run: {said}") from error

    def _check(self, inputs: tuple[Floats, ...]) -> None:
        if len(inputs) != len(self._inputs):
            raise StageError(f"{len(inputs)} inputs given; the network takes {[port.name for port in self._inputs]}")
        for port, array in zip(self._inputs, inputs, strict=True):
            if array.shape != port.shape or array.dtype != np.float32:
                raise StageError(
                    f"input '{port.name}' is {array.dtype} {array.shape}; opened for float32 {port.shape}: "
                    "open another session for another shape"
                )
            if not array.flags.c_contiguous:
                raise StageError(f"input '{port.name}' is not C-contiguous: pass numpy.ascontiguousarray of it")
            if not np.isfinite(array).all():
                raise StageError(f"input '{port.name}' holds NaN or infinity, which a network turns into cells")

    def _warm_up(self) -> None:
        """Run once, so that the first frame finds memory touched and kernels made."""
        self.run(*(np.ones(port.shape, np.float32) for port in self._inputs))


def aligned(shape: tuple[int, ...]) -> Floats:
    """Return an array of zeros that begins on a cache line."""
    count = int(np.prod(shape))
    raw = np.zeros(count * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * 4].view(np.float32).reshape(shape)


def _points(array: Floats) -> Floats:
    """Return a view of the points that are poisoned: a grid on the last two axes, or all of a small array."""
    if array.ndim < 2 or min(array.shape[-2:]) < POISON_PX:
        return array
    return array[..., POISON_PX // 2 :: POISON_PX, POISON_PX // 2 :: POISON_PX]


def _read_only(array: Floats) -> Floats:
    view = array.view()
    view.flags.writeable = False
    return view
