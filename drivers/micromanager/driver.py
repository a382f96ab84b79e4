"""The driver: a microscope behind the seam of :class:`stream.stages.Driver`."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import spent_ns
from drivers.micromanager.commands import NO_FRAME, Commands, refusals
from drivers.micromanager.load import load_core
from drivers.micromanager.mda_mode import MdaMode
from drivers.micromanager.mode import Mode, Planned
from drivers.micromanager.options import MicroManagerOptions, property_name
from drivers.micromanager.outbox import Outbox
from drivers.micromanager.owner import Owner
from drivers.micromanager.producer import FrameHook, Identity, Producer, no_hook
from drivers.micromanager.rig import Rig
from drivers.micromanager.stimulate import Places
from drivers.micromanager.stream_mode import StreamMode
from drivers.micromanager.unload import unload
from stream.clock import now_ns
from stream.command import ACTION_KINDS, Acquire, Cancel, Command
from stream.config import CameraSettings, PlanSettings
from stream.errors import DriverError, Refused
from stream.frame import Ended, Frame, Gap
from stream.settings import parse
from stream.stages import Readback, StillGood, always

Options = TypeVar("Options", bound=MicroManagerOptions)
_LOAD_S = 120.0
_STOP_S = 30.0
_DARK_S = 2.0


class MicroManagerDriver(Generic[Options]):
    """Drives any core that speaks like :class:`pymmcore_plus.CMMCorePlus`.

    Parameters
    ----------
    make_core
        Returns a core with its devices loaded; called in the thread that will own it. None: a core with the
        configuration that the options name.
    options_model
        What ``[camera.options]`` may say.
    on_frame
        Called with every frame before it is handed over, in the thread that made it; it must be quick.

    Examples
    --------
    >>> driver = MicroManagerDriver()
    >>> driver.open(CameraSettings(driver="micromanager"), run="r", session="s")  # doctest: +SKIP
    >>> driver.start(PlanSettings(exposure_ms=33))  # doctest: +SKIP
    >>> driver.next(1.0)  # doctest: +SKIP
    """

    def __init__(
        self,
        make_core: Callable[[Options], CMMCorePlus] | None = None,
        options_model: type[Options] | None = None,
        on_frame: FrameHook = no_hook,
    ) -> None:
        self._make_core: Callable[[Any], CMMCorePlus] = make_core or load_core
        self._options_model: type[MicroManagerOptions] = options_model or MicroManagerOptions
        self._on_frame = on_frame
        self._owner = Owner()
        self._stopping = threading.Lock()
        self._rig: Rig | None = None
        self._outbox = Outbox(1)
        self._producer: Producer | None = None
        self._mode: Mode | None = None
        self._commands: Commands | None = None
        self._places = Places()
        self._camera = ""
        self._patience_s = _STOP_S

    def open(self, settings: CameraSettings, *, run: str, session: str, first_epoch: int = 0) -> None:
        """Load the devices.

        Raises
        ------
        ConfigError
            ``[camera.options]`` says something unknown or names a missing file.
        DriverError
            A device does not load, or is not what the options say.
        """
        if self._owner.is_alive():
            raise DriverError("the driver is open already; stop it first")
        # It logs every event of an acquisition to every handler there is.
        logging.getLogger("pymmcore-plus").setLevel(logging.WARNING)
        options = parse(self._options_model, settings.options, "[camera.options]")
        self._owner = Owner()
        self._owner.on_failure(self._owner_failed)
        self._owner.start()
        atexit.register(self.stop)
        try:
            self._rig = self._owner.ask(lambda: self._load(options), _LOAD_S)
        except BaseException:
            self.stop()
            raise
        self._mode = self._commands = None
        self._camera = settings.name or self._rig.camera.label
        self._outbox = Outbox(options.queue_frames)
        self._producer = Producer(Identity(run, self._camera, session), first_epoch, self._outbox, self._taken)

    def look(self, settings: CameraSettings) -> Mapping[str, Any]:
        """Load the devices, describe them and let them go as they are, the light too.

        The properties that a run would set are only looked for.

        Raises
        ------
        ConfigError, DriverError
            As :meth:`open` does.
        """
        asked = parse(self._options_model, settings.options, "[camera.options]").properties
        options = {name: value for name, value in settings.options.items() if name != "properties"}
        try:
            self.open(settings.model_copy(update={"options": options}), run="look", session="look")
            rig = self._opened()
            self._owner.ask(lambda: rig.require(*map(property_name, asked)), _STOP_S)
            return self.describe()
        finally:
            seen, self._rig = self._rig, None
            if seen is not None:
                self._owner.ask(lambda: unload(seen.core), _STOP_S)
            self.stop()

    def describe(self) -> Mapping[str, Any]:
        """Say which devices are there, what they are set to, which commands are honoured, and once begun the plan."""
        rig = self._opened()
        paced = rig.options.interval_property
        mode = self._mode
        refused = self._owner.ask(lambda: refusals(rig, mode), _STOP_S)
        return {
            **self._owner.ask(rig.describe, _STOP_S),
            **({"plan": self._owner.ask(mode.describe, _STOP_S)} if isinstance(mode, Planned) else {}),
            "name": self._camera,
            "commands": tuple(kind for kind in ACTION_KINDS if kind not in refused),
            "refused": refused,
            "decimate": rig.options.decimate,
            "interval": {
                "mda": "kept by the driver",
                "stream": f"kept by {paced}" if paced else "the camera's own: no interval_property is named",
            },
        }

    def start(self, plan: PlanSettings) -> None:
        """Begin to take frames.

        Raises
        ------
        ConfigError, DriverError
            The plan is not possible on this rig, or a device failed.
        """
        rig, producer = self._opened(), self._producer
        if self._mode is not None or producer is None:
            raise DriverError("the driver has been started; stop and open it to start anew")
        mode: Mode
        if plan.mode == "stream":
            mode = StreamMode(rig, producer, self._outbox, plan, self._owner.wake)
        else:
            mode = MdaMode(rig, producer, self._outbox, plan, self._owner.wake)
        longest_ms = max(plan.exposure_ms, plan.max_burst_ms or 0.0)
        self._patience_s = _STOP_S + (longest_ms + rig.options.snap_timeout_ms) / 1e3
        self._owner.ask(mode.start, _LOAD_S)
        self._commands = Commands(rig, mode, self._camera, self._places)
        self._mode = mode
        self._owner.due = mode.due
        self._owner.wake()

    def next(self, timeout_s: float) -> Frame | Gap | Ended | None:
        """Return the next frame or gap; None when nothing came in time; Ended again and again at the end."""
        return self._outbox.get(timeout_s)

    def apply(self, command: Command, still_good: StillGood = always) -> Readback:
        """Apply between frames; see :meth:`Commands.apply` for what it raises."""
        mode, commands, asked_ns = self._mode, self._commands, now_ns()
        if mode is None or commands is None:
            raise Refused("the acquisition has not begun")

        def call() -> Readback:
            if self._outbox.ended:
                raise Refused(f"the acquisition has ended: {self._outbox.ended.reason}")
            still_good()
            began_ns, spent_before_ns = now_ns(), spent_ns()
            values = commands.apply(command)
            pending: Callable[[], bool] | None = None
            if isinstance(command.action, Acquire) and isinstance(mode, Planned):
                pending = partial(mode.is_pending, command.command_id)
            return Readback(
                values,
                takes_frame=not isinstance(command.action, NO_FRAME),
                boundary_ms=(began_ns - asked_ns) / 1e6,
                device_ms=(spent_ns() - spent_before_ns) / 1e6,
                pending=pending,
                ends=tuple(values["cancelled"]) if isinstance(command.action, Cancel) else (),
            )

        return self._owner.ask(call, self._patience_s, mode.between_frames)

    def darken(self) -> None:
        """Close the light now, from any thread: in an emergency it does not wait for the core's owner to be free."""
        rig = self._rig
        if rig is not None:
            rig.darken()

    def backlog(self) -> int:
        """Frames taken and not yet handed out."""
        return len(self._outbox)

    def stop(self) -> None:
        """Darken the sample, end the acquisition, unload the devices. Idempotent.

        The light closes first, and out of turn: the core's owner may hang in a device.
        """
        with self._stopping:
            atexit.unregister(self.stop)
            if self._owner.is_alive():
                self._darken_soon()
                try:
                    self._owner.ask(self._release, _STOP_S)
                finally:
                    self._owner.close(_STOP_S)
            self._outbox.end("stopped")

    def _darken_soon(self) -> None:
        """Close the light, on a thread of its own: no shutter may hold up the stop itself."""
        closing = threading.Thread(target=self.darken, name="darken", daemon=True)
        try:
            closing.start()
        except RuntimeError:  # the interpreter ends, and begins no thread any more
            self.darken()
        else:
            closing.join(_DARK_S)

    def _load(self, options: MicroManagerOptions) -> Rig:
        core = self._make_core(options)
        try:
            return Rig(core, options)
        except BaseException:
            unload(core)
            raise

    def _taken(self, frame: Frame) -> None:
        self._places.note(frame)
        self._on_frame(frame)

    def _opened(self) -> Rig:
        if self._rig is None:
            raise DriverError("the driver is not open")
        return self._rig

    def _release(self) -> None:
        rig, self._rig = self._rig, None
        self._owner.due = _never
        if rig is not None:
            try:
                if self._mode is not None:
                    self._mode.finish("stopped")
            finally:
                rig.release()

    def _owner_failed(self, error: Exception) -> None:
        if self._rig is not None:
            self._rig.darken()
        self._outbox.end(f"the driver failed: {error}")


def _never() -> float:
    return 1.0
