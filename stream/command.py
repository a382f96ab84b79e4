"""What may be asked of a rig, why, and what the rig answers.

These models are read from text (policy files, the wire, the command line), so they check what they are given.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from useq import MDASequence

from stream.frame import FrameRef


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SetExposure(_Model):
    """Expose each frame for ``exposure_ms``."""

    kind: Literal["set_exposure"] = "set_exposure"
    exposure_ms: float = Field(gt=0)


class SetInterval(_Model):
    """Begin a frame every ``interval_ms`` (0: as fast as the camera goes); None: as the plan says.

    With a position in the command's target only that position changes its schedule.
    """

    kind: Literal["set_interval"] = "set_interval"
    interval_ms: float | None = Field(default=None, ge=0)


class SetRoi(_Model):
    """Read only ``roi_px`` = (x, y, w, h) of the sensor; None: the whole sensor. Begins a new epoch."""

    kind: Literal["set_roi"] = "set_roi"
    roi_px: tuple[int, int, int, int] | None = None


class SetBinning(_Model):
    """Bin the sensor. Begins a new epoch."""

    kind: Literal["set_binning"] = "set_binning"
    binning: int = Field(ge=1, le=16)


class SetPixelType(_Model):
    """Set the camera's PixelType property, e.g. ``16bit``. Begins a new epoch."""

    kind: Literal["set_pixel_type"] = "set_pixel_type"
    pixel_type: str


class MoveStage(_Model):
    """Move the stage to an absolute position in µm; None leaves an axis alone."""

    kind: Literal["move_stage"] = "move_stage"
    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None


class Recentre(_Model):
    """Bring the stage point ``target_um`` = (x, y) to the middle of the image."""

    kind: Literal["recentre"] = "recentre"
    target_um: tuple[float, float]


class SetChannel(_Model):
    """Switch to a configured channel."""

    kind: Literal["set_channel"] = "set_channel"
    channel: str


class SetLight(_Model):
    """Set the light's power as a fraction 0 to 1 of its full power; ``on`` opens or closes its shutter."""

    kind: Literal["set_light"] = "set_light"
    power: float | None = Field(default=None, ge=0, le=1)
    on: bool | None = None


class AddPosition(_Model):
    """Visit one more position (µm) from the next time point on; without z: at the focus of the target's position.

    With a position in the target that was dropped, that one comes back, under its own number.
    """

    kind: Literal["add_position"] = "add_position"
    x_um: float
    y_um: float
    z_um: float | None = None


class DropPosition(_Model):
    """Visit the target's position no more. A visit that has begun is finished, unless ``at_once``."""

    kind: Literal["drop_position"] = "drop_position"
    at_once: bool = False


class Acquire(_Model):
    """Take a useq sequence (a burst, a z-stack, channels) at a place, then go on with the plan.

    ``at_um`` = (x, y) is brought to the middle of the image; None: the target's position, or where the stage is.
    ``sequenced`` lets the hardware run it in one go, where it can; nothing can be commanded meanwhile.
    """

    kind: Literal["acquire"] = "acquire"
    sequence: MDASequence
    at_um: tuple[float, float] | None = None
    sequenced: bool = False


class Cancel(_Model):
    """Take back an Acquire, or what is left of it; without an id: every one that feedback asked for."""

    kind: Literal["cancel"] = "cancel"
    command_id: str | None = None


class Stimulate(_Model):
    """Light the polygons ``mask_yx_px`` (vertices (y, x) in pixels of the cause's frame) through the modulator."""

    kind: Literal["stimulate"] = "stimulate"
    mask_yx_px: tuple[tuple[tuple[int, int], ...], ...]
    duration_ms: float = Field(gt=0)


class Pause(_Model):
    """Take no frames until Resume."""

    kind: Literal["pause"] = "pause"


class Resume(_Model):
    """Go on after Pause."""

    kind: Literal["resume"] = "resume"


class Stop(_Model):
    """End the run; frames already taken stay."""

    kind: Literal["stop"] = "stop"


Action = Annotated[
    SetExposure
    | SetInterval
    | SetRoi
    | SetBinning
    | SetPixelType
    | MoveStage
    | Recentre
    | SetChannel
    | SetLight
    | AddPosition
    | DropPosition
    | Acquire
    | Cancel
    | Stimulate
    | Pause
    | Resume
    | Stop,
    Field(discriminator="kind"),
]
ACTION_KINDS = (
    "set_exposure", "set_interval", "set_roi", "set_binning", "set_pixel_type", "move_stage", "recentre", "set_channel",
    "set_light", "add_position", "drop_position", "acquire", "cancel", "stimulate", "pause", "resume", "stop",
)  # fmt: skip

ALWAYS_ALLOWED = ("stop", "pause", "cancel")
"""Kinds that no list of limits forbids: they only ever take something back."""
NEVER_ASKED = ("stop", "pause", "cancel")
"""Kinds for which ``approve = ["all"]`` asks nobody, for the same reason."""


class Cause(_Model):
    """Why a command was wished for: the event, and the frame whose data decided it."""

    event_id: str | None = None
    frame: FrameRef | None = None
    origin: str = "operator"
    rule: str = ""
    """Which rule of the policy wished it, where it has names for them."""


class Decision(_Model):
    """An operator's word on a command that waits for it."""

    command_id: str = Field(min_length=1, max_length=200)
    approve: bool
    by: str = "operator"


class Target(_Model):
    """Whom a command is for; None means all."""

    camera: str | None = None
    position: int | None = None
    channel: str | None = None


class Command(_Model):
    """One request to a rig.

    ``issued_wall_ns`` is for the record only. ``max_age_ms`` limits the age of the *data*: the rig compares its own
    clock with its own pop stamp of the cause frame. None: never too old (operators).
    """

    command_id: str = Field(min_length=1, max_length=200)
    action: Action
    cause: Cause = Cause()
    issued_wall_ns: int
    max_age_ms: float | None = Field(default=None, gt=0)
    priority: int = 0
    target: Target = Target()


class AckState(StrEnum):
    """Where a command stands; the first two are progress, the rest are final."""

    RECEIVED = "received"
    ACCEPTED = "accepted"
    APPLIED = "applied"
    REFUSED = "refused"
    DENIED = "denied"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    SHADOWED = "shadowed"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self not in (AckState.RECEIVED, AckState.ACCEPTED)


FINAL_STATES = tuple(state for state in AckState if state.final)


class Ack(_Model):
    """The rig's answer: progress, then exactly one final state.

    ``readback`` is what the hardware says after the change; ``first_frame`` the first frame that shows it.
    """

    command_id: str
    state: AckState
    reason: str = ""
    readback: dict[str, Any] = Field(default_factory=dict)
    first_frame: FrameRef | None = None
    timings_ms: dict[str, float] = Field(default_factory=dict)
