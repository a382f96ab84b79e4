"""A thread per stage with a bounded queue before each: moments flow through in order and every loss is counted."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from stream.analyse.chain import STAGES, Chain, Decision, Work, run_stage
from stream.analyse.entrance import Entrance, after_gap
from stream.analyse.faults import Faults
from stream.clock import Clock, now_ns
from stream.config import ChainSettings
from stream.frame import Frame, FrameRef
from stream.metrics import FRAMES_LOST, QUEUE_DEPTH, STAGE_SECONDS
from stream.stages import Moment


@dataclass(frozen=True, slots=True)
class Failed:
    """A moment that a stage could not take; its frame is lost and the stream goes on."""

    ref: FrameRef
    stage: str
    error: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A moment that no stage saw, and why."""

    ref: FrameRef
    reason: str


@dataclass(frozen=True, slots=True)
class Drained:
    """Everything that was submitted has come out."""


@dataclass(slots=True)
class _Item:
    work: Work
    chain: Chain
    failed: Failed | None = None


Output = Decision | Failed | Drained


class Pipeline:
    """Runs the chains of all fields, one thread per stage.

    Results come out of :meth:`next` in the order in which moments went in. A stage that raises loses that one moment:
    it is counted and passed on as :class:`Failed`, and the stages after it are not run on it. Whatever is lost on the
    way is missed by the next moment of its field, in every stage that did not see it. ``keeps`` says after which
    moments the decision holds the chain's state.
    """

    def __init__(
        self,
        settings: ChainSettings,
        make_chain: Callable[[str], Chain] | None = None,
        clock: Clock = now_ns,
        keeps: Callable[[Moment], bool] = lambda moment: False,
    ) -> None:
        self._settings = settings
        self._make = make_chain or (lambda name: Chain(settings))
        self._chains: dict[str, Chain] = {}
        self._clock, self._keeps = clock, keeps
        self._entrance = Entrance(settings.queue, drops=settings.overload == "drop_oldest")
        self._queues: list[queue.Queue[_Item | None]] = [queue.Queue(settings.queue) for _ in STAGES]
        self._owed: list[Counter[str]] = [Counter() for _ in STAGES]
        self._faults = Faults()
        self._count_lock = threading.Lock()
        self._in_flight = 0
        self._threads = [
            threading.Thread(target=self._run, args=(place, name), name=f"stage-{name}", daemon=True)
            for place, name in enumerate(STAGES)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def chains(self) -> dict[str, Chain]:
        """The chains by field, as far as fields have been seen."""
        return self._chains

    @property
    def in_flight(self) -> int:
        """Moments that went in and have not come out of :meth:`next`."""
        return self._in_flight

    def submit(self, moment: Moment) -> Dropped | None:
        """Put a moment before the first stage. May wait, by policy.

        Returns
        -------
        Dropped or None
            What was lost by it, and counted: the moment itself (``deadline``), or an older one that had to make room
            (``overload``).
        """
        if self._late(moment.frame):
            self._entrance.leave_out(moment)
            return _dropped(moment, "deadline")
        name = moment.frame.field
        if name not in self._chains:
            self._chains[name] = self._make(name)
        self._count(1)
        older = self._entrance.put(moment)
        if older is None:
            return None
        self._count(-1)
        return _dropped(older, "overload")

    def next(self, timeout_s: float) -> Output | None:
        """Return the next result, or None when none came in time."""
        try:
            item = self._queues[-1].get(timeout=timeout_s)
        except queue.Empty:
            return None
        if item is None:
            return Drained()
        self._count(-1)
        return item.failed or item.work.decision()

    def drain(self) -> None:
        """Say that nothing more comes; :meth:`next` ends with :class:`Drained` once all is out."""
        self._entrance.close()

    def _count(self, step: int) -> None:
        with self._count_lock:
            self._in_flight += step

    def _late(self, frame: Frame) -> bool:
        deadline_ms = self._settings.deadline_ms
        return deadline_ms is not None and (self._clock() - frame.stamps.t_pop_ns) / 1e6 > deadline_ms

    def _run(self, place: int, name: str) -> None:
        waiting = self._queues[place - 1].qsize if place else self._entrance.__len__
        depth, seconds = QUEUE_DEPTH.labels(name), STAGE_SECONDS.labels(name)
        while (item := self._take(place)) is not None:
            depth.set(waiting())
            if item.failed is None:
                self._step(item, place, name)
            if item.failed is None:
                _, begin, end = item.work.moment.frame.stamps.stages[-1]
                seconds.observe((end - begin) / 1e9)
            self._queues[place].put(item)
        self._queues[place].put(None)

    def _take(self, place: int) -> _Item | None:
        if place:
            return self._queues[place - 1].get()
        moment = self._entrance.take()
        return None if moment is None else _Item(Work(moment, self._keeps(moment)), self._chains[moment.frame.field])

    def _step(self, item: _Item, place: int, name: str) -> None:
        _, stage = item.chain.stages()[place]
        owed, field = self._owed[place], item.work.moment.frame.field
        item.work.moment = after_gap(item.work.moment, owed.pop(field, 0))
        try:
            run_stage(name, stage, item.work)
        except Exception as error:  # a stage is a thread's edge: user code, any fault; the run must go on
            ref = item.work.moment.frame.ref
            self._faults.tell(name, f"failed on {ref}", error)
            FRAMES_LOST.labels(name, "stage_error").inc()
            owed[field] = 1 + item.work.moment.missed
            item.failed = Failed(ref, name, f"{type(error).__name__}: {error}")
            return
        if item.work.keep:
            self._keep(item, place, name)

    def _keep(self, item: _Item, place: int, name: str) -> None:
        try:
            item.chain.keep(place, item.work)
        except Exception as error:  # the same edge: the frame is decided all the same
            self._faults.tell(name, "cannot save its state", error)


def _dropped(moment: Moment, reason: str) -> Dropped:
    FRAMES_LOST.labels("analyse", reason).inc()
    return Dropped(moment.frame.ref, reason)
