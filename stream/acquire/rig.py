"""The rig at work: frames out, commands in, and back to the base plan when the analysis is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stream.acquire.baseplan import BasePlan
from stream.acquire.begin import Beginning
from stream.acquire.deadman import DeadMan
from stream.acquire.desk import Desk
from stream.acquire.dose import DoseLedger
from stream.acquire.guard import OURS, Guard
from stream.acquire.lost import UNDO, Lost
from stream.acquire.meter import LightMeter, longest_ms, stays_open
from stream.acquire.patience import Patience, Unhurried
from stream.acquire.recent import Recent
from stream.acquire.spending import Spending
from stream.acquire.status import Status
from stream.acquire.teller import Teller
from stream.acquire.whereabouts import Whereabouts
from stream.clock import now_ns, wall_ns
from stream.command import Ack, Action, Cause, Command, Decision, SetInterval, Target
from stream.config import Configuration
from stream.errors import ConfigError, DriverError
from stream.facts.rig import RigFacts
from stream.frame import Ended, Frame, Gap
from stream.metrics import DISCONTINUITIES, FRAMES_LOST, FRAMES_RECEIVED, MESSAGES_REFUSED, QUEUE_DEPTH
from stream.stages import Driver, Readback
from stream.wire.codec import encode_fact, encode_frame, encode_gap
from stream.wire.control import ControlServer, Query, Ready, Request
from stream.wire.messages import Alive
from stream.wire.publish import LONGEST_END_S, Publisher

log = logging.getLogger(__name__)

_POLL_S = 0.05
_STATUS_NS = 500_000_000
_ANALYSIS = "analyse"
_END_S = 70.0
"""How long the end may take in all, whoever is slow; a supervisor waits for ten seconds more."""
_STEP_S = 5.0
"""How long a part of it waits for one who does nothing."""


class Rig:
    """Joins a driver, the publisher, the command desk and the facts.

    Two threads: :meth:`run` moves frames; another listens to the control port and watches over the analysis. The
    desk applies commands on a third.
    """

    def __init__(
        self, config: Configuration, driver: Driver, facts: RigFacts, publisher: Publisher, control: ControlServer
    ) -> None:
        self._config, self._driver, self._facts = config, driver, facts
        self._publisher, self._control = publisher, control
        self._patience = Patience(config, driver, publisher)
        self._recent = Unhurried() if self._patience.waits else Recent()
        self._base = BasePlan(config.plan)
        self._dead = DeadMan(round(config.limits.alive_timeout_s * 1e9), self._recent)
        self._dose = DoseLedger(config.dose, facts.dose(), config.plan.light_power, keep=facts.light)
        self._spending = Spending(config, self._dose, self._order, self._tell)
        self._meter = LightMeter(self._dose, self._spending)
        self._guard = Guard(config.limits, self._recent, Whereabouts(), self._dose, config.plan)
        slowest_s = (config.plan.interval_ms + config.plan.exposure_ms) / 1e3
        self._beginning = Beginning(driver)
        self._desk = Desk(
            self._beginning,
            self._guard,
            self._base,
            facts,
            self._answer,
            first_frame_timeout_s=max(2.0, 3 * slowest_s),
            on_applied=self._applied,
        )
        self._lost = Lost(
            config.limits,
            self._base,
            self._dose,
            self._desk.pausing,
            self._order,
            self._desk.close_to_feedback,
            self._tell,
        )
        self._ready: set[str] = set()
        self._all_ready = threading.Event()
        if not config.run.wait_for:
            self._all_ready.set()
        self._stop = threading.Event()
        self._stopped = threading.Event()
        """The hardware was stopped by command: its stream has an end to come to, whoever is behind."""
        self._senders: dict[str, list[Request]] = {}
        self._teller = Teller(control, publisher)
        self._offsets: dict[str, int] = facts.next_frames()
        self._status = Status(self._dose)
        self._status_ns = 0
        self._listener = threading.Thread(target=self._listen, name="control", daemon=True)

    @property
    def address(self) -> str:
        """Where the frames are to be had."""
        return self._publisher.address

    def listen(self) -> None:
        """Begin to hear the control port; nodes may report ready."""
        self._teller.start()
        self._desk.start()
        self._listener.start()

    def wait_ready(self, stop: threading.Event) -> set[str]:
        """Wait for the nodes of ``[run] wait_for``; return the ones still missing when time or patience ran out.

        The analysis is ready when it also listens: a word over the control port may overtake its link to the frames,
        and the first frames would be published to nobody.
        """
        wanted = set(self._config.run.wait_for)
        listening = wanted & {_ANALYSIS}
        deadline_ns = now_ns() + round(self._config.run.ready_timeout_s * 1e9)
        called_off = self._beginning.called_off
        while not stop.is_set() and not called_off.is_set() and now_ns() < deadline_ns:
            if self._all_ready.wait(_POLL_S) and self._publisher.wait_for(listening, _POLL_S):
                return set()
        return set() if called_off.is_set() else (wanted - self._ready) or listening

    def begin(self) -> bool:
        """Start the camera; False when a stop came first.

        Raises
        ------
        ConfigError
            The plan leads from where the stage stands to where ``[limits]`` lets nothing go.
        DriverError
            A field has had its light in an earlier start of this run, and the rig cannot start in the dark.
        """
        plan, said = self._config.plan, self._driver.describe()
        if wrong := self._guard.begin(said):
            raise ConfigError(f"[plan] leads where [limits] lets nothing go: {wrong}")
        light = said.get("light") or {}
        burst_ms = self._config.limits.max_burst_ms
        plan = plan.model_copy(update={"max_burst_ms": min(plan.max_burst_ms or burst_ms, burst_ms)})
        spent = self._dose.begin(
            stays_open=stays_open(self._config, light),
            exposure_ms=longest_ms(plan),
            now_ns=now_ns(),
            per_frame=said.get("decimate", 1) if plan.mode == "stream" else 1,
        )
        if spent:
            if self._config.dose.at_budget == "stop" or not light.get("power"):
                raise DriverError(
                    f"the light budget of {', '.join(spent)} is spent: raise [dose] budget_*, or begin anew"
                )
            log.warning("the light budget of %s is spent: the plan begins in the dark", ", ".join(spent))
            plan = plan.model_copy(update={"light_power": 0.0})
            self._dose.dark()
        begun = self._beginning.begin(plan)
        if begun and spent:
            self._spending.begun_dark(spent)
        return begun

    def run(self, stop: threading.Event) -> str:
        """Move frames until the stream ends; return why it did."""
        asked = False
        while True:
            if (stop.is_set() or self._stop.is_set()) and not asked:
                asked = True
                self._driver.stop()
            goes_on = asked or self._stopped.is_set() or self._patience.allows(_POLL_S)
            item = self._driver.next(_POLL_S) if goes_on else None
            match item:
                case Frame():
                    self._frame(item)
                case Gap():
                    self._gap(item)
                case Ended():
                    return item.reason
            self._desk.expire_waits()
            if now_ns() - self._status_ns > _STATUS_NS:
                self._tell_status()

    def close(self, reason: str) -> None:
        """Answer what is open, tell everyone that the stream ended, and close the ports; in :data:`_END_S` at most."""
        over_ns = now_ns() + round(_END_S * 1e9)

        def left_s(most_s: float) -> float:
            return min(most_s, max(0.0, (over_ns - now_ns()) / 1e9))

        self._desk.close()
        self._teller.flush(left_s(_STEP_S))
        self._publisher.send(encode_fact({"fact": "ended", "reason": reason}))
        if not self._publisher.finish(left_s(_STEP_S), longest_s=left_s(LONGEST_END_S)):
            log.warning("not every consumer took all that waited for it and said bye")
        self._stop.set()
        self._listener.join(left_s(_STEP_S))
        self._teller.close(left_s(_STEP_S))
        self._control.close()

    def _frame(self, frame: Frame) -> None:
        if offset := self._offsets.get(frame.field, 0):
            frame = replace(frame, frame=frame.frame + offset)
        self._recent.took(frame)
        self._base.took(frame)
        lit = self._meter.took(frame)
        self._facts.frame(frame, lit.power, lit.between_ms)
        stamps = replace(frame.stamps, t_publish_ns=now_ns())
        self._publisher.send(encode_frame(replace(frame, stamps=stamps)))
        FRAMES_RECEIVED.labels("acquire", frame.camera).inc()
        self._desk.took(frame)
        self._status.took(frame)

    def _gap(self, gap: Gap) -> None:
        DISCONTINUITIES.labels(gap.camera, gap.reason).inc()
        if gap.missing:
            FRAMES_LOST.labels("driver", gap.reason).inc(gap.missing)
        self._meter.missed(gap)
        self._facts.gap(gap)
        self._publisher.send(encode_gap(gap, run=self._config.run.name))
        log.warning("gap: %s %s (%d frames)", gap.reason, gap.detail, gap.missing)

    def _listen(self) -> None:
        while not self._stop.is_set():
            request = self._control.next(_POLL_S)
            try:
                if request is not None:
                    self._hear(request)
                self._lost.watch(self._dead.fault(now_ns()), now_ns())
                self._desk.expire_waits()
            except Exception:  # the thread's edge: a rig that hears no stop is the worst of all faults
                log.exception("on hearing %s", request)
                MESSAGES_REFUSED.labels("control", "internal").inc()

    def _hear(self, request: Request) -> None:
        match request.content:
            case Command() as command:
                if command.action.kind == "stop":
                    log.info("stop asked by %s", command.cause.origin)
                self._senders.setdefault(command.command_id, []).append(request)
                self._desk.receive(_honest(command, request.name))
            case Decision() as decision:
                self._control.reply(request, {"decided": self._decide(decision, request.name)})
            case Ready() as ready:
                self._ready.add(ready.node)
                if ready.node == _ANALYSIS and self._dead.ready(ready.instance, now_ns()):
                    self._lost.restarted()
                self._all_ready.set() if set(self._config.run.wait_for) <= self._ready else None
                self._publisher.send(encode_fact({"fact": "ready", "node": ready.node}))
            case Alive() as alive:
                self._dead.alive(alive.last_decided, now_ns())
            case Query(kind="status"):
                self._control.reply(request, self._status_now())
            case Query() as query:
                self._control.reply(request, {"error": f"this rig knows no query '{query.kind}'; ask for status"})

    def _answer(self, command: Command, ack: Ack) -> None:
        """Have an answer told to whoever asked and to everyone who watches, and note what it changes here."""
        senders = self._senders.pop(ack.command_id, []) if ack.state.final else self._senders.get(ack.command_id, [])
        self._teller.tell(command, ack, tuple(senders))
        if ack.state == "applied":
            self._note_applied(command, ack)
        elif ack.state.final:
            self._lost.settled(command, False, now_ns())
            self._spending.failed(command)

    def _decide(self, decision: Decision, name: str) -> str:
        if name == _ANALYSIS:
            return "the analysis cannot approve what it asked for"
        log.info("%s: %s by %s", decision.command_id, "approved" if decision.approve else "denied", decision.by)
        return self._desk.decide(decision)

    def _applied(self, command: Command, readback: Readback) -> None:
        """See what the hardware answered, before any frame shows it."""
        if command.action.kind == "stop":
            self._stopped.set()
        self._meter.applied(command, readback, now_ns())
        self._lost.settled(command, True, now_ns())

    def _note_applied(self, command: Command, ack: Ack) -> None:
        self._status.applied(command, ack)
        if command.command_id.startswith(f"{UNDO}/"):
            self._base.restored(command)
        self._spending.applied(command)
        if isinstance(command.action, SetInterval) and command.target.position is None:
            interval_ms = ack.readback.get("interval_ms")
            self._spending.interval_ms = self._config.plan.interval_ms if interval_ms is None else interval_ms

    def _order(self, action: Action, command_id: str, reason: str, target: Target | None = None) -> None:
        """Ask for something in the rig's own name."""
        cause = Cause(event_id=reason, origin="rig")
        whom = target or Target()
        self._desk.receive(
            Command(
                command_id=command_id,
                action=action,
                cause=cause,
                issued_wall_ns=wall_ns(),
                priority=1000,
                target=whom,
            )
        )

    def _tell(self, fact: str, data: Mapping[str, Any]) -> None:
        """Keep and publish what the rig found or did by itself."""
        self._facts.notice(fact, data)
        self._publisher.send(encode_fact({"fact": fact, **data}))

    def _tell_status(self) -> None:
        self._status_ns = now_ns()
        self._meter.burn(now_ns())
        status = self._status_now()
        QUEUE_DEPTH.labels("driver").set(status["backlog"])
        self._spending.export()
        self._publisher.send(encode_fact({"fact": "status", **status}))

    def _status_now(self) -> dict[str, Any]:
        return {
            "base_plan": self._lost.on,
            "shadow": self._config.limits.shadow,
            "approvals": self._desk.approvals(),
            "backlog": self._driver.backlog(),
            "ready": sorted(self._ready),
            "paused": bool(self._desk.pausing.by),
            **self._status.told(),
        }


def _honest(command: Command, name: str) -> Command:
    """Let nobody on the wire speak as the rig itself, and the analysis not as an operator."""
    origin = command.cause.origin
    if origin == "rig" or (origin in OURS and name == _ANALYSIS):
        cause = command.cause.model_copy(update={"origin": f"{name}, as '{origin}'"})
        return command.model_copy(update={"cause": cause})
    return command
