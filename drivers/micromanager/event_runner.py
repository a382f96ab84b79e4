"""MDA mode: the thread in which pymmcore-plus runs events, one at a time."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pymmcore_plus import CMMCorePlus
from useq import MDAEvent

from stream.clock import now_ns
from stream.errors import DriverError

_LOOK_S = 0.05
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """An image as the runner announced it."""

    pixels: NDArray[Any]
    event: MDAEvent
    metadata: Mapping[str, Any]
    camera_ns: int
    popped_ns: int


class EventRunner:
    """Runs events on the core's MDA runner and says when each is done, with the images that it gave.

    The runner's own iterator is the clock of it: when it asks for the next event, the one before is done, with or
    without an image, so that a failed snap is known at once.

    Parameters
    ----------
    core
        Its engine is told to leave restoring of positions alone, and to sequence nothing but what comes as one event.
    wake
        Called in the runner's thread when :meth:`take_done` or :meth:`take_death` has something; must only enqueue.
    """

    def __init__(self, core: CMMCorePlus, wake: Callable[[], None]) -> None:
        self._core = core
        self._wake = wake
        self._done: deque[tuple[Arrival, ...]] = deque()
        self._deaths: deque[str] = deque()
        self._events: queue.Queue[MDAEvent | None] = queue.Queue(1)
        self._closing = threading.Event()
        self._arrivals: list[Arrival] = []
        self._corrections: dict[int | None, float] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to wait for events.

        Raises
        ------
        DriverError
            The thread of the run before is still alive: a second run would resurrect it.
        """
        if self.alive:
            raise DriverError("the run before has not ended; a second one cannot begin")
        engine = self._core.mda.engine
        if engine is not None:
            engine.use_hardware_sequencing = False
            # It would drive the stage back to where the run began.
            engine.restore_initial_state = False
        self._closing.clear()
        self._corrections = dict(self._corrections)
        self._events = queue.Queue(1)
        self._arrivals.clear()
        self._core.mda.events.frameReady.connect(self._frame_ready)
        self._thread = threading.Thread(target=self._run, name="mda-runner", daemon=True)
        self._thread.start()

    def submit(self, event: MDAEvent) -> None:
        """Have one event run; the one before must be done."""
        self._events.put_nowait(event)

    def close(self, timeout_s: float) -> bool:
        """End the run after its current event; False: the thread still hangs in the core."""
        self._closing.set()
        with suppress(queue.Full):
            self._events.put_nowait(None)
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                return False
            self._core.mda.events.frameReady.disconnect(self._frame_ready, missing_ok=True)
            self._thread = None
        return True

    def take_done(self) -> tuple[Arrival, ...] | None:
        """Return what the event that is done gave, once; None: no event is done."""
        return self._done.popleft() if self._done else None

    def take_death(self) -> str | None:
        """Return why the run ended unasked, once."""
        return self._deaths.popleft() if self._deaths else None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        reason = "the run of events was cancelled from outside"
        try:
            self._core.mda.run(self._source())
        except Exception as error:
            _log.exception("the run of events failed")
            reason = f"the run of events failed: {error}"
        if not self._closing.is_set():
            self._deaths.append(reason)
            self._wake()

    def _source(self) -> Iterator[MDAEvent]:
        """Yield events until closed; never waits without end, so that the thread can always be joined."""
        # The engine begins each run without the corrections of focus that an autofocus found in the one before.
        corrections = getattr(self._core.mda.engine, "_z_correction", {})
        corrections.update(self._corrections)
        self._corrections = corrections
        while not self._closing.is_set():
            try:
                event = self._events.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if event is None:
                continue
            yield event
            arrivals = tuple(self._arrivals)
            self._arrivals.clear()
            self._done.append(arrivals)
            self._wake()

    def _frame_ready(self, pixels: NDArray[Any], event: MDAEvent, metadata: Mapping[str, Any]) -> None:
        popped_ns = now_ns()
        began_ns = popped_ns - round(self._core.mda.seconds_elapsed() * 1e9)
        camera_ns = began_ns + round(float(metadata["runner_time_ms"]) * 1e6)
        self._arrivals.append(Arrival(pixels, event, metadata, min(camera_ns, popped_ns), popped_ns))
