"""A session that outlives its failures: one bad frame must not end a night."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from models.runtime.session import Floats, Session, Shapes
from stream.errors import StageError

LOG = logging.getLogger(__name__)
REOPENED = 3
"""Times in a row that a network is opened anew after a run that failed; then it is given up."""


class LastingSession:
    """A :class:`models.runtime.session.Session` whose network is opened anew after a run that failed.

    After a failure nobody knows what a GPU still holds, so what failed is closed, with any runtime: the frame is an
    error, and the next one opens the network again. Inputs that break the rules are their sender's failure, and change
    nothing.

    Parameters
    ----------
    open_
        Opens the network; with ``auto``, something else may run it the next time.
    shapes
        What it is opened for, in the order of its inputs.
    """

    def __init__(self, open_: Callable[[], Session], shapes: Shapes) -> None:
        self._open, self._shapes = open_, [tuple(shape) for shape in shapes.values()]
        self._failed, self._why = 0, ""
        self._closed = False
        self._session: Session | None = None
        self._take()

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        """Return the outputs; see :meth:`models.runtime.session.Session.run`.

        Raises
        ------
        StageError
            As there; or the network cannot be opened again, or failed each time after it was.
        """
        session = self._usable()
        try:
            outputs = session.run(*inputs)
        except StageError as error:
            if self._are_sound(inputs):
                self._drop(session, error)
            raise
        self._failed = 0
        return outputs

    def close(self) -> None:
        """Let go of the network; it is not opened again."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _usable(self) -> Session:
        if self._closed:
            raise StageError(f"{self.runtime}: the session was closed")
        if self._session is not None:
            return self._session
        if self._failed > REOPENED:
            raise StageError(
                f"{self.runtime} ({self.precision}) failed each time after it was opened anew, {REOPENED} times in a "
                f"row, the last time with: {self._why}. It is not opened again: start this node anew, or choose "
                "another runtime or precision"
            )
        try:
            session = self._take()
        except StageError as error:
            self._failed, self._why = self._failed + 1, str(error)
            raise
        LOG.info("opened anew after a failure: %s (%s): %s", self.runtime, self.precision, self.reason)
        return session

    def _take(self) -> Session:
        session = self._session = self._open()
        self.runtime, self.precision, self.reason = session.runtime, session.precision, session.reason
        return session

    def _drop(self, session: Session, error: StageError) -> None:
        self._failed, self._why = self._failed + 1, str(error)
        LOG.warning("%s (%s) failed and is closed: %s", self.runtime, self.precision, error)
        self._session = None
        session.close()

    def _are_sound(self, inputs: tuple[Floats, ...]) -> bool:
        """Say whether the inputs keep the rules; looked at only after a failure."""
        return [one.shape for one in inputs] == self._shapes and all(
            one.dtype == np.float32 and one.flags.c_contiguous and bool(np.isfinite(one).all()) for one in inputs
        )
