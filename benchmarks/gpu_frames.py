"""A frame through each way to run a network on the GPU, with the cells decoded there: who takes how long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import zoo
from models.runtime import open_session
from models.runtime.tensorrt import opening
from models.runtime.tensorrt.build import model_file
from models.segment.decode import DecodeSettings
from models.spec import NetSpec
from models.zoo import stored
from stream.bench.reading import Cells, Reader

Floats = NDArray[np.float32]
Row = dict[str, Any]
BASELINE = "torch eager"
WARM_UPS = 10
AGREEMENT = 0.98
"""Least share of cells' pixels that lie in the same cell as onnxruntime's in float32."""


@dataclass(frozen=True, slots=True)
class Case:
    """One network at one size."""

    model: Path
    size: int

    @property
    def spec(self) -> NetSpec:
        return zoo.spec(self.model)

    def inputs(self) -> dict[str, Floats]:
        """Return two drawn frames with their levels."""
        return stored.cell_inputs(self.spec.kind, self.size, self.spec.object_px)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.inputs().items()}


def reference(case: Case) -> Cells:
    """Return the cells that onnxruntime and the decoder on the CPU find, in float32."""
    with closing(open_session(case.model, case.shapes(), runtime="onnxruntime", precision="fp32")) as session:
        return Reader(case.spec).cells(*session.run(*case.inputs().values()))


class OnGpu:
    """One contender: puts a frame through the network and leaves the outputs on the GPU, as tensors."""

    def __init__(self, name: str, stream: Any, frame: Callable[[], Any]) -> None:
        self.name, self.stream, self.frame = name, stream, frame


@contextmanager
def tensorrt_contender(case: Case, flavour: str) -> Iterator[OnGpu]:
    """Outputs are taken where the engine wrote them; with one slot they are always at the same place."""
    import torch

    inputs = list(case.inputs().values())
    session = opening.open_session(case.model, case.shapes(), precision="auto", flavour=flavour, slots=1)
    with closing(session):
        stream = torch.cuda.ExternalStream(session.stream)
        yield OnGpu(
            flavour, stream, lambda: [torch.as_tensor(one, device="cuda") for one in session.run_device(*inputs)]
        )


@contextmanager
def eager_contender(case: Case) -> Iterator[OnGpu]:
    """The same file in half precision, call by call."""
    import torch

    from models.runtime.onnx_graph import Network, Weights

    device, stream = torch.device("cuda"), torch.cuda.Stream()
    network = Network(Weights(model_file(case.model, "fp16"), device), case.shapes())
    inputs = [torch.from_numpy(array).pin_memory() for array in case.inputs().values()]

    def frame() -> Any:
        with torch.inference_mode(), torch.cuda.stream(stream):
            return network(*(one.to(device, non_blocking=True) for one in inputs))

    yield OnGpu(BASELINE, stream, frame)


@contextmanager
def torch_contender(case: Case) -> Iterator[OnGpu]:
    """The torch runtime as the pipeline runs it: its outputs go to the host; the way back to the GPU is timed too."""
    import torch

    device, stream, inputs = torch.device("cuda"), torch.cuda.Stream(), list(case.inputs().values())
    with closing(open_session(case.model, case.shapes(), runtime="torch")) as session:
        pinned = [torch.empty(one.shape, pin_memory=True) for one in session.run(*inputs)]

        def frame() -> Any:
            for there, one in zip(pinned, session.run(*inputs), strict=True):
                np.copyto(there.numpy(), one)
            with torch.cuda.stream(stream):
                return [there.to(device, non_blocking=True) for there in pinned]

        yield OnGpu("torch", stream, frame)


def latency(case: Case, runtimes: Sequence[str], frames: int) -> list[Row]:
    """Time a frame through each contender, in turns: network, decode, and both with the labels back on the host."""
    wanted = reference(case)
    with ExitStack() as stack:
        contenders = [stack.enter_context(eager_contender(case))]
        for name in runtimes:
            contender = torch_contender(case) if name == "torch" else tensorrt_contender(case, name)
            contenders.append(stack.enter_context(contender))
        timed = [Timed(contender, case.spec) for contender in contenders]
        for turn in range(frames + WARM_UPS):
            for one in timed:
                one.turn(keep=turn >= WARM_UPS)
        rows = [one.row(wanted) for one in timed]
    for row in rows:
        for what in ("network_ms", "decode_ms", "total_ms"):
            row[f"{what[:-3]}_ratio"] = round(row[what]["p50"] / rows[0][what]["p50"], 4)
    return rows


class Timed:
    """The times of one contender.

    Decoding is captured as a CUDA graph over tensors that stay where they are; one that cannot be is a failure, and
    timed call by call.
    """

    def __init__(self, contender: OnGpu, spec: NetSpec) -> None:
        self.contender, self._spec = contender, spec
        self._settings = DecodeSettings.of(spec.kind, spec.object_px)
        self._ms: dict[str, list[float]] = {"network_ms": [], "decode_ms": [], "total_ms": []}
        self._cells: Cells | None = None
        self._there: list[Any] = []
        self._decoded: Any = None
        self._graph: Any = None
        self._prepare()

    def turn(self, *, keep: bool) -> None:
        """Put one frame through, waiting after each part; then another without waiting in between."""
        import torch

        stream = self.contender.stream
        begin = time.perf_counter()
        outputs = self.contender.frame()
        stream.synchronize()
        computed = time.perf_counter()
        self._decode(outputs)
        stream.synchronize()
        end = time.perf_counter()
        self._decode(self.contender.frame())
        with torch.cuda.stream(stream):  # a copy elsewhere would not wait for the labels
            labels = self._decoded.labels.cpu()
        total = time.perf_counter()
        if keep:
            times = (computed - begin, end - computed, total - end)
            for kept, seconds in zip(self._ms.values(), times, strict=True):
                kept.append(seconds * 1e3)
        self._cells = Cells(labels.numpy(), int(self._decoded.count))

    def row(self, wanted: Cells) -> Row:
        """Return the times, and how the cells of the last frame compare with the reference's.

        Raises StageError where there was no room for all cells.
        """
        assert self._cells is not None
        self._decoded.fetched()
        same, captured = self._cells.agreement(wanted), self._graph is not None
        said = {
            "runtime": self.contender.name, "cells": self._cells.count, "agreement": same, "captured": captured,
            "ok": same >= AGREEMENT and captured,
        }  # fmt: skip
        return said | {what: quantiles(ms) for what, ms in self._ms.items()}

    def _prepare(self) -> None:
        """Decode once call by call, then capture."""
        import torch

        stream = self.contender.stream
        with torch.inference_mode(), torch.cuda.stream(stream):
            self._there = [one.clone() for one in self.contender.frame()]
        self._once()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._once()
        except RuntimeError as error:
            print(f"decoding is not captured: {error}", file=sys.stderr)
            return
        self._graph = graph

    def _decode(self, outputs: Any) -> None:
        """Give decoding of these outputs to the contender's stream."""
        import torch

        with torch.inference_mode(), torch.cuda.stream(self.contender.stream):
            for there, one in zip(self._there, outputs, strict=True):
                there.copy_(one, non_blocking=True)
            if self._graph is not None:
                self._graph.replay()
        if self._graph is None:
            self._once()

    def _once(self) -> None:
        import torch

        from models.segment.decode_torch import decode_torch

        with torch.inference_mode(), torch.cuda.stream(self.contender.stream):
            foreground, maps = self._there
            self._decoded = decode_torch(foreground[0, 0], maps[0], self._spec.channels, self._settings)


def quantiles(ms: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    return {"p50": round(float(np.percentile(ms, 50)), 4), "p99": round(float(np.percentile(ms, 99)), 4)}
