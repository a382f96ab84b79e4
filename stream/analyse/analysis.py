"""The analysis at work: frames in; labels, cells, tracks, events and commands out; one thread decides."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stream.analyse.chain import STAGES, Decision
from stream.analyse.commander import Commander
from stream.analyse.context import Contexts
from stream.analyse.denoised import Take
from stream.analyse.event_record import EventRecord
from stream.analyse.gather import Gather
from stream.analyse.kept import Keeper, Kept
from stream.analyse.pipeline import Drained, Failed, Pipeline
from stream.analyse.progress import Progress
from stream.analyse.restart import TakenUp
from stream.analyse.results import ResultFiles
from stream.analyse.schedule import schedule_of
from stream.clock import HOST, now_ns
from stream.config import Configuration
from stream.event import Event
from stream.facts.analysis import AnalysisFacts
from stream.frame import Frame, FrameRef, Gap, is_aside
from stream.metrics import CELLS_ALIVE, END_TO_END_SECONDS, EVENTS, FRAMES_RECEIVED, STAGE_ERRORS
from stream.stages import Moment
from stream.wire.codec import encode_cells, encode_events, encode_fact, encode_labels, encode_tracks
from stream.wire.control import ControlClient
from stream.wire.messages import Disconnected, EndOfStream, Lost, Reconnected
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber

log = logging.getLogger(__name__)

_POLL_S = 0.05


class Analysis:
    """Joins the frame link, the pipeline, the policies, the results and the facts.

    One thread receives, one per stage works, and the caller's thread of :meth:`run` decides: it alone publishes, asks
    policies, sends commands and says which frame was decided last. ``taken`` is what an earlier analysis of the run
    left: its closed events are recorded already and are sent with the first decision on their field.
    """

    def __init__(
        self,
        config: Configuration,
        frames: Subscriber,
        pipeline: Pipeline,
        commander: Commander,
        control: ControlClient,
        results: Publisher,
        facts: AnalysisFacts,
        files: ResultFiles | None,
        denoised: Sequence[Take] = (),
        taken: TakenUp | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._config, self._frames, self._pipeline = config, frames, pipeline
        self._commander, self._control, self._results = commander, control, results
        self._facts, self._files, self._denoised = facts, files, denoised
        self._record = EventRecord(facts)
        taken = taken or TakenUp()
        self._closed, self._keeper = list(taken.closed), keeper
        self._contexts = Contexts()
        channel = facts.known("segment_channel")
        self._gather = Gather(
            config.chain, lambda reason, ref: self._lost("gather", reason, 1, ref), channel, schedule_of(config)
        )
        self._open: dict[str, dict[str, None]] = {}
        for field, kept in taken.kept.items():
            self._contexts.load(field, kept.family)
            self._gather.take_up(kept)
            self._open[field] = dict.fromkeys(kept.open)
        self._progress = Progress()
        self._last: dict[str, Frame] = {}
        self._choices: dict[str, str] = {}
        self._receiver = threading.Thread(target=self._receive, name="receive", daemon=True)
        self._fault: Exception | None = None
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Decide until the stream of frames ends or ``stop`` is set; then close the open events and say goodbye.

        Where frames can no longer be taken because of a fault, what was taken is decided and the fault is raised: open
        events and kept states stay for the analysis that is started next.
        """
        self._stop = stop
        self._receiver.start()
        while True:
            output = self._pipeline.next(_POLL_S)
            match output:
                case Decision():
                    self._decide(output)
                case Failed():
                    self._lost(output.stage, "stage_error", 1, output.ref)
                    self._progress.failed(output.ref)
                case Drained():
                    break
            self._say_alive()
            self._note_answers()
        if self._fault is not None:
            self._record.catch_up()
            raise self._fault
        self._end_of_stream()

    def _receive(self) -> None:
        """Take frames to the end of their stream, and let :meth:`run` end after them whatever happens."""
        try:
            self._take_all()
            for moment in self._gather.flush():
                self._submit(moment)
        except Exception as error:  # the thread's edge: an analysis that has gone deaf must not go on as if it heard
            log.exception("frames can no longer be taken")
            STAGE_ERRORS.labels("receive", type(error).__name__).inc()
            self._fault = error
        finally:
            self._pipeline.drain()

    def _take_all(self) -> None:
        while not self._stop.is_set():
            item = self._frames.next(_POLL_S)
            match item:
                case Frame():
                    self._take(item)
                case Gap():
                    self._facts.gap(item)
                case Lost():
                    log.warning("lost %d %s of %s: %s", item.count, item.kind, item.camera, item.reason)
                    self._lost("wire", item.reason, item.count)
                case Disconnected() | Reconnected():
                    log.warning("%s", item)
                case EndOfStream():
                    log.info("end of stream: %s", item.reason)
                    break

    def _take(self, frame: Frame) -> None:
        FRAMES_RECEIVED.labels("analyse", frame.camera).inc()
        if is_aside(
            frame.field
        ):  # a command asked for it beside the plan: another place or plane than the chains follow
            self._progress.received(frame.ref)
            return
        for moment in self._gather.add(frame):
            self._submit(moment)
        self._progress.received(frame.ref)

    def _submit(self, moment: Moment) -> None:
        dropped = self._pipeline.submit(moment)
        if dropped is not None:
            self._lost("analyse", dropped.reason, 1, dropped.ref)

    def _lost(self, stage: str, reason: str, count: int, ref: FrameRef | None = None) -> None:
        self._facts.loss(stage, reason, count, ref=ref)
        self._results.send(encode_fact({"fact": "loss", "stage": stage, "reason": reason, "count": count}))

    def _decide(self, decision: Decision) -> None:
        moment = decision.moment
        frame = moment.frame
        if self._commander.asks:
            self._contexts.see(decision)
        events = [self._complete(event, decision) for event in decision.events]
        for event in events:
            self._say(event)
        self._commander.act_on([*events, *self._tick(decision)], frame)
        decided_ns = now_ns()
        self._progress.decided(frame.ref)
        self._last[frame.field] = frame
        same_host = frame.stamps.host == HOST
        if same_host:
            END_TO_END_SECONDS.observe((decided_ns - frame.stamps.t_pop_ns) / 1e9)
        CELLS_ALIVE.labels(frame.field).set(len(decision.segmentation.cells))
        for take in self._denoised:  # before its labels: the page shows them together
            take(moment)
        self._publish(decision, events, decided_ns)
        cells = decision.segmentation.cells if self._config.record.cells else None
        self._facts.decided(
            frame, decided_ns, same_host=same_host, missed=moment.missed, cells=cells, tracks=decision.tracks
        )
        if self._files is not None:
            self._files.decided(frame.field, frame.frame, decision.segmentation, decision.tracks, events)
        if frame.field not in self._choices:
            self._note_choice(frame.field)
        if decision.state and self._keeper is not None:
            self._keeper.keep(self._kept(decision))

    def _kept(self, decision: Decision) -> Kept:
        frame, stamps = decision.moment.frame, decision.moment.frame.stamps
        awaiting, family = tuple(self._open.get(frame.field, ())), self._contexts.save(frame.field)
        elapsed_s, step = decision.moment.elapsed_s, self._gather.step_of(frame.field)
        return Kept(frame.ref, stamps.host, stamps.t_pop_ns, elapsed_s, step, awaiting, family, decision.state)

    def _complete(self, event: Event, decision: Decision) -> Event:
        moment = decision.moment
        context = self._contexts.of(event, decision) if self._commander.asks else None
        return replace(event, ref=moment.frame.ref, elapsed_s=moment.elapsed_s, context=context)

    def _tick(self, decision: Decision) -> list[Event]:
        """Return the clock's event where a policy asks for it; it goes nowhere else."""
        return [self._contexts.tick(decision)] if self._commander.on_frames else []

    def _say(self, event: Event) -> None:
        EVENTS.labels(event.kind, event.status).inc()
        self._record.say(event)
        awaiting = self._open.setdefault(event.field, {})
        if event.status == "provisional":
            awaiting[event.event_id] = None
        else:
            awaiting.pop(event.event_id, None)

    def _note_choice(self, field: str) -> None:
        choice = self._pipeline.chains[field].choice
        self._choices[field] = choice
        self._facts.meta("segmenters", self._choices)
        self._facts.meta("segment_channel", self._gather.segment_channel)
        log.info("%s is segmented by %s", field, choice)

    def _publish(self, decision: Decision, events: Sequence[Event], decided_ns: int) -> None:
        frame = decision.moment.frame
        ref, stamps = frame.ref, frame.stamps
        send = self._results.send
        send(encode_labels(ref, decision.segmentation.labels, stamps))
        send(encode_cells(ref, decision.segmentation.cells, stamps))
        send(encode_tracks(ref, decision.tracks, stamps))
        send(encode_events(ref, [*self._take_closed(frame.field), *events], stamps))
        ms = {name: (end - begin) / 1e6 for name, begin, end in stamps.stages}
        told: dict[str, Any] = {
            "fact": "decided",
            "ms": {name: ms.get(name, 0.0) for name in STAGES},
            "latency_ms": (decided_ns - stamps.t_pop_ns) / 1e6 if stamps.host == HOST else None,
            "cells": len(decision.segmentation.cells),
            "waiting": self._pipeline.in_flight,
        }
        send(encode_fact(told, ref))

    def _take_closed(self, field: str) -> list[Event]:
        """Return the closed events of a field, once."""
        mine = [event for event in self._closed if event.field == field]
        self._closed = [event for event in self._closed if event.field != field]
        return mine

    def _say_alive(self) -> None:
        self._control.alive(*self._progress.settled(lambda: self._pipeline.in_flight))

    def _note_answers(self) -> None:
        while (ack := self._control.next_ack(0)) is not None:
            self._facts.answered(ack)

    def _end_of_stream(self) -> None:
        for field in sorted({event.field for event in self._closed}):  # fields that never came again
            closed = self._take_closed(field)
            if closed[0].ref is not None:
                self._results.send(encode_events(closed[0].ref, closed))
        for field, chain in self._pipeline.chains.items():
            last = self._last.get(field)
            events = [replace(event, ref=last.ref if last else None) for event in chain.finish()]
            for event in events:
                self._say(event)
            if self._files is not None:
                self._files.said(field, events)
            if events and last is not None:
                self._results.send(encode_events(last.ref, events, last.stamps))
        self._record.catch_up()
        self._note_answers()
        if self._keeper is not None:
            self._keeper.close(ended=True)
        if not self._results.finish(5.0):
            log.warning("not every viewer said bye within 5 s")
