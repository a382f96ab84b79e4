"""From a model file to a running session: the engine from the store, or built now and kept there."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from models.runtime.face import face
from models.runtime.tensorrt import bindings as module
from models.runtime.tensorrt import cuda as driver
from models.runtime.tensorrt.bindings import Bindings
from models.runtime.tensorrt.build import build, model_file
from models.runtime.tensorrt.cuda import Cuda, Gpu
from models.runtime.tensorrt.session import SLOTS, TensorRTSession
from models.runtime.tensorrt.shapes import Profile, Shapes, static, text
from models.runtime.tensorrt.store import EngineStore, default_store, key
from stream.errors import RuntimeUnavailable, StageError, StoreError

LOG = logging.getLogger(__name__)
RECIPE = "1"
"""Of :mod:`models.runtime.tensorrt.build`: another number and every engine is built anew."""


def unavailable(flavour: str) -> str:
    """Return why ``"tensorrt"`` or ``"tensorrt-rtx"`` cannot run here, or ``""``.

    Asks for the module, the CUDA bindings, the driver, a GPU, and whether engines can be made for that GPU.
    """
    try:
        bindings, cuda = module.load(flavour), driver.load()
    except StageError as error:
        return str(error)
    why = cuda.missing()
    if why:
        return why
    gpu = cuda.gpu()
    return "" if bindings.serves(gpu.capability) else f"{flavour} does not serve {gpu.name} ({gpu.capability})"


def open_session(
    model: Path,
    shapes: Shapes,
    *,
    precision: str,
    flavour: str,
    profile: Profile | None = None,
    slots: int = SLOTS,
    store: EngineStore | None = None,
) -> TensorRTSession:
    """Open a network.

    Parameters
    ----------
    model
        ``X.onnx``, with ``X.fp16.onnx`` beside it.
    shapes
        Of each input.
    precision
        ``"fp16"``, ``"fp32"``, or ``"auto"``: fp16 where that file exists.
    profile
        Shapes that the engine shall serve beside these; None: these alone, which runs fastest.
    slots
        Frames that can be in flight.
    store
        None: this user's own.

    Raises
    ------
    RuntimeUnavailable
        It cannot run here at all, or cannot build or run this network.
    StageError
        The shapes are not those of the network's inputs.
    """
    why = unavailable(flavour)
    if why:
        raise RuntimeUnavailable(f"{flavour} cannot run here: {why}")
    shapes = face(model).ordered(shapes)
    precision = best_precision(model) if precision == "auto" else precision
    try:
        wanted = Wanted(model_file(model, precision), precision, shapes, profile or static(shapes), slots)
        return open_wanted(module.load(flavour), driver.load(), wanted, store or default_store())
    except (StageError, StoreError) as error:
        raise RuntimeUnavailable(f"{flavour} does not run {model.name}: {error}") from error


def best_precision(model: Path) -> str:
    """Return the fastest precision that a network was exported in."""
    return "fp16" if model.with_suffix(".fp16.onnx").is_file() else "fp32"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network as it shall run."""

    file: Path
    precision: str
    shapes: Shapes
    profile: Profile
    slots: int


def open_wanted(bindings: Bindings, cuda: Cuda, wanted: Wanted, store: EngineStore) -> TensorRTSession:
    """Load what the store has, or build it now. Raises StageError; an engine that does not load is not kept."""
    model, gpu = wanted.file.read_bytes(), cuda.gpu()
    name = engine_key(bindings, gpu, model, wanted)
    kept = store.get(name)
    if kept is not None:
        try:
            return _session(bindings, cuda, kept, wanted, f"{gpu.name}, engine from the store", store, name)
        except StageError as error:
            LOG.warning("a stored engine for %s does not run: %s; it is built anew", wanted.file.name, error)
            store.drop(name)
            store.drop(_kernels(name))
    start = time.perf_counter()
    built = build(bindings, model, lambda _: wanted.profile, capabilities=[gpu.capability], precision=wanted.precision)
    took = f"{gpu.name}, engine built in {time.perf_counter() - start:.1f} s"
    session = _session(bindings, cuda, built.engine, wanted, took, store, name)
    store.put(name, built.engine)
    return session


def engine_key(bindings: Bindings, gpu: Gpu, model: bytes, wanted: Wanted) -> str:
    """Return the name of an engine: everything that its bytes depend on."""
    return key(
        recipe=RECIPE,
        model=hashlib.sha256(model).hexdigest(),
        flavour=bindings.flavour,
        version=bindings.version,
        gpu=gpu.name,
        capability=gpu.capability,
        driver=gpu.driver,
        profile=text(wanted.profile),
        precision=wanted.precision,
    )


def _session(
    bindings: Bindings, cuda: Cuda, engine: bytes, wanted: Wanted, reason: str, store: EngineStore, name: str
) -> TensorRTSession:
    """Open an engine with the kernels that were compiled for it before, and keep those that were compiled now."""
    kernels = store.get(_kernels(name)) or b""
    session = TensorRTSession(
        bindings, cuda, engine, wanted.shapes, precision=wanted.precision, reason=reason, profile=wanted.profile,
        kernels=kernels, slots=wanted.slots,
    )  # fmt: skip
    found = session.kernels()
    if found and found != kernels:
        store.put(_kernels(name), found)
    return session


def _kernels(name: str) -> str:
    return f"{name}-kernels"
