"""Chooses what runs a network here, proves that it computes rightly, and says what was chosen and why."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from models.runtime.face import Face, face
from models.runtime.lasting import LastingSession
from models.runtime.registry import REFERENCE, RUNTIMES, Runtime
from models.runtime.selfcheck import Open, example, stored_outputs, verify
from models.runtime.session import Session, Shapes
from models.runtime.shared import fingerprint
from stream.errors import RuntimeUnavailable, StageError
from stream.metrics import RUNTIME

LOG = logging.getLogger(__name__)
_VERIFIED: dict[tuple[str, str, int, str, str], str] = {}
_MOST_SAID = 300
"""Characters of a vendor's message that are passed on; the log has all of it."""
_CHECKING = threading.Lock()
_SHOWN: dict[str, tuple[str, str, str, str]] = {}
"""By model: the labels of its metric."""
_SHOWING = threading.Lock()


def available() -> Mapping[str, str]:
    """Return for each runtime why it cannot be used here, "" if it can be asked for."""
    return {name: runtime().unavailable() for name, runtime in RUNTIMES.items()}


def open_session(
    model: Path, shapes: Shapes, *, runtime: str = "auto", precision: str = "auto", threads: int = 0
) -> Session:
    """Return a network that is ready to run, and is opened anew after a run that failed.

    Each runtime computes a small picture first, which is compared with stored or reference outputs: once for each
    model, runtime and precision of a process. One that is not installed, cannot take the model or computes wrongly is
    passed by with its reason, or, if it was asked for by name, is an error.

    Parameters
    ----------
    model
        The fp32 file ``X.onnx``; ``X.fp16.onnx`` lies beside it for runtimes that want half precision, and
        ``X.check.npz`` with the outputs to compare with.
    shapes
        Of every input, by name.
    runtime
        ``auto``: the first of :data:`models.runtime.registry.RUNTIMES` that works here; or a name of these.
    precision
        ``auto``: the fastest that the runtime computes in here; or ``bf16``, ``fp16``, ``fp32``.
    threads
        On the CPU, for all sessions of this model and these shapes together. 0: all cores.

    Raises
    ------
    RuntimeUnavailable
        What was asked for cannot be used here; for ``auto``: nothing can.
    StageError
        The model is missing or torn, or the shapes are not its inputs'.
    """
    if not model.is_file():
        raise StageError(f"no network at {model}; cytoloop models list shows those that are installed")
    known = face(model)
    ordered = known.ordered(shapes)
    opening = _Opening(model, known, ordered, precision, threads)
    return LastingSession(partial(_chosen, opening, model, runtime), ordered)


def _chosen(opening: _Opening, model: Path, runtime: str) -> Session:
    """Open what was asked for, and say so in the log and to who watches the metrics."""
    if runtime == "auto":
        session = opening.first()
    elif runtime in RUNTIMES:
        session = opening.one(runtime)
        session.reason = f"asked for; {session.reason}"
    else:
        raise RuntimeUnavailable(f"no runtime is called '{runtime}'; known: auto, {', '.join(RUNTIMES)}")
    LOG.info("%s runs on %s (%s): %s", model.stem, session.runtime, session.precision, session.reason)
    _show(model.stem, (session.runtime, session.precision, session.reason))
    return session


def _show(model: str, choice: tuple[str, str, str]) -> None:
    """Export the newest choice for a model, and that one alone."""
    labels = (model, *choice)
    with _SHOWING:
        earlier = _SHOWN.get(model, labels)
        if earlier != labels:
            RUNTIME.remove(*earlier)
        _SHOWN[model] = labels
        RUNTIME.labels(*labels).set(1)


class _Opening:
    """What is opened, for one runtime after the other."""

    def __init__(self, model: Path, known: Face, shapes: Shapes, precision: str, threads: int) -> None:
        self._model, self._face, self._shapes = model, known, shapes
        self._precision, self._threads = precision, threads

    def first(self) -> Session:
        """Return the first runtime that works, with why those before it do not."""
        passed: list[str] = []
        for name, runtime in RUNTIMES.items():
            if why := runtime().not_automatic():
                passed.append(f"{name}: {why}")
                continue
            try:
                session = self.one(name)
            except RuntimeUnavailable as error:
                passed.append(f"{name}: {error}")
                continue
            session.reason = "; not ".join([f"first that works here; {session.reason}", *passed])
            return session
        raise RuntimeUnavailable(f"no runtime can run {self._model.name} here: {'; '.join(passed)}")

    def one(self, name: str) -> Session:
        """Return a verified session of one runtime; its reason says how it was opened and what was compared."""
        runtime = RUNTIMES[name]()
        if why := runtime.unavailable():
            raise RuntimeUnavailable(f"{name} cannot be used here: {why}")
        try:
            session = self._open(runtime, self._precision, self._shapes)
            try:
                verified = self._verified(name, runtime, session.precision)
            except BaseException:
                session.close()
                raise
            session.reason = "; ".join(filter(None, (session.reason, verified)))
        except RuntimeUnavailable:
            raise
        except Exception as error:  # a vendor's library may raise anything about a model or a machine that it dislikes
            LOG.warning("%s cannot run %s", name, self._model.name, exc_info=True)
            said = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_SAID]
            raise RuntimeUnavailable(f"{name} cannot run {self._model.name}: {said}; choose another runtime") from error
        return session

    def _verified(self, name: str, runtime: Runtime, precision: str) -> str:
        """Compare, once in a process."""
        stored = stored_outputs(self._model)
        files = (fingerprint(self._model), fingerprint(stored) if stored.is_file() else "")
        key = (name, precision, self._threads, *files)
        with _CHECKING:
            if key not in _VERIFIED:
                shown = example(self._model, self._face, self._shapes, self._reference(name))
                _VERIFIED[key] = verify(partial(self._open, runtime, precision), self._face, shown)
            return _VERIFIED[key]

    def _reference(self, name: str) -> Open | None:
        """Return what opens the reference runtime, None if it is itself under test or not installed."""
        reference = RUNTIMES[REFERENCE]()
        return None if name == REFERENCE or reference.unavailable() else partial(self._open, reference, "fp32")

    def _open(self, runtime: Runtime, precision: str, shapes: Shapes) -> Session:
        return runtime.open(self._model, shapes, precision, self._threads)
