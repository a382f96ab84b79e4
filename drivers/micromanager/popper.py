"""Stream mode: the thread that empties the core's circular buffer, for one epoch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pymmcore_plus import CMMCorePlus

from drivers.micromanager.cadence import Cadence
from drivers.micromanager.calls import DEVICE_ERRORS
from drivers.micromanager.core_clock import CoreClock
from drivers.micromanager.producer import Producer, stamps
from drivers.micromanager.timeline import Timeline
from stream.clock import now_ns
from stream.errors import DriverError
from stream.frame import STAGE_MOVING, Index

_POLL_S = 0.001
_POP_ERRORS = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Which of the camera's frames are time points, and how many are wanted."""

    decimate: int = 1
    frames: int | None = None
    latency_ms: float = 0.0

    def kept(self, begin: int, end: int) -> int:
        """Return how many of the camera's frames ``begin`` to ``end`` - 1 are time points.

        >>> Pace(decimate=3).kept(1, 7)
        2
        """
        return -(-end // self.decimate) + (-begin // self.decimate)


class Popper(threading.Thread):
    """Pops until told to finish and the buffer is empty, or the plan is complete, or the core fails.

    It never waits for the consumer: with a full queue it goes on to pop, so that the core cannot overflow unseen, and
    counts whole frames as lost.

    Parameters
    ----------
    core, producer, timeline
        Where images come from, where frames go, and how they were exposed.
    pace
        Decimation and number of time points.
    first_frame
        Number of the first time point.
    started_ns
        A moment before the sequence was started.
    on_exit
        Called from this thread as its last act.
    """

    def __init__(
        self,
        core: CMMCorePlus,
        producer: Producer,
        timeline: Timeline,
        pace: Pace,
        first_frame: int,
        started_ns: int,
        on_exit: Callable[[], None],
    ) -> None:
        super().__init__(name="popper", daemon=True)
        self._core = core
        self._producer = producer
        self._timeline = timeline
        self._pace = pace
        self._first_frame = first_frame
        self._clock = CoreClock(started_ns)
        self._on_exit = on_exit
        self._finish = threading.Event()
        self._image = 0
        self._first_image = 0
        self._empty_ns = started_ns
        self._cadence = Cadence()
        self._arrived_ns = self._idle_since_ns = started_ns
        self._errors = 0
        self.last_ns = started_ns
        """When the newest image was popped, or the sequence started."""
        self.failure: Exception | None = None

    def finish(self) -> None:
        """Deliver what the core still holds, then end."""
        self._finish.set()

    @property
    def next_frame(self) -> int:
        """Number of the time point that comes next."""
        return self._first_frame + self._pace.kept(self._first_image, self._image)

    @property
    def complete(self) -> bool:
        """Whether the plan has all its time points."""
        return self._pace.frames is not None and self.next_frame >= self._pace.frames

    def run(self) -> None:
        """Pop."""
        try:
            self._pop_all()
        except Exception as error:
            self.failure = error
            _log.exception("the thread that pops frames failed")
        finally:
            self._on_exit()

    def _pop_all(self) -> None:
        while not self.complete:
            # Read before the count: an image that comes in between is then found by one more look.
            finishing = self._finish.is_set()
            checked_ns = now_ns()
            popped = self._pop() if self._core.getRemainingImageCount() else None
            if popped is not None:
                self._take(*popped)
            elif finishing:
                return
            else:
                self._empty_ns = checked_ns
                self._finish.wait(_POLL_S)

    def _pop(self) -> tuple[NDArray[Any], Mapping[str, str], int] | None:
        """Pop one image; the buffer may have been cleared meanwhile, but not for ever."""
        try:
            pixels, metadata = self._core.popNextImageAndMD()
        except DEVICE_ERRORS as error:
            self._errors += 1
            if self._errors > _POP_ERRORS:
                raise DriverError(f"the core announces images that it does not give: {error}") from error
            return None
        self._errors = 0
        self.last_ns = now_ns()
        return pixels, dict(metadata), self.last_ns

    def _take(self, pixels: NDArray[Any], metadata: Mapping[str, str], popped_ns: int) -> None:
        earliest_ns, latest_ns = self._mapped(metadata, popped_ns)
        image = int(metadata.get("ImageNumber", self._image))
        consecutive = image == self._image
        self._number(image)
        kept = image % self._pace.decimate == 0
        frame = self.next_frame
        self._image = image + 1
        begin_ns = self._exposure_began_ns(earliest_ns, consecutive)
        if not kept:
            self._producer.leave_out()
        elif self._pace.frames is None or frame < self._pace.frames:
            self._deliver(pixels, metadata, frame, (begin_ns, latest_ns, popped_ns))

    def _number(self, image: int) -> None:
        """Say which images never came."""
        if image < self._image:
            self._producer.gap(0, 0, "restart", f"image numbers fell from {self._image} to {image}")
            self._first_frame, self._first_image = self.next_frame, image
        elif missing := self._pace.kept(self._image, image):
            self._producer.gap(0, missing, "overflow", f"images {self._image} to {image - 1} never left the core")
        self._image = image

    def _mapped(self, metadata: Mapping[str, str], popped_ns: int) -> tuple[int, int]:
        elapsed_ms = metadata.get("ElapsedTime-ms")
        if elapsed_ms is None:
            return self._empty_ns, 0
        elapsed_ns = round(float(elapsed_ms) * 1e6)
        self._clock.see(elapsed_ns, popped_ns, self._empty_ns)
        return self._clock.earliest_ns(elapsed_ns), self._clock.latest_ns(elapsed_ns)

    def _exposure_began_ns(self, earliest_ns: int, consecutive: bool) -> int:
        """Return the earliest time at which this exposure can have begun: after the one before had ended."""
        complete_ns = earliest_ns - round(self._pace.latency_ms * 1e6)
        longest_ns = self._timeline.longest_exposure_ns(complete_ns)
        late_ns = self._cadence.late_ns(complete_ns - self._arrived_ns, longest_ns) if consecutive else 0
        begin_ns = complete_ns - late_ns - longest_ns
        if consecutive:
            begin_ns = max(begin_ns, self._idle_since_ns)
        self._arrived_ns, self._idle_since_ns = complete_ns, complete_ns - late_ns
        return begin_ns

    def _deliver(
        self, pixels: NDArray[Any], metadata: Mapping[str, str], frame: int, times_ns: tuple[int, int, int]
    ) -> None:
        begin_ns, camera_ns, popped_ns = times_ns
        if not self._producer.has_room():
            self._producer.gap(0, 1, "queue", "frames waited for a consumer that did not take them")
            return
        seen = self._timeline.exposed(begin_ns, camera_ns or popped_ns)
        marks = {STAGE_MOVING: True} if seen.moving else {}
        if seen.mixed:
            marks["changed_during_exposure"] = True
        self._producer.deliver(
            pixels,
            Index(t=frame),
            seen.state,
            stamps(camera_ns, "core" if camera_ns else "none", popped_ns),
            seen.commands,
            {**metadata, **marks},
        )
