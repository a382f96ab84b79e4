"""Stream mode: the camera runs by itself in a continuous sequence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from drivers.micromanager.calls import device_calls
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.popper import Pace, Popper
from drivers.micromanager.producer import Producer
from drivers.micromanager.restarts import Restarts
from drivers.micromanager.rig import Rig
from drivers.micromanager.timeline import Timeline
from stream.clock import now_ns
from stream.command import Target
from stream.config import PlanSettings
from stream.errors import ConfigError, DriverError, Refused

Result = TypeVar("Result")
_CHECK_S = 0.05
_IDLE_S = 1.0
_DRAIN_S = 10.0
_USE_MDA = "use [plan] mode = 'mda' or a protocol"
_log = logging.getLogger(__name__)


class StreamMode:
    """Keeps one continuous sequence running; each start of it is an epoch with a popper of its own.

    Parameters
    ----------
    rig, producer, outbox
        The devices, and where frames go.
    plan
        At most one channel and one position.
    wake
        Has :meth:`due` called soon, from any thread.
    """

    name = "stream"

    def __init__(
        self, rig: Rig, producer: Producer, outbox: Outbox, plan: PlanSettings, wake: Callable[[], None]
    ) -> None:
        if len(plan.channels) > 1 or len(plan.positions_um) > 1:
            raise ConfigError("[plan] mode 'stream' takes one channel and one position; use mode = 'mda' for more")
        options = rig.options
        self._rig = rig
        self._producer = producer
        self._outbox = outbox
        self._plan = plan
        self._wake = wake
        self._timeline = Timeline()
        self._pace = Pace(options.decimate, plan.frames, options.latency_ms)
        self._restarts = Restarts(options.restart_limit, options.restart_window_s, options.backoff_ms)
        self._popper: Popper | None = None
        self._next_frame = 0
        self._interval_ms = 0.0
        self._paused = False
        self._restart_at_ns: int | None = None

    def start(self) -> None:
        """Set the plan's settings and begin the first epoch."""
        rig, plan = self._rig, self._plan
        rig.prepare(plan)
        for channel in plan.channels:
            rig.channels.select(channel)
        for position in plan.positions_um:
            rig.stage.move(*position)
        if rig.options.interval_property:
            self._interval_ms = rig.set_interval(plan.interval_ms)
        self._timeline.add(now_ns(), rig.state())
        self._begin()

    def due(self) -> float:
        """Notice a plan that is complete and a stream that died; start the latter again in its time."""
        if self._outbox.ended or self._paused:
            return _IDLE_S
        if self._restart_at_ns is not None:
            return self._restart_when_due(self._restart_at_ns)
        popper = self._popper
        if popper is not None and not popper.is_alive():
            if popper.complete:
                self.finish("plan complete")
            else:
                self._died(f"the thread that pops frames failed: {popper.failure}")
        elif not self._rig.camera.streaming:
            self._died("the camera stopped its sequence by itself")
        elif popper is not None and now_ns() - popper.last_ns > self._patience_ns():
            self._died(f"no image for {self._patience_ns() / 1e9:g} s while the camera says that its sequence runs")
        return _CHECK_S

    def between_frames(self, job: Callable[[], None]) -> None:
        """Run at once: a continuous sequence always exposes, and frames under a change are marked as such."""
        job()

    def applied(self, command_id: str, position: int | None = None, **changes: Any) -> None:
        """Hold from now on."""
        self._timeline.change(now_ns(), command_id, **changes)

    def restart(self, change: Callable[[], Result], command_id: str) -> Result:
        """Stop, hand over what was taken, change, begin a new epoch."""
        running = self._popper is not None or self._restart_at_ns is not None
        self._end()
        shown: str | None = None
        try:
            result = change()
            shown = command_id
            return result
        finally:
            self._timeline.add(now_ns(), self._rig.state(), shown)
            if running:
                self._begin_or_retry()

    def position(self, target: Target) -> tuple[int | None, tuple[float, float, float] | None]:
        """Know only where the stage is."""
        if target.position not in (None, 0):
            raise Refused(f"a stream stays at one position; {_USE_MDA}")
        return None, None

    def require_move(self, position: int | None, to_um: tuple[float, float, float]) -> None:
        """A stream may be moved anywhere."""

    def require_exposure(self, target: Target) -> None:
        """Raise Refused for another channel than the current one."""
        current = self._timeline.newest.channel
        if target.channel not in (None, current):
            raise Refused(f"the stream is in channel '{current}', not '{target.channel}'; {_USE_MDA}")

    def expose(self, exposure_ms: float, target: Target, command_id: str) -> None:
        """Give frames from now on this exposure."""
        self.applied(command_id, exposure_ms=exposure_ms)

    def moving(self) -> None:
        """Mark frames from now on."""
        self._timeline.change(now_ns(), moving=True)

    def moved(self, position: int | None, stage_um: tuple[float, float, float]) -> None:
        """Give frames from now on this position."""
        self._timeline.change(now_ns(), moving=False, stage_um=stage_um)

    def set_interval(self, interval_ms: float | None, target: Target) -> float:
        """Pace the camera by its own property."""
        if target.position not in (None, 0):
            raise Refused(f"a stream stays at one position; {_USE_MDA}")
        self._interval_ms = self._rig.set_interval(self._plan.interval_ms if interval_ms is None else interval_ms)
        return self._interval_ms

    def select_channel(self, name: str, command_id: str) -> str:
        """Switch under the running sequence, unless the preset touches the camera."""
        channels = self._rig.channels
        channels.require(name)
        if channels.touches_camera(name):
            return self.restart(lambda: channels.select(name), command_id)
        actual = channels.select(name)
        self.applied(command_id, channel=actual)
        return actual

    def switch_light(self, on: bool) -> bool:
        """Open or close under the running sequence."""
        return self._rig.light.switch(on, streaming=not self._paused)

    def pause(self) -> None:
        """Stop the sequence."""
        self._paused = True
        self._end()

    def resume(self, command_id: str) -> None:
        """Begin a new epoch."""
        self._timeline.add(now_ns(), self._rig.state(), command_id)
        if self._paused:
            self._paused = False
            self._begin_or_retry()

    def resync(self) -> None:
        """Read everything back; frames in flight are marked."""
        self._timeline.add(now_ns(), self._rig.state())

    def finish(self, reason: str) -> None:
        """Stop for good."""
        if self._outbox.ended:
            return
        try:
            self._end()
        finally:
            self._rig.darken()
            self._outbox.end(reason)

    def _patience_ns(self) -> int:
        """Return how long a running sequence may give no image."""
        stall_s = self._rig.options.stall_s
        expected_ms = 2 * self._timeline.newest.exposure_ms + self._interval_ms
        return round(stall_s * 1e9 + expected_ms * 1e6) if stall_s else 2**62

    def _begin(self) -> None:
        core = self._rig.core
        self._restart_at_ns = None
        self._producer.begin_epoch(self._rig.camera.geometry())
        started_ns = now_ns()
        with device_calls("start of the camera's sequence"):
            core.startContinuousSequenceAcquisition(0)
        self._popper = Popper(
            core, self._producer, self._timeline, self._pace, self._next_frame, started_ns, self._wake
        )
        self._popper.start()

    def _begin_or_retry(self) -> None:
        try:
            self._begin()
        except DriverError as error:
            self._died(str(error))

    def _end(self) -> None:
        """Stop the sequence and let the popper deliver what the core has; a dead sequence is stopped just as well."""
        self._restart_at_ns = None
        popper = self._popper
        if popper is None:
            return
        try:
            with device_calls("stop of the camera's sequence"):
                self._rig.core.stopSequenceAcquisition()
        except DriverError as error:
            _log.warning("%s", error)
        popper.finish()
        popper.join(_DRAIN_S)
        if popper.is_alive():
            raise DriverError(f"frames could not be taken out of the core within {_DRAIN_S:.0f} s")
        self._next_frame = popper.next_frame
        self._popper = None

    def _died(self, reason: str) -> None:
        """Report the discontinuity and plan a restart, or give up."""
        _log.warning("%s", reason)
        self._end()
        self._producer.gap(0, 0, "restart", reason)
        wait_s = self._restarts.wait_s(now_ns())
        if wait_s is None:
            limit, window_s = self._restarts.limit, self._restarts.window_s
            self.finish(f"the stream died more than {limit} times within {window_s:g} s; the last time: {reason}")
        else:
            self._restart_at_ns = now_ns() + round(wait_s * 1e9)

    def _restart_when_due(self, at_ns: int) -> float:
        wait_s = (at_ns - now_ns()) / 1e9
        if wait_s > 0:
            return wait_s
        self._timeline.add(now_ns(), self._rig.state())
        self._begin_or_retry()
        return _CHECK_S
