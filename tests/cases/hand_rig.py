"""A small rig that a test moves by hand: it does what it is told, and keeps account of what really happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from useq import AcquireImage

from stream import command as c
from stream.acquire.baseplan import BasePlan
from stream.acquire.desk import Desk
from stream.acquire.dose import DoseLedger
from stream.acquire.guard import Guard
from stream.acquire.meter import LightMeter
from stream.acquire.recent import Recent
from stream.acquire.spending import Spending
from stream.acquire.whereabouts import Whereabouts
from stream.clock import FakeClock, wall_ns
from stream.config import CameraSettings, Configuration, PlanSettings
from stream.errors import DriverError, Refused
from stream.facts.rig import RigFacts
from stream.frame import Ended, Frame, Gap, Stamps, field_name
from stream.stages import Readback, StillGood, always

CAMERA = "cam"


@dataclass
class HandDriver:
    """A stage, a light, a shutter and a camera; frames come when a test exposes them.

    ``light_ms`` is the light that each field really had; ``ways_um`` are all ways that the stage went.
    """

    clock: Callable[[], int]
    stays_open: bool = False
    stage_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    exposure_ms: float = 10.0
    interval_ms: float = 100.0
    power: float = 0.5
    is_on: bool = True
    paused: bool = False
    stopped: bool = False
    applied: list[str] = field(default_factory=list)
    light_ms: dict[str, float] = field(default_factory=dict)
    ways_um: list[tuple[tuple[float, float, float], tuple[float, float, float]]] = field(default_factory=list)
    exposures_ms: list[float] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)
    positions: int = 1
    faults: dict[str, Exception] = field(default_factory=dict)
    frame_ms: float | None = None
    """How often a frame comes by itself; None: when a test exposes one."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0
        self._shown: list[str] = []
        self._frames: list[Frame] = []
        self._lit_ns = self._exposed_ns = self.clock()
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = threading.Event()
        self.darkened = threading.Event()

    def open(self, settings: CameraSettings, *, run: str, session: str, first_epoch: int = 0) -> None:
        """Nothing to open."""

    def describe(self) -> Mapping[str, Any]:
        light = {"shutter": "S", "auto": not self.stays_open, "power": "L.Power"}
        return {"commands": c.ACTION_KINDS, "refused": {}, "light": light}

    def start(self, plan: PlanSettings) -> None:
        self.exposure_ms, self.interval_ms = plan.exposure_ms, plan.interval_ms
        self.power = self.power if plan.light_power is None else plan.light_power

    def next(self, timeout_s: float) -> Frame | Gap | Ended | None:
        if self.frame_ms is not None and (self.clock() - self._exposed_ns) / 1e6 >= self.frame_ms:
            self._exposed_ns = self.clock()
            self.expose()
        with self._lock:
            if self._frames:
                return self._frames.pop(0)
        if self.stopped:
            return Ended("stopped")
        threading.Event().wait(min(timeout_s, 0.01))
        return None

    def apply(self, command: c.Command, still_good: StillGood = always) -> Readback:
        self.at_gate.set()
        assert self.gate.wait(20)
        still_good()
        action = command.action
        if fault := self.faults.get(action.kind):
            raise fault
        with self._lock:
            self._burn()
            values = self._do(action, command.command_id)
            self.applied.append(command.command_id)
            takes_frame = not isinstance(action, c.Pause | c.Stop)
            if takes_frame:
                self._shown.append(command.command_id)
        return Readback(values, takes_frame=takes_frame, device_ms=1.0)

    def darken(self) -> None:
        self._burn()
        self.is_on = False
        self.darkened.set()

    def backlog(self) -> int:
        return len(self._frames)

    def stop(self) -> None:
        self._burn()
        self.stopped, self.is_on = True, False

    def expose(self) -> Frame | None:
        """Take a frame; it is also what :meth:`next` returns."""
        with self._lock:
            if self.paused or self.stopped:
                return None
            frame = self._take(self.exposure_ms)
            self._frames.append(frame)
            return frame

    def _do(self, action: c.Action, command_id: str) -> Mapping[str, Any]:  # noqa: PLR0911  a table of what it can
        match action:
            case c.SetExposure():
                self.exposure_ms = action.exposure_ms
                self.exposures_ms.append(action.exposure_ms)
                return {"exposure_ms": action.exposure_ms}
            case c.SetInterval():
                self.interval_ms = 100.0 if action.interval_ms is None else action.interval_ms
                return {"interval_ms": self.interval_ms}
            case c.SetLight():
                self.power = self.power if action.power is None else action.power
                self.is_on = self.is_on if action.on is None else action.on
                self.powers.append(self.power)
                return {"power": self.power, "on": self.is_on}
            case c.MoveStage():
                self._move(action.x_um, action.y_um, action.z_um)
                return {"stage_um": self.stage_um}
            case c.Recentre():
                self._move(*action.target_um, None)
                return {"stage_um": self.stage_um}
            case c.Acquire():
                self._sequence(action, command_id)
                return {"frames": 1}
            case c.Stimulate():
                self._light(action.duration_ms)
                return {"stimulated": True}
            case c.AddPosition():
                self.positions += 1
                return {"position": self.positions}
            case c.Pause() | c.Resume():
                self.paused = isinstance(action, c.Pause)
                return {"paused": self.paused}
            case c.Stop():
                self.stopped, self.is_on = True, False
                return {"stopped": True}
        raise Refused(f"this rig knows no {action.kind}")

    def _sequence(self, action: c.Acquire, command_id: str) -> None:
        home = self.stage_um
        base = (*(action.at_um or home[:2]), home[2])
        stack = action.sequence.z_plan
        for event in action.sequence:
            if not isinstance(event.action, AcquireImage):
                raise DriverError("an event that is no image came through the guard")
            z = event.z_pos or 0.0
            self._move(base[0], base[1], base[2] + z if stack is None or stack.is_relative else z)
            exposure_ms = self.exposure_ms if event.exposure is None else event.exposure
            self._frames.append(self._take(exposure_ms, aside=command_id))
        self._move(*home)

    def _take(self, exposure_ms: float, aside: str = "") -> Frame:
        self.exposures_ms.append(exposure_ms)
        self._burn()
        if not self.stays_open:
            self._light(exposure_ms * self.power * self.is_on)
        shown, self._shown = tuple(self._shown), []
        stamps = Stamps(t_pop_ns=self.clock(), wall_ns=wall_ns())
        self._seq += 1
        return Frame(
            "r", CAMERA, "s", 0, self._seq - 1, field_name(CAMERA, 0, aside=aside), self._seq - 1,
            np.zeros((5, 5), np.uint8), stage_um=self.stage_um, exposure_ms=exposure_ms, stamps=stamps, commands=shown,
        )  # fmt: skip

    def _move(self, x_um: float | None, y_um: float | None, z_um: float | None) -> None:
        before = self.stage_um
        after = tuple(now if goal is None else goal for goal, now in zip((x_um, y_um, z_um), before, strict=True))
        self.stage_um = (after[0], after[1], after[2])
        self.ways_um.append((before, self.stage_um))

    def _light(self, full_power_ms: float) -> None:
        name = f"{CAMERA}:p0"
        self.light_ms[name] = self.light_ms.get(name, 0.0) + full_power_ms

    def _burn(self) -> None:
        """Let an open shutter light the sample up to now."""
        lit_ms, self._lit_ns = (self.clock() - self._lit_ns) / 1e6, self.clock()
        if self.stays_open and self.is_on and not self.paused:
            self._light(lit_ms * self.power)


class Table:
    """Desk, guard, ledger and facts around a :class:`HandDriver`, all the real ones, with every answer kept."""

    def __init__(self, folder: Path, config: Configuration | None = None, *, stays_open: bool = False) -> None:
        self.config = config or Configuration()
        self.clock = FakeClock(10**12)
        self.driver = HandDriver(self.clock, stays_open)
        self.driver.start(self.config.plan)
        self.recent, self.where = Recent(), Whereabouts()
        self.facts = RigFacts(folder)
        self.dose = DoseLedger(
            self.config.dose, self.facts.dose(), self.driver.power, stays_open=stays_open, keep=self.facts.light
        )
        self.guard = Guard(self.config.limits, self.recent, self.where, self.dose, self.config.plan)
        self.spending = Spending(self.config, self.dose, self._order, self._tell)
        self.meter = LightMeter(self.dose, self.spending)
        self.answers: list[c.Ack] = []
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.sent: list[str] = []
        self._changed = threading.Condition()
        self.desk = Desk(
            self.driver, self.guard, BasePlan(self.config.plan), self.facts, self._answer,
            first_frame_timeout_s=60.0, on_applied=self._applied, clock=self.clock,
        )  # fmt: skip
        self.dose.opened(self.clock())
        self.desk.start()

    def ask(self, command_id: str, action: c.Action, **more: Any) -> None:
        """Send a command, of a policy unless a cause says otherwise."""
        cause = more.pop("cause", c.Cause(origin="policy"))
        self.sent.append(command_id)
        self.desk.receive(
            c.Command(command_id=command_id, action=action, cause=cause, issued_wall_ns=wall_ns(), **more)
        )

    def said(self, command_id: str, action: c.Action, **more: Any) -> c.Ack:
        """Send a command, let a frame show it, and return its final answer."""
        self.ask(command_id, action, **more)
        self.desk.settle()
        self.take()
        return self.final(command_id)

    def take(self) -> list[Frame]:
        """Expose, and bring what the camera has to the desk."""
        self.driver.expose()
        frames: list[Frame] = []
        while isinstance(frame := self.driver.next(0), Frame):
            frames.append(frame)
            self.see(frame)
            self.desk.settle()
        return frames

    def see(self, frame: Frame) -> None:
        """Do with a frame what the rig does."""
        self.recent.took(frame)
        lit = self.meter.took(frame)
        self.facts.frame(frame, lit.power, lit.between_ms)
        self.desk.took(frame)

    def wait(self, ms: float) -> None:
        """Let time pass, as the rig's own clockwork sees it."""
        self.clock.advance_ms(ms)
        self.meter.burn(self.clock())
        self.desk.expire_waits()
        self.desk.settle()

    def until(self, what: Callable[[], bool]) -> None:
        """Wait until something has been answered."""
        with self._changed:
            assert self._changed.wait_for(what, 20), self.answers

    def finals(self, command_id: str) -> list[c.Ack]:
        return [ack for ack in self.answers if ack.command_id == command_id and ack.state.final]

    def final(self, command_id: str) -> c.Ack:
        """Return a command's final answer, when it has come."""
        self.until(lambda: bool(self.finals(command_id)))
        return self.finals(command_id)[0]

    def close(self) -> None:
        self.driver.gate.set()
        self.desk.close()
        self.facts.close()

    def _answer(self, command: c.Command, ack: c.Ack) -> None:
        with self._changed:
            self.answers.append(ack)
            self._changed.notify_all()

    def _applied(self, command: c.Command, readback: Readback) -> None:
        self.meter.applied(command, readback, self.clock())

    def _order(self, action: c.Action, command_id: str, reason: str, target: c.Target | None = None) -> None:
        cause = c.Cause(event_id=reason, origin="rig")
        self.ask(command_id, action, cause=cause, priority=1000, target=target or c.Target())

    def _tell(self, fact: str, data: Mapping[str, Any]) -> None:
        self.told.append((fact, data))
