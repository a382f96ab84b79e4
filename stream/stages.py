"""The seams: what a driver, the stages of the chain and a policy look like from outside.

A *driver* brings frames and takes commands. The *chain* of one field is denoise → segment → track → divide; every stage
has one instance per field, is fed that field's time points in order, and may keep state. A *policy* turns events into
wishes and is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stream.cells import Segmentation
from stream.command import Action, Command
from stream.config import CameraSettings, PlanSettings
from stream.event import Event
from stream.frame import Ended, Frame, Gap
from stream.lineage import Tracks


@dataclass(frozen=True, slots=True)
class Readback:
    """What the hardware says after a command.

    ``values`` are read back, not echoed. ``takes_frame`` says whether a later frame will name the command in
    ``Frame.commands`` (it will not after Pause or Stop). ``boundary_ms`` was spent waiting for the frame boundary,
    ``device_ms`` in calls to the hardware. ``pending`` says of work that was only put in its place whether it is still
    to come; when it is not, and no frame named the command, there is none. ``ends`` names commands whose pending work
    this one took back.
    """

    values: Mapping[str, Any]
    takes_frame: bool = True
    boundary_ms: float = 0.0
    device_ms: float = 0.0
    pending: Callable[[], bool] | None = None
    ends: tuple[str, ...] = ()


StillGood = Callable[[], None]
"""Raises Refused where a command should not be applied any more."""


def always() -> None:
    """Let a command be applied, however long it waited."""


class Driver(Protocol):
    """A source of frames that may be commanded. It owns its threads; any method may be called from any thread."""

    def open(self, settings: CameraSettings, *, run: str, session: str, first_epoch: int = 0) -> None:
        """Load the hardware or the recording; epochs count from ``first_epoch``. Raises DriverError with what to do."""

    def describe(self) -> Mapping[str, Any]:
        """Say what was opened: devices, versions, sensor, channels, which commands it takes."""

    def start(self, plan: PlanSettings) -> None:
        """Begin to take frames."""

    def next(self, timeout_s: float) -> Frame | Gap | Ended | None:
        """Return the next frame or discontinuity; None when nothing came in time; Ended again and again at the end."""

    def apply(self, command: Command, still_good: StillGood = always) -> Readback:
        """Apply between frames, read back and compare. Raises Refused (with the reason) or DriverError.

        ``still_good`` is asked when the hardware is free for the command and before anything is changed; what it
        raises is raised here.
        """

    def backlog(self) -> int:
        """Frames taken and not yet handed out."""

    def stop(self) -> None:
        """End the acquisition and release the hardware. Idempotent; closes the light."""


@runtime_checkable
class Looks(Protocol):
    """A driver whose opening would set things, and that can say what is there without."""

    def look(self, settings: CameraSettings) -> Mapping[str, Any]:
        """Describe what would be opened; nothing is set, moved or exposed. Raises DriverError with what to do."""


@runtime_checkable
class Darkens(Protocol):
    """A driver that can close the light out of turn, for an emergency."""

    def darken(self) -> None:
        """Close the light now, from any thread, whatever another command is waiting for."""


@runtime_checkable
class Waits(Protocol):
    """A driver whose frames wait until they are asked for and are none the worse for it, as those of a recording."""

    waits: Literal[True]


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One field at one time point, as the chain sees it.

    Parameters
    ----------
    frame
        The frame of the ``segment_channel`` (a plane or a projection).
    channels
        Raw pixels ``(y, x)`` of each of the ``measure_channels``, by name; None where one was not taken or has another
        shape.
    denoised
        ``(y, x)`` float32 in camera counts, or None where nothing was denoised.
    missed
        Time points of this field that never came between the previous moment and this one.
    elapsed_s
        Seconds since the run's first frame by the rig's stamps, or as a recording states its times.
    """

    frame: Frame
    channels: Mapping[str, NDArray[Any] | None] = field(default_factory=dict)
    denoised: NDArray[np.float32] | None = None
    missed: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """A moment with its label image."""

    moment: Moment
    segmentation: Segmentation


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """A moment with the segmentation that the tracker corrected, and the tracks after it."""

    moment: Moment
    segmentation: Segmentation
    tracks: Tracks
    measured: object | None = None
    """What the tracker measured of the cells, for a divider that knows its kind and would measure the same again."""
    divided: Mapping[int, float] = field(default_factory=dict)
    """How probable the tracker held each division of this frame, by the mother's track id; empty where it does not
    weigh them."""


class Stateful(Protocol):
    """What every stage can do with its state. ``load(save())`` between any two steps changes nothing."""

    def reset(self, reason: str) -> None:
        """Forget the past."""

    def save(self) -> bytes:
        """Return the state as bytes (never a pickle)."""

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError."""


class Denoiser(Stateful, Protocol):
    """Fills ``Moment.denoised``."""

    def step(self, moment: Moment) -> Moment:
        """Return the moment with its denoised pixels."""


class Segmenter(Stateful, Protocol):
    """Finds the cells of a moment."""

    def step(self, moment: Moment) -> Segmentation:
        """Return the label image and its cells; labels are arbitrary."""


class Tracker(Stateful, Protocol):
    """Links cells to tracks."""

    def step(self, segmented: Segmented) -> Tracked:
        """Return the corrected segmentation (each label is its track_id) and the tracks after this frame."""


class Divider(Stateful, Protocol):
    """Proposes, confirms and retracts divisions."""

    def step(self, tracked: Tracked) -> Sequence[Event]:
        """Return new revisions; each provisional one ends as confirmed or retracted within k frames."""

    def finish(self) -> Sequence[Event]:
        """Close what is pending at the end of a stream, with reason ``end_of_stream``."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a policy asks for; the analysis turns it into a command with id, cause and age limit.

    ``position`` is the position of the plan that the command is for: its number, ``"event"`` for that of the event's
    field, ``"all"`` for none in particular. None: as the action needs it, all for an interval and for what concerns the
    whole run, the event's for everything else.
    """

    action: Action
    priority: int = 0
    max_age_ms: float | None = None
    reason: str = ""
    position: int | Literal["event", "all"] | None = None


@runtime_checkable
class Policy(Protocol):
    """Turns events into wishes. Pure: the same state and event give the same answer, and neither is changed.

    A policy that has the attribute ``on_frames = True`` is also asked after every decided frame of a field, with an
    event of kind ``frame`` (:data:`stream.event.TICK`) that is nothing but a clock.
    """

    def start(self) -> Any:
        """Return the state before the first event."""

    def decide(self, state: Any, event: Event) -> tuple[Any, Sequence[Wish]]:
        """Return the next state and what is wished for."""
