"""What the rig does when the analysis is lost: dark at once, then what ``[limits] when_lost`` says.

Where another analysis begins in its place, lost or not, what feedback changed is undone first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stream.acquire.baseplan import BasePlan
from stream.acquire.dose import DoseLedger
from stream.acquire.pausing import OPERATOR, RIG, Pausing
from stream.clock import wall_ns
from stream.command import Action, Command, Pause, Resume, SetLight, Stop, Target
from stream.metrics import FALLBACKS
from stream.safety import LimitSettings

log = logging.getLogger(__name__)

UNDO = "base-plan"
"""How ids of the commands that lead back to the plan begin."""
_UNDO_AGAIN_NS = 2_000_000_000

_LOST = "lost"
_DOES = {"base": "back to the base plan", "pause": "waiting in the dark", "stop": "ending the run"}


class Order(Protocol):
    """Has the rig itself ask for something."""

    def __call__(self, action: Action, command_id: str, reason: str, target: Target | None = None) -> None: ...


class Lost:
    """Follows the dead-man's word.

    It sets going only what it stopped itself: a rig that somebody else paused stays paused, and its light is asked for
    again when that pause ends.

    Parameters
    ----------
    pausing
        Who paused the rig.
    order
        Sends one of the rig's own commands to the desk.
    close_to_feedback
        Has feedback refused with a reason; empty: heard again.
    tell
        Records and publishes a fact.
    """

    def __init__(
        self,
        limits: LimitSettings,
        base: BasePlan,
        dose: DoseLedger,
        pausing: Pausing,
        order: Order,
        close_to_feedback: Callable[[str], None],
        tell: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._limits, self._base, self._dose, self._pausing = limits, base, dose, pausing
        self._order, self._close_to_feedback, self._tell = order, close_to_feedback, tell
        self._lock = threading.Lock()
        self._reason = ""
        self._darkening = ""
        self._darkened = False
        self._pauses = False
        self._undone_ns = 0
        self._under_way: set[str] = set()
        self._lost = False
        self._orphaned = False
        self.on = False
        """Whether the analysis is lost, or what it changed is being undone: feedback is not heard."""

    def watch(self, fault: str | None, now_ns: int) -> None:
        """Act on what the dead-man says: ``silent``, ``undecided``, or None."""
        returning = self._limits.when_lost == "base" and not self._darkening
        was_lost, self._lost = self._lost, bool(fault)
        if fault and not was_lost:
            self._begin(fault, now_ns)
        elif fault and returning and now_ns - self._undone_ns > _UNDO_AGAIN_NS:
            self._undo(now_ns)  # what failed, and what was under way when the analysis was given up
        elif not fault and self._orphaned:
            self._hand_over(now_ns)
        elif not fault and self.on and not self._under_way:
            self._end(now_ns)

    def restarted(self) -> None:
        """Another analysis has begun, whose policies know nothing of what the one before it changed."""
        self._orphaned = True

    def settled(self, command: Command, applied: bool, now_ns: int) -> None:
        """The hardware has answered a command, or will not: once it is dark, go on."""
        with self._lock:
            self._under_way.discard(command.command_id)
            ours = bool(self._darkening) and command.command_id == self._darkening
            if ours:
                self._darkening, self._darkened = "", applied
        if ours:
            self._go_on(now_ns)
        elif applied:
            self._heed(command)

    def _heed(self, command: Command) -> None:
        """See what others did meanwhile: an operator's word on the light holds, and a pause that ends wants light."""
        action = command.action
        if isinstance(action, SetLight) and action.on is not None and command.cause.origin == OPERATOR:
            self._darkened = False
        elif isinstance(action, Resume):
            self._pauses = self._pauses and command.cause.origin == RIG
            if not self._waits and (self.on or self._darkened):
                self._lighten()

    @property
    def _waits(self) -> bool:
        """Whether the rig stays dark until the analysis decides again."""
        return self._lost and self._limits.when_lost != "base"

    def _begin(self, fault: str, now_ns: int) -> None:
        FALLBACKS.labels(fault).inc()
        self._close(f"the analysis is {fault} for {self._limits.alive_timeout_s:g} s", _DOES[self._limits.when_lost])
        if self._limits.shadow and self._limits.when_lost == "base":
            return  # the plan was never left
        if not self._dose.on:
            self._go_on(now_ns)
            return
        with self._lock:
            self._darkening = command_id = f"{_LOST}/dark/{now_ns}"
        self._order(SetLight(on=False), command_id, self._reason)

    def _close(self, reason: str, what: str) -> None:
        """Hear feedback no more, and say why and what is done."""
        self.on, self._reason = True, reason
        log.warning("%s: %s", reason, what)
        self._close_to_feedback(f"the rig is on its base plan: {reason}")
        self._tell("base_plan", {"on": True, "reason": f"{reason}: {what}"})

    def _hand_over(self, now_ns: int) -> None:
        """Go back to the base plan for the analysis that has begun; lit, for somebody watches over the sample again."""
        self._orphaned = False
        if not self.on:
            FALLBACKS.labels("restarted").inc()
            self._close("the analysis was started again", _DOES["base"])
        self._undo(now_ns)

    def _go_on(self, now_ns: int) -> None:
        """Do what is to be done in the dark."""
        if not self._lost:
            self._lighten()  # the analysis was faster than the shutter
        elif self._limits.when_lost == "stop":
            self._order(Stop(), f"{_LOST}/stop/{now_ns}", self._reason)
        elif self._limits.when_lost == "base":
            self._undo(now_ns)
        elif not self._pausing.by:
            self._pauses = True
            self._order(Pause(), f"{_LOST}/pause/{now_ns}", self._reason)

    def _undo(self, now_ns: int) -> None:
        """Send what leads back to the plan, the light last."""
        self._undone_ns = now_ns
        leave = ("set_light", "resume") if self._pausing.by == OPERATOR else ("set_light",)
        back = [way for way in self._base.way_back() if way.action.kind not in leave]
        for number, (action, target) in enumerate(back):
            self._order_back(action, f"{UNDO}/{now_ns}/{number}", target)
        self._lighten()

    def _order_back(self, action: Action, command_id: str, target: Target | None = None) -> None:
        with self._lock:
            self._under_way.add(command_id)
        self._order(self._dose.tempered(action), command_id, self._reason, target)

    def _lighten(self) -> None:
        """Set the light as the plan has it, where feedback changed it or the loss closed it."""
        ways = [way.action for way in self._base.way_back() if isinstance(way.action, SetLight)]
        if (not ways and not self._darkened) or self._pausing.by not in ("", RIG):
            return
        light = ways[0] if ways else SetLight(on=True)
        if self._darkened and light.on is None:
            light = light.model_copy(update={"on": True})
        if not self._dose.spent_fields():
            self._order_back(light, f"{UNDO}/{wall_ns()}/light")
            self._darkened = False

    def _end(self, now_ns: int) -> None:
        self.on = False
        self._close_to_feedback("")
        self._tell("base_plan", {"on": False, "reason": "the analysis decides again"})
        if self._limits.when_lost == "pause":
            self._lighten()
        if self._pauses and self._pausing.by in ("", RIG):  # its pause may still be under way
            self._order(Resume(), f"{_LOST}/resume/{now_ns}", "the analysis decides again")
        self._pauses = False
