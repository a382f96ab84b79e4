"""What feedback may do and how much light a field may have: the tables that the rig checks commands against."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from stream.command import ACTION_KINDS
from stream.settings import Settings

Box = tuple[float, float, float, float]
"""A rectangle of the stage in µm: x from, x to, y from, y to."""


def _kinds(names: Iterable[str], also: tuple[str, ...] = ()) -> None:
    """Raise ValueError for a kind of command that there is not; name the nearest."""
    for name in names:
        if name not in ACTION_KINDS and name not in also:
            near = difflib.get_close_matches(name, (*ACTION_KINDS, *also), n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "known: " + ", ".join((*ACTION_KINDS, *also))
            raise ValueError(f"no command is called '{name}'; {hint}")


class LimitSettings(Settings):
    """[limits] what feedback may do; checked at the rig. An absent limit allows what the hardware allows."""

    allow: tuple[str, ...] | None = None
    """Command kinds that feedback may send; None: all."""
    exposure_ms: tuple[float, float] = (0.01, 10_000.0)
    max_burst_ms: float = Field(default=2_000.0, gt=0)
    """The longest time that a hardware-sequenced burst keeps the core from commands; longer ones are taken in parts."""
    interval_ms: tuple[float, float] = (0.0, 3_600_000.0)
    light_power: tuple[float, float] = (0.0, 1.0)
    stimulate_ms: tuple[float, float] = (0.0, 10_000.0)
    """How long one command may stimulate."""
    x_um: tuple[float, float] | None = None
    y_um: tuple[float, float] | None = None
    z_um: tuple[float, float] | None = None
    forbidden_um: tuple[Box, ...] = ()
    """Places, as ``[x0, x1, y0, y1]``, where the stage may neither stand nor pass on its straight way."""
    max_move_um: float | None = Field(default=None, gt=0)
    """The longest move of one command."""
    max_positions: int = Field(default=100, ge=1)
    """Positions that the plan may have with those that commands add."""
    max_frames: int = Field(default=1_000, ge=1)
    """Frames that one ``acquire`` may take."""
    max_acquire_ms: float = Field(default=600_000.0, gt=0)
    """How long one ``acquire`` may take."""
    max_acquire_light_ms: float | None = Field(default=None, gt=0)
    """The most light of one ``acquire``, in ms at full power."""
    max_age_ms: float = Field(default=2_000.0, gt=0)
    """The oldest data that feedback may act on, whatever the command says."""
    rate_per_s: float = Field(default=20.0, gt=0)
    """Commands of feedback a second, over the last second."""
    rates_per_s: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """The same for single kinds; below 1 it is one command in so many seconds: ``recentre = 0.5``."""
    cooldown_s: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Time that must pass between two commands of a kind: ``acquire = 60``."""
    approve: tuple[str, ...] = ()
    """Kinds of feedback that wait for an operator's word; ``all``: every kind."""
    approve_timeout_s: float = Field(default=60.0, gt=0)
    """No answer within this time means no."""
    approved_max_age_ms: float | None = Field(default=None, gt=0)
    """Age limit of the data behind a command that an operator approved; None: as for every other command."""
    shadow: bool = False
    """Receive, check, record and answer everything that feedback asks for, and apply none of it."""
    alive_timeout_s: float = Field(default=2.0, gt=0)
    """Without a decision, or a sign of life, for so long the analysis counts as lost."""
    when_lost: Literal["base", "stop", "pause"] = "base"
    """What the rig does then, once the light is closed: go back to its base plan, end the run, or wait in the dark."""

    @field_validator("allow")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        _kinds(value or ())
        return value

    @field_validator("approve")
    @classmethod
    def _known_or_all(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _kinds(value, ("all",))
        return value

    @field_validator("rates_per_s", "cooldown_s")
    @classmethod
    def _known_keys_only(cls, value: dict[str, float]) -> dict[str, float]:
        _kinds(value)
        return value

    @field_validator("forbidden_um")
    @classmethod
    def _rectangles(cls, value: tuple[Box, ...]) -> tuple[Box, ...]:
        for x0, x1, y0, y1 in value:
            if x0 >= x1 or y0 >= y1:
                raise ValueError(
                    f"a forbidden zone is [x0, x1, y0, y1] with x0 < x1 and y0 < y1, not {(x0, x1, y0, y1)}"
                )
        return value

    @field_validator("exposure_ms", "interval_ms", "light_power", "stimulate_ms", "x_um", "y_um", "z_um")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"the lower limit {value[0]:g} is above the upper one {value[1]:g}")
        return value


class DoseSettings(Settings):
    """[dose] what light costs, and how much of it a field may have. Without ``mw_per_mm2`` the dose has no unit.

    Budgets are per field and over the whole run, restarts included. ``*_full_power_s`` count seconds of exposure at
    full power and need no calibration; of two budgets the one that is reached first holds.
    """

    mw_per_mm2: float | None = Field(default=None, gt=0)
    """Irradiance at the sample at full power."""
    photons_per_s_um2: float | None = Field(default=None, gt=0)
    """Photons a second and µm² at the sample at full power, where that is what was measured."""
    between_frames: Literal["auto", "lit", "dark"] = "auto"
    """Whether the light is on between frames of a stream: ``dark`` where the camera triggers it. ``auto``: as the rig
    says of its shutter, which stays open while a camera streams."""
    stimulate_power: float = Field(default=1.0, ge=0, le=1)
    """What the modulator's light counts as, as a fraction of the full power."""
    warn_j_per_cm2: float | None = Field(default=None, gt=0)
    throttle_j_per_cm2: float | None = Field(default=None, gt=0)
    budget_j_per_cm2: float | None = Field(default=None, gt=0)
    warn_full_power_s: float | None = Field(default=None, gt=0)
    throttle_full_power_s: float | None = Field(default=None, gt=0)
    budget_full_power_s: float | None = Field(default=None, gt=0)
    throttle_interval: float = Field(default=2.0, ge=1)
    """How much longer the rig itself makes the interval when a field reaches ``throttle``."""
    throttle_light: float = Field(default=0.5, gt=0, le=1)
    """How much of the light's power it leaves."""
    at_budget: Literal["leave", "dark", "stop"] = "leave"
    """What happens when a field has had its budget: its position is visited no more (where a plan cannot leave it,
    which is the last one or streams, the light closes), the whole plan goes on without light, or the run ends."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        by_energy = (self.warn_j_per_cm2, self.throttle_j_per_cm2, self.budget_j_per_cm2)
        by_time = (self.warn_full_power_s, self.throttle_full_power_s, self.budget_full_power_s)
        if any(by_energy) and self.mw_per_mm2 is None:
            raise ValueError("budgets in J/cm² need mw_per_mm2; without a calibration use warn_full_power_s and so on")
        for levels in (by_energy, by_time):
            given = [level for level in levels if level is not None]
            if given != sorted(given):
                raise ValueError(f"warn, throttle and budget must rise: {given}")
        return self
