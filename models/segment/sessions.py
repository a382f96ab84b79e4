"""The networks that are ready to run in this process: one for each model and shape, for all fields.

A throw-away chain of the warm-up opens what the live one uses, so what was opened last stays open. A network that
failed opens itself anew at a later frame; see :mod:`models.runtime.lasting`.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from models.runtime import Session, open_session
from stream.errors import CytoloopError

LOG = logging.getLogger(__name__)
KEPT = 4
"""Networks that stay open in a process without a user. One more lets go of the one that was asked for longest ago: it
closes with the last field that looks through it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which network, on what, for inputs of which sides."""

    model: Path
    runtime: str
    precision: str
    shape: tuple[int, int]


@dataclass(slots=True)
class Ready:
    """An open network. Its outputs are valid until its next run: hold ``lock`` from the run until they were read."""

    session: Session
    lock: threading.Lock = field(default_factory=threading.Lock)


_READY: OrderedDict[Wanted, Ready] = OrderedDict()
_OPENING = threading.Lock()


def ready(wanted: Wanted) -> Ready:
    """Return the network, opened if nobody has yet.

    Raises
    ------
    RuntimeUnavailable
        The runtime or precision asked for cannot be used here.
    StageError
        The model is missing or no network of ours.
    """
    with _OPENING:
        found = _READY.get(wanted)
        if found is None:
            rows, columns = wanted.shape
            shapes = {"frames": (1, 2, rows, columns), "offset": (1, 2), "scale": (1, 2)}
            session = open_session(wanted.model, shapes, runtime=wanted.runtime, precision=wanted.precision)
            found = _READY[wanted] = Ready(session)
        _READY.move_to_end(wanted)
        while len(_READY) > KEPT:
            _READY.popitem(last=False)
        return found


def open_ahead(wanted: Wanted) -> None:
    """Begin to open a network that will be wanted soon, in a thread of its own; :func:`ready` waits for it."""
    threading.Thread(target=_opened, args=(wanted,), name="open-network", daemon=True).start()


def _opened(wanted: Wanted) -> None:
    try:
        ready(wanted)
    except CytoloopError as error:  # who wants it is told the same when it is
        LOG.warning("%s: cannot be opened for %d × %d px: %s", wanted.model.name, *wanted.shape, error)


def forget() -> None:
    """Let go of every network; one that is in use lives until its user is done."""
    with _OPENING:
        _READY.clear()
