"""Times every shipped network on every runtime that is here, with what turns its outputs into cells.

All runtimes of one network and size take turns, frame by frame, so that whatever else the machine does meets them alike
and their ratios mean something on a busy one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import zoo
from models.runtime import Session, available, open_session
from models.zoo import stored
from stream.bench.reading import Cells, Reader
from stream.errors import ConfigError, CytoloopError, RuntimeUnavailable

Floats = NDArray[np.float32]
SIZES = (512, 1024, 2048)
REFERENCE = "onnxruntime"
REST_S = 0.02
"""Before each run: threads of the runtime before spin on for some ms, and would be timed with this one."""
LEAST_RUNS = 3
SKIMAGE_PX = 1024
"""The size at which the usual post-processing is timed too."""
SKIMAGE_RUNS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: at most ``runs`` frames and about ``seconds`` for each network and size."""

    models: Sequence[str] = ()
    sizes: Sequence[int] = SIZES
    runtimes: Sequence[str] = ()
    precision: str = "auto"
    runs: int = 30
    seconds: float = 8.0


@dataclass(slots=True)
class _Timed:
    """One runtime's turn: its session, its times and what it said first."""

    session: Session
    network_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    outputs: tuple[Floats, ...] = ()
    cells: Cells | None = None


def inference(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure and return ``{"runs": [...], "left_out": {runtime: why}, "failed": {what: why}}``.

    Raises
    ------
    ConfigError
        A network, runtime or size that does not exist, or nothing to measure.
    RuntimeUnavailable
        No runtime that is here could run any of the networks.
    """
    here = dict(available())
    _check(plan, here)
    chosen = [name for name, missing in here.items() if not missing and name in (plan.runtimes or here)]
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for name in plan.models or zoo.names(zoo.CELLS):
        for size in plan.sizes:
            say(f"{name} at {size} × {size} on {', '.join(chosen)} …")
            rows += _measure(zoo.path(name), size, chosen, plan, failed)
    if not rows:
        raise RuntimeUnavailable("; ".join(f"{what}: {why}" for what, why in failed.items()) or "no runtime is here")
    return {"runs": rows, "left_out": {name: why for name, why in here.items() if why}, "failed": failed}


def _check(plan: Plan, here: Mapping[str, str]) -> None:
    for runtime in plan.runtimes:
        if why := here.get(runtime, f"there is none; known: {', '.join(here)}"):
            raise ConfigError(f"runtime '{runtime}': {why}")
    for size in plan.sizes:
        if size < 64 or size % 16:
            raise ConfigError(f"size {size}: a multiple of 16, from 64")
    if not (plan.models or zoo.names(zoo.CELLS)):
        raise ConfigError("no network ships with this version; name the path of an .onnx file with --model")


def _measure(
    model: Path, size: int, runtimes: Sequence[str], plan: Plan, failed: dict[str, str]
) -> list[dict[str, Any]]:
    """Return one row for each runtime, all measured in turn on the same frames."""
    spec = zoo.spec(model)
    inputs = stored.cell_inputs(spec.kind, size, spec.object_px)
    shapes = {name: array.shape for name, array in inputs.items()}
    read = Reader(spec)
    with ExitStack() as stack:
        timed: list[_Timed] = []
        for runtime in _with_reference(runtimes):
            precision = "auto" if runtime == REFERENCE else plan.precision
            try:
                session = open_session(model, shapes, runtime=runtime, precision=precision)
            except CytoloopError as error:
                failed[f"{runtime}, {model.stem} at {size}"] = str(error)
                continue
            timed.append(_Timed(stack.enter_context(closing(session))))
        _take_turns(timed, list(inputs.values()), read.cells, plan)
        reference = next((one for one in timed if one.session.runtime == REFERENCE), None)
        usual = _usual_ratio(timed, read) if size == SKIMAGE_PX else {}
        rows = []
        for one in timed:
            if one.session.runtime in runtimes:
                rows.append(
                    {"model": model.stem, "kind": spec.kind, "speed": "fast" if spec.fast else "quality", "size": size}
                    | _row(one, reference) | {"decode_ratio_to_skimage": usual.get(one.session.runtime)}
                )  # fmt: skip
        return rows


def _with_reference(runtimes: Sequence[str]) -> Sequence[str]:
    return runtimes if REFERENCE in runtimes or available().get(REFERENCE) else (*runtimes, REFERENCE)


def _take_turns(timed: Sequence[_Timed], inputs: list[Floats], cells: Callable[..., Cells], plan: Plan) -> None:
    for one in timed:  # compiles what is compiled, and keeps the outputs that are compared
        one.outputs = tuple(array.copy() for array in one.session.run(*inputs))
        one.cells = cells(*one.outputs)
    end = time.perf_counter() + plan.seconds
    for turn in range(plan.runs):
        if turn >= min(LEAST_RUNS, plan.runs) and time.perf_counter() > end:
            break
        for one in timed:
            time.sleep(REST_S)
            begin = time.perf_counter()
            outputs = one.session.run(*inputs)
            between = time.perf_counter()
            cells(*outputs)
            one.network_ms.append((between - begin) * 1e3)
            one.decode_ms.append((time.perf_counter() - between) * 1e3)


def _row(one: _Timed, reference: _Timed | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "runtime": one.session.runtime, "precision": one.session.precision, "frames": len(one.network_ms),
        "network_ms": _quantiles(one.network_ms), "decode_ms": _quantiles(one.decode_ms),
        "cells": one.cells.count if one.cells else 0,
    }  # fmt: skip
    if reference is None or not (one.cells and reference.cells):
        why = f"{REFERENCE} is not here: {available().get(REFERENCE) or 'it failed'}"
        return said | {"ratio_to_ort_fp32": None, "parity": None, "parity_labels": None, "no_reference": why}
    off = max(float(np.abs(a - b).max()) for a, b in zip(one.outputs, reference.outputs, strict=True))
    return said | {
        "ratio_to_ort_fp32": round(float(np.median(one.network_ms) / np.median(reference.network_ms)), 4),
        "parity": off,
        "parity_labels": one.cells.agreement(reference.cells),
    }


def _quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    return {"p50": round(float(np.percentile(times_ms, 50)), 3), "p99": round(float(np.percentile(times_ms, 99)), 3)}


def _usual_ratio(timed: Sequence[_Timed], read: Reader) -> dict[str, float | None]:
    """Return decoding by skimage's time, for each runtime's outputs, in turn."""
    ratios: dict[str, float | None] = {}
    for one in timed:
        ours, theirs = [], []
        for _ in range(SKIMAGE_RUNS):
            begin = time.perf_counter()
            if read.usual(*one.outputs) is None:
                return {}
            between = time.perf_counter()
            read.cells(*one.outputs)
            theirs.append(between - begin)
            ours.append(time.perf_counter() - between)
        ratios[one.session.runtime] = round(float(np.median(ours) / np.median(theirs)), 4)
    return ratios
