"""What only a GPU can prove: ``python benchmarks/gpu_suite.py --json OUT``; exits 2 where there is none.

Parity of every runtime that is here with onnxruntime in float32, outputs and cells; times of the network, of decoding
on the GPU and of a whole frame from the host and back; frames a second with overlapping slots; what TensorRT compiles
and what its caches save; memory over minutes. Times are also given as ratios to torch, eager, in half precision,
measured in turns with them in the same run. ``--list`` says what would be measured, anywhere. What was measured is
written after each step; it is a failure when a runtime that is here left a section empty.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from gpu_frames import AGREEMENT, Case, Row, latency
from numpy.typing import NDArray

from models import zoo
from models.runtime import available, open_session
from models.runtime.selfcheck import compare
from models.runtime.tensorrt import bindings, cuda, opening, store
from models.runtime.tensorrt.build import build, model_file
from models.runtime.tensorrt.session import TensorRTSession
from models.runtime.tensorrt.shapes import static
from stream.bench.reading import Reader
from stream.errors import CytoloopError, StageError

Floats = NDArray[np.float32]
NO_GPU = 2
Work = Callable[[], Row | list[Row]]
SIZES = (512, 1024, 2048)
SLOTS = 3
GROWTH_MIB = 8.0
"""GPU memory that may be in use at the end beyond what it was after the first tenth of the time."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    models: Sequence[str]
    sizes: Sequence[int]
    frames: int
    minutes: float


def plan(options: Options) -> list[str]:
    """Return what is measured, a line each."""
    cases = [f"{name} at {size} × {size}" for name in options.models for size in options.sizes]
    first = options.models[0] if options.models else "no network"
    return [
        *(f"parity: {case}, every runtime against onnxruntime in float32, outputs and cells" for case in cases),
        *(f"latency: {case}, network, decode on the GPU, total with copies; {options.frames} frames" for case in cases),
        *(f"throughput: {case}, one slot against {SLOTS}" for case in cases),
        *(f"compile: {case}, engine, kernels, kernels from the cache" for case in cases[:1]),
        f"memory: {first}, {options.minutes:g} minutes",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0, 1 where something is wrong, 2 without a GPU."""
    parser = argparse.ArgumentParser(description="What only a GPU can prove.")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything that was measured there")
    parser.add_argument("--list", action="store_true", help="say what would be measured")
    parser.add_argument("--models", nargs="+", default=list(zoo.names(zoo.CELLS)), metavar="NAME_OR_PATH")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--frames", type=int, default=200, help="frames that are timed in each case")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long GPU memory is watched")
    said = parser.parse_args(arguments)
    options = Options(said.models, said.sizes, said.frames, said.minutes)
    if said.list:
        print("\n".join(plan(options)))
        return 0
    why = missing(options)
    if why:
        print(f"gpu_suite: nothing to measure: {why}", file=sys.stderr)
        return NO_GPU
    found: Row = {}
    for found in measure(options):
        if said.json:
            said.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found["failures"] else 0


def missing(options: Options) -> str:
    """Return why nothing can be measured, or ``""``."""
    try:
        why = cuda.load().missing()
    except CytoloopError as error:
        return str(error)
    return why or ("" if options.models else "no network ships with this version; give --models PATH")


def measure(options: Options) -> Iterator[Row]:
    """Measure everything; give all of it after each step. What fails is named under ``failures``; the rest goes on."""
    gpu, here = cuda.load().gpu(), dict(available())
    cases = [Case(zoo.path(name), size) for name in options.models for size in options.sizes]
    flavours = [name for name in bindings.FLAVOURS if not here.get(name, "not known to this version")]
    on_gpu = [*flavours, *(name for name in ("torch",) if not here[name])]
    found: Row = {
        "gpu": {"name": gpu.name, "capability": gpu.capability, "cuda_of_driver": gpu.driver},
        "left_out": {name: why for name, why in here.items() if why},
        "parity": [], "latency": [], "throughput": [], "compile": [], "memory": [], "failures": [],
    }  # fmt: skip
    yield found
    for what, case, work in _steps(cases, here, flavours, on_gpu, options):
        _step(found, what, case, work)
        yield found
    found["failures"] += _left_empty(found, flavours, on_gpu)
    yield found


def _steps(
    cases: Sequence[Case], here: Row, flavours: Sequence[str], on_gpu: Sequence[str], options: Options
) -> Iterator[tuple[str, Case, Work]]:
    """Return what is measured, one after the other."""
    for case in cases:
        for runtime in (name for name, why in here.items() if not why and name != "onnxruntime"):
            yield "parity", case, partial(parity, case, runtime)
        yield "latency", case, partial(latency, case, on_gpu, options.frames)
        for flavour in flavours:
            yield "throughput", case, partial(throughput, case, flavour, options.frames)
    for flavour in flavours:
        yield "compile", cases[0], partial(compile_times, cases[0], flavour)
    for runtime in on_gpu:
        yield "memory", cases[0], partial(memory, cases[0], runtime, options.minutes)


def _left_empty(found: Row, flavours: Sequence[str], on_gpu: Sequence[str]) -> list[str]:
    """Name the runtimes that are here and have no line in a section that is theirs."""
    if not on_gpu:
        return ["there is a GPU, and no runtime here uses it"]
    wanted = {"parity": on_gpu, "latency": on_gpu, "throughput": flavours, "compile": flavours, "memory": on_gpu}
    return [
        f"{what}: nothing was measured with {name}"
        for what, names in wanted.items()
        for name in names
        if name not in {row["runtime"] for row in found[what]}
    ]


def _step(found: Row, what: str, case: Case, work: Work) -> None:
    print(f"{what}: {case.model.stem} at {case.size} …", file=sys.stderr)
    try:
        measured = work()
    except Exception as error:  # the edge of the suite: vendors' libraries raise anything, and hours were measured
        traceback.print_exc()
        found["failures"].append(f"{what}, {case.model.stem} at {case.size}: {type(error).__name__}: {error}")
        return
    rows = measured if isinstance(measured, list) else [measured]
    found[what] += [{"model": case.model.stem, "size": case.size, **row} for row in rows]
    found["failures"] += [f"{what}, {case.model.stem} at {case.size}: {row}" for row in rows if row.get("ok") is False]


def parity(case: Case, runtime: str) -> Row:
    """Compare outputs within the self-check's tolerance, and the cells that are decoded from them."""
    inputs, read = list(case.inputs().values()), Reader(case.spec)
    with closing(open_session(case.model, case.shapes(), runtime="onnxruntime", precision="fp32")) as reference:
        wanted = [array.copy() for array in reference.run(*inputs)]
    with closing(open_session(case.model, case.shapes(), runtime=runtime)) as session:
        outputs = session.run(*inputs)
        off = max(float(np.abs(a - b).max()) for a, b in zip(outputs, wanted, strict=True))
        said = _said(lambda: compare(outputs, wanted, session))
        cells, theirs = read.cells(*outputs), read.cells(*wanted)
    same = cells.agreement(theirs)
    return {
        "runtime": runtime, "precision": session.precision, "largest_difference": off, "outputs": said,
        "cells": cells.count, "cells_fp32": theirs.count, "agreement": same,
        "ok": said == "ok" and same >= AGREEMENT,
    }  # fmt: skip


def _said(check: Callable[[], None]) -> str:
    try:
        check()
    except StageError as error:
        return str(error)
    return "ok"


def throughput(case: Case, flavour: str, frames: int) -> Row:
    """Count frames a second, copies both ways included, one after the other and overlapping."""
    inputs = list(case.inputs().values())
    rates = {}
    for slots in (1, SLOTS):
        opened = opening.open_session(case.model, case.shapes(), precision="auto", flavour=flavour, slots=slots)
        with closing(opened) as session:
            _stream(session, inputs, 2 * slots)
            begin = time.perf_counter()
            _stream(session, inputs, frames)
            rates[slots] = frames / (time.perf_counter() - begin)
            graphs = session.graphs
    return {
        "runtime": flavour, "cuda_graphs": graphs, "one_slot_fps": round(rates[1], 1),
        "overlapping_fps": round(rates[SLOTS], 1), "gain": round(rates[SLOTS] / rates[1], 3),
    }  # fmt: skip


def _stream(session: TensorRTSession, inputs: Sequence[Floats], frames: int) -> None:
    """Keep every slot busy."""
    waiting = 0
    for _ in range(frames):
        if waiting == session.slots:
            session.collect()
            waiting -= 1
        session.submit(*inputs)
        waiting += 1
    for _ in range(waiting):
        session.collect()


def compile_times(case: Case, flavour: str) -> Row:
    """Time the engine's build, the first opening (with RTX: kernels are compiled), and one with kernels kept."""
    chosen, driver, gpu = bindings.load(flavour), cuda.load(), cuda.load().gpu()
    precision = opening.best_precision(case.model)
    model = model_file(case.model, precision).read_bytes()
    begin = time.perf_counter()
    built = build(chosen, model, lambda _: static(case.shapes()), capabilities=[gpu.capability], precision=precision)
    row: Row = {"runtime": flavour, "engine_s": time.perf_counter() - begin, "engine_bytes": len(built.engine)}
    kernels = b""
    for what in ("first_opening_s", "opening_with_kernels_s"):
        begin = time.perf_counter()
        session = TensorRTSession(
            chosen, driver, built.engine, case.shapes(), precision=precision, reason="", kernels=kernels, slots=1
        )
        row[what] = time.perf_counter() - begin
        kernels = session.kernels()
        row["layers"] = _said_of(session)
        session.close()
    with tempfile.TemporaryDirectory() as folder:
        kept = store.EngineStore(Path(folder) / "engines", Path(folder) / "key" / "engines.key")
        for what in ("store_miss_s", "store_hit_s"):
            begin = time.perf_counter()
            opening.open_session(
                case.model, case.shapes(), precision=precision, flavour=flavour, slots=1, store=kept
            ).close()
            row[what] = time.perf_counter() - begin
    return row | {"kernel_bytes": len(kernels)}


def _said_of(session: TensorRTSession) -> str:
    try:
        return f"ok: {session.audit()} layers with convolutions, all in {session.precision}"
    except CytoloopError as error:
        return str(error)


def memory(case: Case, runtime: str, minutes: float) -> Row:
    """Watch the GPU's memory while frames stream, and while sessions are opened and closed."""
    driver = cuda.load()
    once = _torch_frames if runtime == "torch" else partial(_tensorrt_frames, flavour=runtime)
    seen: list[float] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or len(seen) < 20:
        once(case, lambda: seen.append(driver.memory_used() / 2**20))
    settled = seen[len(seen) // 10]
    growth = seen[-1] - settled
    return {
        "runtime": runtime, "minutes": minutes, "frames": 500 * len(seen), "openings": len(seen),
        "settled_mib": round(settled, 1), "last_mib": round(seen[-1], 1), "most_mib": round(max(seen), 1),
        "growth_mib": round(growth, 2), "ok": growth <= GROWTH_MIB,
    }  # fmt: skip


def _tensorrt_frames(case: Case, look: Callable[[], None], *, flavour: str) -> None:
    """Open, stream 500 frames, look, close."""
    inputs = list(case.inputs().values())
    opened = opening.open_session(case.model, case.shapes(), precision="auto", flavour=flavour, slots=SLOTS)
    with closing(opened) as session:
        _stream(session, inputs, 500)
        look()


def _torch_frames(case: Case, look: Callable[[], None]) -> None:
    """Open, run 500 frames, look, close."""
    inputs = list(case.inputs().values())
    with closing(open_session(case.model, case.shapes(), runtime="torch")) as session:
        for _ in range(500):
            session.run(*inputs)
        look()


if __name__ == "__main__":
    raise SystemExit(main())
