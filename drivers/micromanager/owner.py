"""The one thread that owns the core: it takes calls from an inbox, and between them does what is due."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from stream.errors import DriverError

Result = TypeVar("Result")
Due = Callable[[], float]
"""Does what is due and returns how many seconds may pass until it must be called again."""

Gate = Callable[[Callable[[], None]], None]
"""Runs a job now, or keeps it and runs it later in the same thread."""

_IDLE_S = 1.0
_INBOX = 256
_log = logging.getLogger(__name__)


def at_once(job: Callable[[], None]) -> None:
    """Let a job run now."""
    job()


class Owner(threading.Thread):
    """Runs every call to the core, one after the other.

    ``due`` is called after each item of the inbox and when its time has come.
    """

    def __init__(self) -> None:
        super().__init__(name="core-owner", daemon=True)
        self._inbox: queue.Queue[Callable[[], None] | None] = queue.Queue(_INBOX)
        self._failed: Callable[[Exception], None] = lambda error: None
        self.due: Due = lambda: _IDLE_S

    def ask(self, call: Callable[[], Result], timeout_s: float, gate: Gate = at_once) -> Result:
        """Run ``call`` in this thread, when ``gate`` lets it, and return its result or raise its error.

        Raises
        ------
        DriverError
            There was no answer in time. A call that has not begun by then never will.
        """
        answer: Future[Result] = Future()
        if not self.is_alive():
            raise DriverError("the driver is not open")
        if threading.current_thread() is self:
            return call()

        def job() -> None:
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(call())
                except BaseException as error:
                    answer.set_exception(error)

        self.post(lambda: gate(job))
        try:
            return answer.result(timeout_s)
        except TimeoutError:
            state = "it had not begun and was withdrawn" if answer.cancel() else "it may still take effect"
            raise DriverError(f"the core gave no answer within {timeout_s:.0f} s; {state}") from None

    def post(self, job: Callable[[], None]) -> None:
        """Run ``job`` in this thread soon; returns at once."""
        self._inbox.put(job)

    def wake(self) -> None:
        """Have ``due`` called now."""
        self.post(lambda: None)

    def on_failure(self, failed: Callable[[Exception], None]) -> None:
        """Have ``failed`` called when something posted, or due, raises."""
        self._failed = failed

    def close(self, timeout_s: float) -> None:
        """End this thread after what it was told before."""
        if self.is_alive():
            self._inbox.put(None)
            if threading.current_thread() is not self:
                self.join(timeout_s)

    def run(self) -> None:
        """Take from the inbox until closed."""
        wait_s = _IDLE_S
        while True:
            try:
                job = self._inbox.get(timeout=max(wait_s, 0.0)) if wait_s > 0 else self._inbox.get_nowait()
            except queue.Empty:
                pass
            else:
                if job is None:
                    break
                self._guarded(job)
            wait_s = self._guarded(self.due) or 0.0
        self._answer_latecomers()

    def _answer_latecomers(self) -> None:
        """Run what was asked while this thread was told to end, so that nobody waits for an answer in vain."""
        while not self._inbox.empty():
            job = self._inbox.get_nowait()
            if job is not None:
                self._guarded(job)

    def _guarded(self, call: Callable[[], Result]) -> Result | None:
        try:
            return call()
        except Exception as error:
            _log.exception("the thread that owns the core failed")
            self._failed(error)
            self.due = lambda: _IDLE_S
            return None
