"""Plays a recording through the same face as a microscope."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from drivers.replay.open import open_recording
from drivers.replay.recording import Pixels, Plane, Recording, as_pixels
from stream.clock import HOST, now_ns, wall_ns
from stream.command import Command, Pause, Resume, SetInterval, Stop
from stream.config import CameraSettings, PlanSettings
from stream.errors import DriverError, FrameError, Refused, SourceError
from stream.frame import T_RECORDED_MS, Affine, Ended, Frame, Gap, Stamps, Stride, field_name
from stream.settings import Settings, parse
from stream.stages import Readback, StillGood, always

_log = logging.getLogger(__name__)
COMMANDS = ("set_interval", "pause", "resume", "stop")


class ReplaySettings(Settings):
    """[camera.options] of the replay driver."""

    source: Path
    """A folder of numbered images, a TIFF file or an OME-Zarr."""
    speed: Literal["real", "max"] | float = "real"
    """``real``: as recorded, else as ``[plan] interval_ms`` says; ``max``: as fast as frames are asked for; N: N time
    points a second. Where the analysis is slower, the recording waits for it."""
    frames: tuple[int, int] | None = None
    """First and last frame number to play."""
    pattern: str = ""
    """A glob that picks files of a folder."""
    pixel_um: float | None = Field(default=None, gt=0)
    """Overrules what the recording says."""
    prefetch: int = Field(default=4, ge=1)
    """Images read ahead."""


class ReplayDriver:
    """A :class:`stream.stages.Driver` over a recording.

    One thread reads ahead into a bounded queue; ``next`` hands a frame out when it is due. A frame's number is the one
    in its file's name. Numbers that are left out become a Gap ``missing`` (where the step is longer than one before it:
    :class:`stream.frame.Stride`); an image that cannot be read becomes a Gap ``corrupt``, and the replay goes on.
    Where the recording states its interval, each frame says when it was taken (``Frame.t_recorded_ms``), at any speed.
    Only Pause, Resume, Stop and SetInterval make sense for a recording; everything else is refused.
    """

    waits: Literal[True] = True
    """A frame that is due stays where it is until it is asked for."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._ready: deque[Frame | Gap] = deque()
        self._reader: threading.Thread | None = None
        self._recording: Recording | None = None
        self._stopped = False
        self._paused = False
        self._read_all = False
        self._ended = "the recording is over"
        self._interval_ns = self._usual_ns = 0
        self._point: tuple[int, int] | None = None
        self._due_ns = 0
        self._effects: list[str] = []

    def open(self, settings: CameraSettings, *, run: str, session: str, first_epoch: int = 0) -> None:
        """Find the recording and read its first image. Raises ConfigError, or SourceError with what to do."""
        self._options = parse(ReplaySettings, settings.options, "[camera.options] of replay")
        if isinstance(self._options.speed, float) and self._options.speed <= 0:
            raise SourceError(f"speed = {self._options.speed:g}: give 'real', 'max' or time points a second above 0")
        self._camera = settings.name or "replay"
        self._run, self._session, self._epoch = run, session, first_epoch
        recording = open_recording(self._options.source, self._options.pattern)
        try:
            self._planes = self._wanted(recording.planes)
            self._shape = self._first_pixels(recording).shape
        except SourceError:
            recording.close()
            raise
        self._recording = recording
        self._pixel_um = self._options.pixel_um or recording.about.pixel_um or 1.0

    def describe(self) -> Mapping[str, Any]:
        """Say what was opened: kind, frames, channels, size, what the recording says of time and scale."""
        about = self._opened().about
        return {
            "driver": "replay",
            "camera": self._camera,
            "source": str(self._options.source),
            "kind": about.kind,
            "frames": len(self._numbers()),
            "first_frame": self._planes[0].frame,
            "last_frame": self._planes[-1].frame,
            "channels": list(dict.fromkeys(plane.channel for plane in self._planes)),
            "positions": len({plane.index.p for plane in self._planes}),
            "planes": len({plane.index.z for plane in self._planes}),
            "sensor_px": (self._shape[1], self._shape[0]),
            "interval_ms": about.interval_ms,
            "pixel_um": self._options.pixel_um or about.pixel_um,
            "commands": list(COMMANDS),
            **about.extra,
        }

    def start(self, plan: PlanSettings) -> None:
        """Begin to read ahead."""
        recording = self._opened()
        if self._reader is not None:
            raise DriverError("this replay has been started; open another driver to play it again")
        speed = self._options.speed
        real_ms = plan.interval_ms if recording.about.interval_ms is None else recording.about.interval_ms
        self._usual_ns = round(1e6 * (real_ms if speed == "real" else 0.0 if speed == "max" else 1000.0 / speed))
        self._interval_ns = self._usual_ns
        self._reader = threading.Thread(target=self._read_ahead, args=(recording, plan.frames), name="replay-reader")
        self._reader.daemon = True
        self._reader.start()

    def next(self, timeout_s: float) -> Frame | Gap | Ended | None:
        """Return the next frame when it is due, a Gap, None when nothing was due in time, Ended at the end."""
        deadline_ns = now_ns() + round(timeout_s * 1e9)
        with self._change:
            while not self._over():
                wait_ns = self._wait_ns()
                if wait_ns is not None and wait_ns <= 0:
                    return self._hand_out()
                left_ns = deadline_ns - now_ns()
                if left_ns <= 0:
                    return None
                self._change.wait((left_ns if wait_ns is None else min(left_ns, wait_ns)) / 1e9)
            return Ended(self._ended)

    def apply(self, command: Command, still_good: StillGood = always) -> Readback:
        """Pause, resume, stop or change the rate. Raises Refused for anything that a recording cannot do."""
        action = command.action
        with self._change:
            if self._over():
                raise Refused(f"the replay has ended: {self._ended}")
            still_good()
            match action:
                case Pause():
                    self._paused = True
                case Resume():
                    self._paused, self._due_ns = False, now_ns()
                case Stop():
                    self._stopped, self._ended = True, "stopped by command"
                case SetInterval(interval_ms=interval_ms):
                    asked_ns = self._usual_ns if interval_ms is None else round(interval_ms * 1e6)
                    self._due_ns += asked_ns - self._interval_ns
                    self._interval_ns = asked_ns
                case _:
                    raise Refused(f"a recording cannot {action.kind}; it takes {', '.join(COMMANDS)}")
            seen = isinstance(action, Resume | SetInterval)
            if seen:
                self._effects.append(command.command_id)
            self._change.notify_all()
            values = {"paused": self._paused, "interval_ms": self._interval_ns / 1e6, "stopped": self._stopped}
            return Readback(values, takes_frame=seen)

    def backlog(self) -> int:
        """Images read and not yet handed out."""
        with self._change:
            return len(self._ready)

    def stop(self) -> None:
        """End the replay and close the recording. Idempotent."""
        with self._change:
            if not self._over():
                self._ended = "stopped"
            self._stopped = True
            self._change.notify_all()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
        if self._recording is not None:
            self._recording.close()

    def _opened(self) -> Recording:
        if self._recording is None:
            raise DriverError("no recording is open; call open first")
        return self._recording

    def _numbers(self) -> list[int]:
        return list(dict.fromkeys(plane.frame for plane in self._planes))

    def _wanted(self, planes: Sequence[Plane]) -> list[Plane]:
        frames = self._options.frames
        wanted = [plane for plane in planes if frames is None or frames[0] <= plane.frame <= frames[1]]
        if not wanted:
            numbers = f"{planes[0].frame} to {planes[-1].frame}"
            raise SourceError(f"{self._options.source}: none of its frames {numbers} is within {frames}")
        return wanted

    def _first_pixels(self, recording: Recording) -> Pixels:
        """Return the first image that can be read: a recording of another kind of image is refused before it runs."""
        for plane in self._planes:
            try:
                image = recording.read(plane)
            except SourceError as error:
                unreadable = error
                continue
            return as_pixels(image, f"{self._options.source}, frame {plane.frame}")
        raise SourceError(f"{self._options.source}: not one image can be read; the last: {unreadable}")

    def _over(self) -> bool:
        return self._stopped or (self._read_all and not self._ready)

    def _wait_ns(self) -> int | None:
        """Return how long until the next item is due (0 or less: now); None: until something changes."""
        if self._paused or not self._ready:
            return None
        item = self._ready[0]
        if isinstance(item, Gap) or self._point is None or (item.index.t, item.frame) == self._point:
            return 0
        return self._due_ns - now_ns()

    def _hand_out(self) -> Frame | Gap:
        item = self._ready.popleft()
        self._change.notify_all()
        if isinstance(item, Gap):
            return item
        now = now_ns()
        point = (item.index.t, item.frame)
        if point != self._point:
            late = self._point is not None and self._interval_ns and now - self._due_ns < self._interval_ns
            self._due_ns = (self._due_ns if late else now) + self._interval_ns
            self._point = point
        effects, self._effects = tuple(self._effects), []
        return replace(item, stamps=Stamps(t_pop_ns=now, wall_ns=wall_ns(), host=HOST), commands=effects)

    def _read_ahead(self, recording: Recording, time_points: int | None) -> None:
        try:
            for item in self._items(recording, time_points):
                with self._change:
                    self._change.wait_for(lambda: self._stopped or len(self._ready) < self._options.prefetch)
                    if self._stopped:
                        return
                    self._ready.append(item)
                    self._change.notify_all()
        except Exception as error:  # the thread's edge: without it next() would wait for ever
            _log.exception("the replay of %s failed", self._options.source)
            self._ended = f"the replay failed: {type(error).__name__}: {error}"
        with self._change:
            self._read_all = True
            self._change.notify_all()

    def _items(self, recording: Recording, time_points: int | None) -> Iterator[Frame | Gap]:
        numbers = self._numbers()[:time_points]
        stride, last, seq = Stride(), numbers[0], 0
        for plane in self._planes:
            if plane.frame > numbers[-1]:
                return
            stride.see(plane.frame)
            missing = stride.between(last, plane.frame)
            if missing:
                said = f"no image numbered {last + stride.step} to {plane.frame - 1}"
                yield self._gap(plane, seq, missing, "missing", said)
            last = plane.frame
            try:
                yield self._frame(recording, plane, seq)
                seq += 1
            except (SourceError, FrameError) as error:
                yield self._gap(plane, seq, 1, "corrupt", str(error))

    def _frame(self, recording: Recording, plane: Plane, seq: int) -> Frame:
        where = f"{self._options.source}, frame {plane.frame}"
        pixels = as_pixels(recording.read(plane), where)
        if pixels.shape != self._shape:
            raise SourceError(f"{where}: {pixels.shape} px where the others have {self._shape}")
        scale: Affine = ((self._pixel_um, 0.0), (0.0, self._pixel_um))
        return Frame(
            self._run, self._camera, self._session, self._epoch, seq, field_name(self._camera, plane.index.p),
            plane.frame, pixels, plane.index, affine_um=scale, channel=plane.channel, metadata=self._dated(plane),
        )  # fmt: skip

    def _dated(self, plane: Plane) -> dict[str, float]:
        """Say when the recording took a plane, whatever the speed at which it is played."""
        interval_ms = self._opened().about.interval_ms
        if interval_ms is None:
            return {}
        return {T_RECORDED_MS: (plane.index.t - self._planes[0].index.t) * interval_ms}

    def _gap(self, plane: Plane, seq: int, missing: int, reason: str, detail: str) -> Gap:
        field = field_name(self._camera, plane.index.p)
        return Gap(self._camera, field, self._session, self._epoch, seq - 1, missing, reason, detail)
