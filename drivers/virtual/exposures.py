"""When the virtual camera exposes: a schedule without drift, what goes wrong with it, and life going on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import DTypeLike, NDArray

from drivers.virtual.bench import Bench
from drivers.virtual.buffer import SKIPPED
from drivers.virtual.microscope import Microscope, Shot
from drivers.virtual.options import VirtualOptions
from drivers.virtual.view import View
from stream.clock import now_ns

TAG = "VirtualFrame"
"""Metadata tag: the exposure's number, by which its truth is found."""
GetBuffer = Callable[[Sequence[int], DTypeLike], NDArray[Any]]
_RETAKES = 3
_SLICE_MS = 100.0


class Exposures:
    """Takes sequences and single images.

    In a sequence the specimen ages by the schedule and not by the clock on the wall. Between two sequences, and
    between single images, there is no schedule: there it ages by the clock.

    Parameters
    ----------
    bench, microscope
        Settings, and what they look at.
    options
        Readout time.
    stop
        Set by the core to end a sequence; interrupts an exposure.
    on_shot
        Called with each exposure before the core has it.
    """

    def __init__(
        self,
        bench: Bench,
        microscope: Microscope,
        options: VirtualOptions,
        stop: threading.Event,
        on_shot: Callable[[Shot], None],
    ) -> None:
        self._bench = bench
        self._microscope = microscope
        self._readout_ms = options.latency_ms
        self._stop = stop
        self._awake = threading.Event()
        self._on_shot = on_shot
        self._sequence = 0
        self._running = False
        self._over_ns: int | None = None
        self.on_begin: Callable[[], None] = lambda: None
        """Called as each exposure begins."""

    def start(self, n: int | None, get_buffer: GetBuffer) -> Iterator[Mapping[str, Any]]:
        """Take ``n`` frames, or frames without end; the geometry stays as it is now. A newer call ends older ones."""
        self._sequence += 1
        return self._snap(get_buffer) if n == 1 else self._frames(self._sequence, n, get_buffer)

    def catch_up(self) -> None:
        """Let life go on up to now, where no schedule rules it."""
        if not self._running:
            self._idle_until(now_ns())
            self._microscope.rest()

    def wake(self) -> None:
        """End what still waits for a single image, for good."""
        self._awake.set()

    def _snap(self, get_buffer: GetBuffer) -> Iterator[Mapping[str, Any]]:
        """Take one image; the core's stop may still be set from the sequence before."""
        self.catch_up()
        while trouble := self._trouble():
            if trouble != "hangs":
                raise RuntimeError(f"the camera gives no image ({trouble})")
            if self._hangs_until(self._awake):
                raise RuntimeError("the camera was unloaded while it took an image")
        begin_ns = now_ns()
        self.on_begin()
        shot, view = self._expose(begin_ns, self._bench.settings, self._awake)
        self._pass(shot, view, begin_ns)
        get_buffer(shot.pixels.shape, shot.pixels.dtype)[:] = shot.pixels
        yield {TAG: str(shot.counter)}

    def _frames(self, sequence: int, n: int | None, get_buffer: GetBuffer) -> Iterator[Mapping[str, Any]]:
        self.catch_up()
        self._running = True
        try:
            due_ns, taken, skipped = now_ns(), 0, 0
            frozen = self._bench.settings
            while (n is None or taken < n) and not self._live_until(due_ns) and sequence == self._sequence:
                begin_ns = now_ns()
                # Late by more than a period, the schedule slips.
                begin_ns = due_ns if begin_ns - due_ns < frozen.period_ms * 1e6 else begin_ns
                trouble = self._trouble()
                if trouble == "stops":
                    return
                if trouble == "raises":
                    raise RuntimeError("the camera gives no image")
                if trouble == "hangs":
                    self._hangs_until(self._stop)
                    continue
                self.on_begin()
                # A stop ends an exposure at once; what was begun is delivered.
                shot, frozen = self._expose(begin_ns, frozen, self._stop)
                if sequence != self._sequence:
                    return
                due_ns = self._pass(shot, frozen, begin_ns)
                if trouble:
                    skipped += trouble == "drops"
                else:
                    get_buffer(shot.pixels.shape, shot.pixels.dtype)[:] = shot.pixels
                    taken += 1
                    yield {TAG: str(shot.counter), SKIPPED: str(skipped)}
        finally:
            if sequence == self._sequence:
                self._running = False

    def _pass(self, shot: Shot, view: View, begin_ns: int) -> int:
        """Count an exposure as taken, and return when the next one is due."""
        self._on_shot(shot)
        self._microscope.pass_by(view)
        self._over_ns = begin_ns + round(view.period_ms * 1e6)
        return self._over_ns

    def _live_until(self, due_ns: int) -> bool:
        """Wait for the next exposure while life goes on in slices; True: stopped, and what is left never passes."""
        while (left_ms := (due_ns - now_ns()) / 1e6) > _SLICE_MS:
            self._microscope.rest(left_ms)
            if self._stop.wait(min(left_ms - _SLICE_MS / 2, _SLICE_MS) / 1e3):
                self._microscope.forget()
                self._over_ns = now_ns()
                return True
        self._microscope.rest()
        return self._wait(due_ns, self._stop)

    def _idle_until(self, at_ns: int) -> None:
        if self._over_ns is not None and at_ns > self._over_ns:
            self._microscope.idle((at_ns - self._over_ns) / 1e6, self._between())
            self._over_ns = at_ns

    def _between(self) -> View:
        """What the cells are under where no sequence keeps the light on."""
        return replace(self._bench.view(), held_open=self._bench.is_open)

    def _trouble(self) -> str:
        microscope = self._microscope
        if not microscope.night.troubles:
            return ""
        microscope.rest()
        return microscope.night.camera(microscope.clock_s, microscope.counter)

    def _hangs_until(self, ended: threading.Event) -> bool:
        """Wait for the end of a hang; True: it was ended from outside."""
        begun_ns, left_s = now_ns(), self._microscope.night.hang_s(self._microscope.clock_s)
        woken = ended.wait(left_s)
        self._microscope.idle((now_ns() - begun_ns) / 1e6, self._between())
        self._over_ns = now_ns()
        return woken

    def _expose(self, begin_ns: int, frozen: View, stop: threading.Event) -> tuple[Shot, View]:
        """Render while the exposure and the readout last.

        On a busy machine a frame arrives late, and seems to have begun late: what was set before that must be in it.
        """
        for _ in range(_RETAKES):
            seen_ns, view = now_ns(), self._seen(frozen)
            shot = self._microscope.expose(view)
            self._wait(begin_ns + self._lasts_ns(view), stop)
            if now_ns() - self._lasts_ns(view) <= seen_ns or self._seen(frozen) == view:
                break
        return shot, view

    def _lasts_ns(self, view: View) -> int:
        return round((view.exposure_ms + self._readout_ms) * 1e6)

    def _seen(self, frozen: View) -> View:
        view = self._bench.view()
        return replace(view, roi_px=frozen.roi_px, binning=frozen.binning, pixel_type=frozen.pixel_type)

    def _wait(self, until_ns: int, stop: threading.Event) -> bool:
        """Wait; True: stopped meanwhile."""
        return stop.wait(max(until_ns - now_ns(), 0) / 1e9)
