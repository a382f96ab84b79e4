"""Brings the frames of one field and time point together: channels and planes become one :class:`Moment`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.analyse.elapsed import Elapsed
from stream.analyse.kept import Kept
from stream.analyse.schedule import UNKNOWN, Schedule
from stream.config import ChainSettings
from stream.frame import STAGE_MOVING, Frame, FrameRef, Stride
from stream.metrics import FRAMES_LOST
from stream.stages import Moment

OnLost = Callable[[str, FrameRef], None]
"""Told of a time point that cannot be segmented: the reason, and a frame of it."""


@dataclass(slots=True)
class _Open:
    """What has arrived of one time point; frames by (channel, plane)."""

    number: int
    frames: dict[tuple[str, int], Frame] = field(default_factory=dict)


class Gather:
    """Collects frames per field until a moment is whole.

    A time point that is still incomplete when the next one of its field begins is handed on with the channels it has.
    It is counted as lost, and told to ``on_lost``, where the segmented channel is missing, where its planes cannot be
    projected because the ROI changed between them, or where the stage moved under one: cells of no known place would
    seem to have jumped, divided or died. A measured channel of another shape counts as missing. Channels
    that the plan leaves out at a time point are not waited for; where that is the segmented one, there is no moment and
    nothing is lost.

    Parameters
    ----------
    segment_channel
        What is segmented where the settings do not say it; None: the first channel that arrives.
    schedule
        What is known of the time points beforehand.
    """

    def __init__(
        self,
        settings: ChainSettings,
        on_lost: OnLost = lambda reason, ref: None,
        segment_channel: str | None = None,
        schedule: Schedule = UNKNOWN,
    ) -> None:
        self._settings = settings
        self._on_lost = on_lost
        self.segment_channel: str | None = settings.segment_channel or segment_channel
        """Named by the settings, else by the first frame; None: there was none."""
        self._schedule = schedule
        self._strides: dict[str, Stride] = {}
        self._open: dict[str, _Open] = {}
        self._last: dict[str, int] = {}
        self._elapsed = Elapsed()

    def take_up(self, kept: Kept) -> None:
        """Go on after a field's frame; time goes on after the latest of them."""
        self._last[kept.ref.field] = kept.ref.frame
        self._strides[kept.ref.field] = Stride(self._schedule.step or kept.step, kept.ref.frame)
        self._elapsed.take_up(kept)

    def step_of(self, field: str) -> int:
        """Return by how much the numbers of a field's time points grow, as far as is known; 0: nothing is."""
        return self._strides[field].step if field in self._strides else self._schedule.step

    def add(self, frame: Frame) -> list[Moment]:
        """Take a frame; return the moments that it completes (0, 1, or 2 where it ends an incomplete one)."""
        self._elapsed.see(frame)
        if self.segment_channel is None:
            self.segment_channel = frame.channel
        name, left_out = frame.field, self._schedule.left_out(frame.index.p, frame.frame)
        done = self._close(name) if name in self._open and self._open[name].number != frame.frame else []
        if self.segment_channel in left_out and frame.channel != self.segment_channel:
            return done
        frames = self._part_of(frame).frames
        frames[(frame.channel, frame.index.z)] = frame
        if self._wanted(left_out) <= set(frames):
            done += self._close(name)
        return done

    def flush(self) -> list[Moment]:
        """Hand on whatever is still open, at the end of a stream."""
        return [moment for name in list(self._open) for moment in self._close(name)]

    def _planes(self) -> list[int]:
        z = self._settings.z
        return [z] if isinstance(z, int) else list(range(self._settings.planes))

    def _part_of(self, frame: Frame) -> _Open:
        """Return what has arrived of the frame's time point, which may begin with it."""
        if frame.field not in self._open:
            self._open[frame.field] = _Open(frame.frame)
            self._strides.setdefault(frame.field, Stride(self._schedule.step)).see(frame.frame)
        return self._open[frame.field]

    def _wanted(self, left_out: frozenset[str]) -> set[tuple[str, int]]:
        channels = {self.segment_channel or "", *set(self._settings.measure_channels) - left_out}
        return {(channel, plane) for channel in channels for plane in self._planes()}

    def _close(self, name: str) -> list[Moment]:
        part = self._open.pop(name)
        planes = self._taken(part, self.segment_channel or "")
        if len(_shapes(planes)) != 1:
            self._lose(name, part, "planes_differ" if planes else "no_segment_channel")
            return []
        if any(plane.metadata.get(STAGE_MOVING) for plane in planes):
            self._lose(name, part, "stage_moving")
            return []
        frame = self._project(planes)
        missed = self._missed(frame)
        self._last[name] = frame.frame
        measured, elapsed_s = self._measured(part, frame.pixels.shape), self._elapsed.of(frame)
        return [Moment(frame, measured, missed=missed, elapsed_s=elapsed_s)]

    def _missed(self, frame: Frame) -> int:
        last = self._last.get(frame.field, frame.frame)
        missing = self._strides[frame.field].between(last, frame.frame)
        unplanned = self._schedule.without(frame.channel, frame.index.p, last, frame.frame) if missing else 0
        return max(0, missing - unplanned)

    def _lose(self, name: str, part: _Open, reason: str) -> None:
        if self._last.get(name) == part.number:  # it was handed on before, and this came after it
            return
        FRAMES_LOST.labels("gather", reason).inc()
        self._on_lost(reason, next(iter(part.frames.values())).ref)

    def _measured(self, part: _Open, shape: tuple[int, ...]) -> dict[str, NDArray[Any] | None]:
        taken = {channel: self._taken(part, channel) for channel in self._settings.measure_channels}
        return {
            name: self._project(planes).pixels if _shapes(planes) == {shape} else None for name, planes in taken.items()
        }

    def _taken(self, part: _Open, channel: str) -> list[Frame]:
        return [part.frames[(channel, z)] for z in self._planes() if (channel, z) in part.frames]

    def _project(self, planes: Sequence[Frame]) -> Frame:
        """Return the plane, or the projection of several of one shape with the first one's description."""
        if len(planes) == 1:
            return planes[0]
        stack = np.stack([plane.pixels for plane in planes])
        flat = stack.max(axis=0) if self._settings.z == "max" else stack.mean(axis=0).astype(stack.dtype)
        return replace(planes[0], pixels=flat)


def _shapes(planes: Sequence[Frame]) -> set[tuple[int, ...]]:
    return {plane.pixels.shape for plane in planes}
