"""The four stages of one field, in order: the same objects live, in a replay and in an evaluation."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from stream import plugins
from stream.cells import Segmentation
from stream.clock import now_ns
from stream.config import ChainSettings
from stream.errors import StageError
from stream.event import Event
from stream.lineage import Tracks
from stream.stages import Denoiser, Divider, Moment, Segmented, Segmenter, Stateful, Tracked, Tracker

STAGES = ("denoise", "segment", "track", "divide")


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """Everything the chain says about one moment; the moment's stamps hold every stage.

    ``state`` is what :meth:`Chain.load` takes to go on after it; empty where nobody asked for it.
    """

    moment: Moment
    segmentation: Segmentation
    tracks: Tracks
    events: Sequence[Event]
    state: bytes = b""


@dataclass(slots=True, eq=False)
class Work:
    """A moment on its way through the chain; each stage fills in its part, and its state after it where ``keep``."""

    moment: Moment
    keep: bool = False
    states: list[bytes] = field(default_factory=list)
    segmentation: Segmentation | None = None
    tracked: Tracked | None = None
    events: Sequence[Event] = ()

    def decision(self) -> Decision:
        """Return the finished work."""
        if self.tracked is None:
            raise StageError("a moment left the chain before it was tracked")
        state = _packed(self.states) if len(self.states) == len(STAGES) else b""
        return Decision(self.moment, self.tracked.segmentation, self.tracked.tracks, self.events, state)


class NoDenoiser:
    """Passes moments on as they are."""

    def step(self, moment: Moment) -> Moment:
        """Return the moment unchanged."""
        return moment

    def reset(self, reason: str) -> None:
        """Forget nothing."""

    def save(self) -> bytes:
        """Return an empty state."""
        return b""

    def load(self, state: bytes) -> None:
        """Take up an empty state."""


class Chain:
    """Denoise, segment, track and divide for one field.

    Each stage may run on a thread of its own (one moment at a time and in order); :meth:`step` runs all four.

    Parameters
    ----------
    settings
        The ``[chain]`` table.
    base
        Where relative ``file.py:Name`` stages are looked for.
    first_track_id
        The first id that the tracker may give.
    """

    def __init__(self, settings: ChainSettings, base: Path | None = None, first_track_id: int = 1) -> None:
        def make(group: plugins.Group, name: str, options: Mapping[str, Any]) -> Any:
            return plugins.load(group, name, base)(options)

        self.segmenter: Segmenter = make("segmenters", settings.segment, settings.segment_options)
        denoise = settings.denoise
        if denoise == "auto":  # a segmenter that does not say what it looks at may look at denoised pixels
            denoise = "none" if getattr(self.segmenter, "looks_at", "denoised") == "raw" else "recursive"
        denoiser = NoDenoiser() if denoise == "none" else make("denoisers", denoise, settings.denoise_options)
        self.denoiser: Denoiser = denoiser
        track_options = {"first_id": first_track_id, **settings.track_options}
        self.tracker: Tracker = make("trackers", settings.track, track_options)
        self.divider: Divider = make("dividers", settings.divide, settings.divide_options)

    @property
    def choice(self) -> str:
        """What the segmenter chose from the first frame, in words; its class name where it had no choice."""
        return str(getattr(self.segmenter, "choice", "") or type(self.segmenter).__name__)

    def stages(self) -> tuple[tuple[str, Callable[[Work], None]], ...]:
        """Return the stages by name, each a step that fills in its part of a :class:`Work`."""
        return tuple(zip(STAGES, (self._denoise, self._segment, self._track, self._divide), strict=True))

    def step(self, moment: Moment) -> Decision:
        """Run all stages on one moment. Raises StageError when a stage is given or makes something impossible."""
        work = Work(moment)
        for name, stage in self.stages():
            run_stage(name, stage, work)
        return work.decision()

    def finish(self) -> Sequence[Event]:
        """Close the events that are still open at the end of a stream."""
        return self.divider.finish()

    def reset(self, reason: str) -> None:
        """Forget the past in every stage."""
        for part in self._parts():
            part.reset(reason)

    def save(self) -> bytes:
        """Return the state of all stages."""
        return _packed([part.save() for part in self._parts()])

    def keep(self, place: int, work: Work) -> None:
        """Add the state of one stage, right after its step: the stages are at different moments at any one time."""
        work.states.append(self._parts()[place].save())

    def load(self, state: bytes) -> None:
        """Take up a state of :meth:`save`. Raises StageError when it is torn."""
        if len(state) < 32 or sum(lengths := struct.unpack_from("<4Q", state)) + 32 != len(state):
            raise StageError(f"a saved chain of {len(state)} bytes is torn; start without it")
        offset = 32
        for part, length in zip(self._parts(), lengths, strict=True):
            part.load(state[offset : offset + length])
            offset += length

    def _parts(self) -> tuple[Stateful, ...]:
        return (self.denoiser, self.segmenter, self.tracker, self.divider)

    def _denoise(self, work: Work) -> None:
        work.moment = self.denoiser.step(work.moment)
        denoised, pixels = work.moment.denoised, work.moment.frame.pixels
        if denoised is not None and denoised.shape != pixels.shape:
            raise StageError(f"the denoiser returned pixels of {denoised.shape} for a frame of {pixels.shape}")

    def _segment(self, work: Work) -> None:
        work.segmentation = self.segmenter.step(work.moment)
        if work.segmentation.labels.shape != work.moment.frame.pixels.shape:
            got, want = work.segmentation.labels.shape, work.moment.frame.pixels.shape
            raise StageError(f"the segmenter returned labels of {got} for a frame of {want}")

    def _track(self, work: Work) -> None:
        work.tracked = self.tracker.step(Segmented(work.moment, cast(Segmentation, work.segmentation)))

    def _divide(self, work: Work) -> None:
        work.events = self.divider.step(cast(Tracked, work.tracked))


def _packed(states: Sequence[bytes]) -> bytes:
    return struct.pack("<4Q", *map(len, states)) + b"".join(states)


def run_stage(name: str, stage: Callable[[Work], None], work: Work) -> None:
    """Run one stage and stamp when it began and ended."""
    begin = now_ns()
    stage(work)
    frame = work.moment.frame
    stamped = replace(frame, stamps=frame.stamps.with_stage(name, begin, now_ns()))
    work.moment = replace(work.moment, frame=stamped)


def warm(settings: ChainSettings, shape: tuple[int, int], dtype: np.dtype[Any], base: Path | None = None) -> None:
    """Run a throw-away chain on three made-up moments of this shape, so that no live frame waits for a compiler."""
    from stream.frame import Frame

    chain = Chain(settings, base)
    y, x = np.mgrid[: shape[0], : shape[1]]
    spots = (np.hypot((y % 48) - 24, (x % 48) - 24) < 10) & (x > 48)
    for number in range(3):
        noise = np.random.default_rng(number).normal(100, 5, shape)
        pixels = np.clip(noise + 80 * np.roll(spots, number, axis=0), 0, 255).astype(dtype)
        frame = Frame("warm", "warm", "warm", 0, number, "warm:p0", number, pixels)
        chain.step(Moment(frame, dict.fromkeys(settings.measure_channels, pixels), elapsed_s=float(number)))
    chain.finish()
