"""Reads the light off what happens at the rig: frames, frames that did not come, and a shutter that stays open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.acquire.dose import DoseLedger
from stream.acquire.lit import Burnt, Lit
from stream.acquire.spending import Spending
from stream.command import Command, Pause, Resume, SetLight, Stop
from stream.config import Configuration, PlanSettings
from stream.frame import Frame, Gap, plan_field
from stream.stages import Readback


class LightMeter:
    """Has the ledger count all light, and tells :class:`Spending` which levels it has reached.

    A paused rig counts as dark where it says so (``dark`` in the read-back), or says nothing of it.
    """

    def __init__(self, ledger: DoseLedger, spending: Spending) -> None:
        self._ledger, self._spending = ledger, spending
        self._popped_ns: dict[str, int] = {}
        self._resting = False

    def took(self, frame: Frame) -> Lit:
        """Count a frame."""
        lit = self._ledger.took(frame)
        popped_ns = frame.stamps.t_pop_ns
        before_ns = self._popped_ns.get(frame.field, popped_ns)
        self._popped_ns[frame.field] = popped_ns
        if lit.reached is not None:
            measured_ms = (popped_ns - before_ns) / 1e6
            self._spending.reached(plan_field(frame.field), lit.reached, frame.exposure_ms, measured_ms)
        return lit

    def missed(self, gap: Gap) -> None:
        """Count frames that were exposed and did not come."""
        if gap.missing:
            self._tell(self._ledger.missed(gap.field, gap.missing))

    def burn(self, now_ns: int, *, closing: bool = False) -> None:
        """Count a shutter that stays open though no frame comes."""
        self._tell(self._ledger.burns(now_ns, closing=closing))

    def applied(self, command: Command, readback: Readback, now_ns: int) -> None:
        """The hardware has answered: the shutter may be open now, or closed."""
        action = command.action
        if isinstance(action, Pause | Resume):
            self._resting = isinstance(action, Pause) and bool(readback.values.get("dark", True))
        lights = isinstance(action, Resume) or (isinstance(action, SetLight) and action.on is not False)
        if lights and self._ledger.on and not self._resting:
            self._ledger.opened(now_ns)
        elif self._resting or isinstance(action, Stop) or (isinstance(action, SetLight) and action.on is False):
            self.burn(now_ns, closing=True)

    def _tell(self, burnt: Burnt | None) -> None:
        if burnt is not None and burnt.reached is not None:
            self._spending.reached(burnt.field, burnt.reached, burnt.exposure_ms, self._spending.interval_ms)


def longest_ms(plan: PlanSettings) -> float:
    """Return the longest exposure that the plan asks for."""
    channels = plan.protocol.channels if plan.protocol is not None else ()
    return max([plan.exposure_ms, *(float(channel.exposure or 0.0) for channel in channels)])


def stays_open(config: Configuration, light: Mapping[str, Any] | None) -> bool:
    """Whether the sample is lit between frames, as far as the configuration and the rig say.

    Parameters
    ----------
    light
        What the rig says of its light; empty: it has none, as a recording. None: nobody has looked, and it counts as
        one whose shutter opens for each exposure, and stays open while a camera streams.
    """
    said = config.dose.between_frames
    if said != "auto":
        return said == "lit"
    streams = config.plan.mode == "stream"
    if light is None:
        return streams
    return bool(light) and (streams or not (light.get("shutter") and light.get("auto")))
