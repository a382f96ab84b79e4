"""What can go wrong at night: ``faults`` in ``[camera.options]``, each with a name and a time.

::

    faults = [
        { kind = "stage_drift", at_s = 10, um_per_min = [3, 0] },
        { kind = "dropped_frames", at_s = 20, for_s = 5, fraction = 0.2 },
    ]

Seconds and minutes here are those of the camera's clock: it counts the periods of a sequence's frames, whatever the
wall says, and real time between sequences and between single images. In stream mode the same commands at the same
frames meet the same faults again. Chance comes from the seed.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from stream.settings import Settings


class _Fault(Settings):
    kind: str
    at_s: float = Field(default=0.0, ge=0)
    """When it begins."""
    for_s: float | None = Field(default=None, gt=0)
    """How long it lasts; None: to the end."""

    def on(self, clock_s: float) -> bool:
        """Whether it is going on."""
        return self.at_s <= clock_s and (self.for_s is None or clock_s < self.at_s + self.for_s)

    def lasted_s(self, clock_s: float) -> float:
        """For how long it has gone on."""
        passed_s = max(clock_s - self.at_s, 0.0)
        return passed_s if self.for_s is None else min(passed_s, self.for_s)


class StageDrift(_Fault):
    """The sample wanders under a stage that reports to stand still; what it has wandered stays."""

    kind: Literal["stage_drift"]
    um_per_min: tuple[float, float] = (1.0, 0.0)


class StageBacklash(_Fault):
    """Each axis loses so much of its way after it has turned around, and reports to have gone all of it."""

    kind: Literal["stage_backlash"]
    um: float = Field(default=2.0, gt=0)


class FocusDrift(_Fault):
    """The focal plane wanders."""

    kind: Literal["focus_drift"]
    um_per_min: float = 1.0


class Bubbles(_Fault):
    """Air bubbles pass: large, dimmer within, with a bright rim."""

    kind: Literal["bubbles"]
    per_min: float = Field(default=6.0, gt=0)
    radius_um: float = Field(default=25.0, gt=0)
    speed_um_s: float = Field(default=40.0, gt=0)


class Debris(_Fault):
    """Specks pass. ``contrast`` above 0: they glow, in units of a young nucleus; below 0: they take that part away."""

    kind: Literal["debris"]
    per_min: float = Field(default=12.0, gt=0)
    radius_um: float = Field(default=4.0, gt=0)
    speed_um_s: float = Field(default=10.0, gt=0)
    contrast: float = Field(default=2.0, ge=-1)


class DeadPixels(_Fault):
    """A part of the pixels sees nothing."""

    kind: Literal["dead_pixels"]
    fraction: float = Field(default=2e-4, gt=0, le=1)


class HotPixels(_Fault):
    """A part of the pixels fills by itself."""

    kind: Literal["hot_pixels"]
    fraction: float = Field(default=2e-4, gt=0, le=1)
    e_per_s: float = Field(default=50_000.0, gt=0)


class LampFlicker(_Fault):
    """The light of each frame is off by a random part, with this root mean square."""

    kind: Literal["lamp_flicker"]
    rms: float = Field(default=0.05, gt=0, lt=1)


class LampDecay(_Fault):
    """The lamp gets weaker, to half in this time."""

    kind: Literal["lamp_decay"]
    half_life_min: float = Field(default=10.0, gt=0)


class DroppedFrames(_Fault):
    """The camera loses a part of its frames after it has exposed them; ``silent``: image numbers do not show it."""

    kind: Literal["dropped_frames"]
    fraction: float = Field(default=0.05, gt=0, le=1)
    silent: bool = False


class SlowStage(_Fault):
    """A move in the plane takes its time, and frames are exposed under it."""

    kind: Literal["slow_stage"]
    takes_ms: float = Field(default=500.0, gt=0)


class RefusingStage(_Fault):
    """A move in the plane raises an error, or stops ``short_um`` before its end (or does not begin, if shorter)."""

    kind: Literal["refusing_stage"]
    how: Literal["raises", "stops_short"] = "raises"
    short_um: float = Field(default=5.0, gt=0)


class CameraDies(_Fault):
    """A running sequence ends without a word, or with an error; a single image always fails with an error.

    Sequences that are started while it lasts end at once.
    """

    kind: Literal["camera_dies"]
    how: Literal["stops", "raises"] = "stops"


class CameraHangs(_Fault):
    """No image comes, and the camera says that it is busy taking one."""

    kind: Literal["camera_hangs"]


class CellsLeave(_Fault):
    """At ``at_s`` a part of the resting cells comes off and floats away."""

    kind: Literal["cells_leave"]
    fraction: float = Field(default=0.1, gt=0, le=1)
    flow_um_min: tuple[float, float] = (3.0, 1.0)
    """Per minute of the specimen."""


class TemperatureDrop(_Fault):
    """All life goes at this fraction of its pace."""

    kind: Literal["temperature_drop"]
    pace: float = Field(default=0.5, ge=0, le=1)


AnyFault = (
    StageDrift | StageBacklash | FocusDrift | Bubbles | Debris | DeadPixels | HotPixels | LampFlicker | LampDecay
    | DroppedFrames | SlowStage | RefusingStage | CameraDies | CameraHangs | CellsLeave | TemperatureDrop
)  # fmt: skip
KINDS: dict[str, type[_Fault]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(AnyFault)
}


def _named(data: Any) -> Any:
    """Name what is nearest to an unknown kind or key."""
    if not isinstance(data, dict):
        return data
    kind = data.get("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown fault {kind!r}; {_nearest(str(kind), list(KINDS))}")
    known = list(KINDS[kind].model_fields)
    for key in data:
        if key not in known:
            raise ValueError(f"unknown key '{key}' of fault '{kind}'; {_nearest(key, known)}")
    return data


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else "known: " + ", ".join(known)


Fault = Annotated[Annotated[AnyFault, Field(discriminator="kind")], BeforeValidator(_named)]
