"""Chooses what runs a network here, proves that it computes rightly, and says what was chosen and why."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.runtime.selfcheck import verify
from models.runtime.session import Session, Shapes
from models.runtime.shared import fingerprint
from stream.errors import RuntimeUnavailable, StageError
from stream.metrics import RUNTIME

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way to run a network; its packages are imported only when it is asked."""

    unavailable: Callable[[], str]
    open: Callable[[Path, Shapes, str, int], Session]
    alone: Callable[[], str] = lambda: ""
    """Why the automatic order passes it by though it works, "" if it does not."""


def _openvino() -> Runtime:
    from models.runtime import openvino

    return Runtime(openvino.unavailable, openvino.open_openvino)


def _onnxruntime() -> Runtime:
    from models.runtime import onnxruntime

    return Runtime(onnxruntime.unavailable, onnxruntime.open_onnxruntime)


RUNTIMES: Mapping[str, Callable[[], Runtime]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
"""In the automatic order: the fastest first."""
_VERIFIED: dict[tuple[str, str, str, int], str] = {}
_CHECKING = threading.Lock()


def available() -> Mapping[str, str]:
    """Return for each runtime why it cannot be used here, "" if it can."""
    return {name: runtime().unavailable() for name, runtime in RUNTIMES.items()}


def open_session(
    model: Path, shapes: Shapes, *, runtime: str = "auto", precision: str = "auto", threads: int = 0
) -> Session:
    """Return a network that is ready to run.

    Parameters
    ----------
    model
        The fp32 file ``X.onnx``; ``X.fp16.onnx`` lies beside it for runtimes that want half precision, and
        ``X.check.npz`` with the outputs to compare with.
    shapes
        Of every input, by name; sides are multiples of :data:`models.spec.MULTIPLE`.
    runtime
        ``auto``: the first of :data:`RUNTIMES` that works here and passes the self-check. A name: that one or an error.
    precision
        ``auto``, ``bf16``, ``fp16`` or ``fp32``.
    threads
        On the CPU, for all sessions of this model and these shapes together. 0: all cores.

    Raises
    ------
    RuntimeUnavailable
        The runtime or precision asked for, or every runtime, cannot be used or computes wrongly.
    StageError
        The model is missing, or the shapes are not its inputs.
    """
    if not model.is_file():
        raise StageError(f"no network at {model}; cytoloop models list shows those that are installed")
    if runtime == "auto":
        session = _first(model, shapes, precision, threads)
    elif runtime in RUNTIMES:
        session = _opened(runtime, model, shapes, precision, threads)
        session.reason = f"asked for; {session.reason}"
    else:
        raise RuntimeUnavailable(f"no runtime is called '{runtime}'; known: auto, {', '.join(RUNTIMES)}")
    LOG.info("%s runs on %s (%s): %s", model.stem, session.runtime, session.precision, session.reason)
    RUNTIME.labels(model.stem, session.runtime, session.precision, session.reason).set(1)
    return session


def _first(model: Path, shapes: Shapes, precision: str, threads: int) -> Session:
    passed: list[str] = []
    for name in RUNTIMES:
        try:
            session = _opened(name, model, shapes, precision, threads)
        except RuntimeUnavailable as error:
            passed.append(f"{name}: {error}")
            continue
        before = f"; not {'; not '.join(passed)}" if passed else ""
        session.reason = f"first that works here; {session.reason}{before}"
        return session
    raise RuntimeUnavailable(f"no runtime can run {model.name} here: {'; '.join(passed)}")


def _opened(name: str, model: Path, shapes: Shapes, precision: str, threads: int) -> Session:
    """Open and verify one runtime; :class:`Session.reason` says what was compared."""
    runtime = RUNTIMES[name]()
    if why := runtime.unavailable():
        raise RuntimeUnavailable(why)
    session = runtime.open(model, shapes, precision, threads)
    session.reason = _verified(name, runtime, model, shapes, session.precision, threads)
    return session


def _verified(name: str, runtime: Runtime, model: Path, shapes: Shapes, precision: str, threads: int) -> str:
    """Compare once per process, model, runtime and precision."""
    key = (name, fingerprint(model), precision, threads)
    with _CHECKING:
        if key not in _VERIFIED:
            reference = RUNTIMES["onnxruntime"]()
            usable = name != "onnxruntime" and not reference.unavailable()
            _VERIFIED[key] = verify(
                model,
                lambda small: runtime.open(model, small, precision, threads),
                shapes,
                (lambda small: reference.open(model, small, "fp32", threads)) if usable else None,
            )
        return _VERIFIED[key]
