"""What a command costs on the bare core: its calls are written down, and made again without the driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymmcore_plus import CMMCorePlus

from drivers.micromanager.calls import DEVICE_ERRORS
from drivers.micromanager.driver import MicroManagerDriver
from drivers.micromanager.unload import unload
from stream.command import Command
from stream.config import CameraSettings, PlanSettings
from stream.errors import DriverError
from stream.frame import Ended

Calls = tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...]
_POLL_S = 0.001


class Notebook:
    """Writes down the calls that one thread makes to a core, while it is open; calls that calls make are left out."""

    def __init__(self) -> None:
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._thread: int | None = None
        self._depth = 0

    def watch(self, core: CMMCorePlus) -> CMMCorePlus:
        """Put a note-taking wrapper before every method of the core."""
        for name in dir(type(core)):
            if not name.startswith("_") and callable(getattr(type(core), name, None)):
                setattr(core, name, self._noted(name, getattr(core, name)))
        return core

    def open(self) -> None:
        """Write down what the calling thread does from now on."""
        self._calls.clear()
        self._thread = threading.get_ident()

    def close(self) -> Calls:
        """Return what was written."""
        self._thread = None
        return tuple(self._calls)

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return call(*args, **named)
            if self._depth == 0:
                self._calls.append((name, args, named))
            self._depth += 1
            try:
                return call(*args, **named)
            finally:
                self._depth -= 1

        return noted


class BareCore:
    """The devices of a configuration, driven by nothing but the calls that a driver was seen to make.

    Parameters
    ----------
    make_driver
        The driver whose calls are meant; it is opened, commanded and stopped before the bare core is made.
    settings, plan
        What it is opened and started with.
    commands
        Commands to be timed; those that it refuses have no calls.

    Raises
    ------
    ConfigError, DriverError
        The devices do not load.
    """

    def __init__(
        self,
        make_driver: Callable[[], MicroManagerDriver[Any]],
        settings: CameraSettings,
        plan: PlanSettings,
        commands: Sequence[Command],
    ) -> None:
        self._stop = threading.Event()
        make_core, opening, self._calls = _written_down(make_driver(), settings, plan, commands)
        self._core = make_core()
        for name, args, named in opening:
            getattr(self._core, name)(*args, **named)
        self._popper = threading.Thread(target=self._pop, name="bare-popper", daemon=True)
        self._popper.start()

    def time_ms(self, number: int) -> float:
        """Make the calls of one command and return how long they took."""
        calls = [(getattr(self._core, name), args, named) for name, args, named in self._calls[number]]
        began_ns = time.perf_counter_ns()
        for call, args, named in calls:
            call(*args, **named)
        return (time.perf_counter_ns() - began_ns) / 1e6

    def close(self) -> None:
        """Stop the camera and unload the devices."""
        self._stop.set()
        self._popper.join()
        if self._core.isSequenceRunning():
            self._core.stopSequenceAcquisition()
        unload(self._core)

    def _pop(self) -> None:
        """Empty the buffer as anyone must who runs a sequence."""
        core = self._core
        while not self._stop.is_set():
            try:
                while core.getRemainingImageCount():
                    core.popNextImageAndMD()
            except DEVICE_ERRORS:  # a new ROI cleared the buffer between the count and the pop
                pass
            self._stop.wait(_POLL_S)


def _written_down(
    driver: MicroManagerDriver[Any], settings: CameraSettings, plan: PlanSettings, commands: Sequence[Command]
) -> tuple[Callable[[], CMMCorePlus], Calls, list[Calls]]:
    """Return what makes another such core, the calls that open and start the rig, and those of each command."""
    notebook = Notebook()
    make_core = driver._make_core
    used: list[Any] = []

    def watched(options: Any) -> CMMCorePlus:
        used.append(options)
        core = notebook.watch(make_core(options))
        notebook.open()
        return core

    driver._make_core = watched
    try:
        driver.open(settings, run="bare", session="bare")
        driver.start(plan)
        opening = notebook.close()
        taker = threading.Thread(target=_take_all, args=(driver,), daemon=True)
        taker.start()
        calls = [_calls_of(driver, notebook, command) for command in commands]
        return lambda: make_core(used[0]), opening, calls
    finally:
        driver.stop()


def _calls_of(driver: MicroManagerDriver[Any], notebook: Notebook, command: Command) -> Calls:
    inner = driver._commands
    assert inner is not None
    apply, written = inner.apply, []

    def noted(command: Command) -> Mapping[str, Any]:
        notebook.open()
        try:
            return apply(command)
        finally:
            written.append(notebook.close())

    inner.apply = noted  # type: ignore[method-assign]
    try:
        driver.apply(command)
    except DriverError:
        return ()
    finally:
        inner.apply = apply  # type: ignore[method-assign]
    return written[0]


def _take_all(driver: MicroManagerDriver[Any]) -> None:
    while not isinstance(driver.next(1.0), Ended):
        pass
