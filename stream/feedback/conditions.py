"""What must hold for a rule to fire: the keys of its conditions, and the past that some of them ask about.

::

    density = {min = 200}               # cells for each mm² of the picture
    intensity = {max = 400, channel = 1}    # mean counts of the cell, in a measured channel (0: the first)
    state = {newborn = {min = 0.5}}     # the network's probabilities for the cell: interphase, mitosis, newborn, dead
    in_state = {mitosis = {min = 1}}    # cells of the field for which a state is more probable than not
    dividing = {min = 1}                # cells of the field that look like dividing, or like just born of a division
    generation = {min = 1}              # divisions seen above the cell
    age_s = {min = 600}                 # since the cell was first seen
    quiet_s = {min = 60}                # since anything was last said of the field (exits left aside) …
    quiet_s = {division = 60}           # … or since a division was; what was taken back does not count
    quiet_s = {division = {max = 60}}   # or the contrary: one was said lately
    exposed_ms = {max = 60000}          # exposure that the field has had, as far as the analysis saw it

"The cell" is the one that divided, dies or leaves; of a division its daughters are looked at together. On a frame
there is none: there intensity is the mean of all cells, and state the highest probability of any. What is unknown
never holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from stream.cells import STATES
from stream.event import KINDS, TICK, Context, Event
from stream.settings import Settings


class Bounds(Settings):
    """Inclusive; an absent side is open."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: nothing can match")
        return self

    @property
    def binds(self) -> bool:
        """Whether there is a value that they keep out."""
        return self.min is not None or self.max is not None

    def hold(self, value: float) -> bool:
        """Whether the value lies between; NaN never does, unless both sides are open."""
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class Place(Settings):
    """Where an event must be; ``field`` may hold wildcards (``Camera:p*``)."""

    x_um: tuple[float, float] | None = None
    y_um: tuple[float, float] | None = None
    field: str = "*"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for side in (self.x_um, self.y_um):
            if side and side[0] > side[1]:
                raise ValueError(f"{list(side)} ends before it begins: nothing can match")
        return self

    def hold(self, event: Event) -> bool:
        """Whether the event happened here."""
        sides = zip((self.x_um, self.y_um), event.position_um, strict=True)
        return fnmatchcase(event.field, self.field) and all(
            side is None or side[0] <= value <= side[1] for side, value in sides
        )


class Intensity(Bounds):
    """Mean counts in one of the measured channels."""

    channel: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class Past:
    """When something was last said of each field, by kind, and when the field was first heard of; run's time in s."""

    first_s: Mapping[str, float] = field(default_factory=dict)
    said_s: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def with_event(self, event: Event) -> Past:
        """Return the past with this event in it."""
        first_s = self.first_s if event.field in self.first_s else {**self.first_s, event.field: event.elapsed_s}
        if event.kind == TICK or event.status == "retracted":
            return self if first_s is self.first_s else Past(first_s, self.said_s)
        return Past(first_s, {**self.said_s, (event.field, event.kind): event.elapsed_s})

    def quiet_s(self, event: Event, kinds: tuple[str, ...]) -> tuple[float, bool]:
        """Return the seconds since one of these kinds, or since the field was first heard of; and whether one was."""
        times = [self.said_s[event.field, kind] for kind in kinds if (event.field, kind) in self.said_s]
        since_s = max(times) if times else self.first_s.get(event.field, event.elapsed_s)
        return event.elapsed_s - since_s, bool(times)


class Conditions(Settings):
    """Conditions of a rule; an absent one always holds."""

    where: Place = Place()
    confidence: Bounds = Bounds()
    count: Bounds = Bounds()
    pending: Bounds = Bounds()
    density: Bounds = Bounds()
    intensity: Intensity = Intensity()
    state: dict[str, Bounds] = Field(default_factory=dict)
    in_state: dict[str, Bounds] = Field(default_factory=dict)
    dividing: Bounds = Bounds()
    generation: Bounds = Bounds()
    age_s: Bounds = Bounds()
    quiet_s: dict[str, Bounds] = Field(default_factory=dict)
    exposed_ms: Bounds = Bounds()

    @field_validator("quiet_s", mode="before")
    @classmethod
    def _as_bounds(cls, value: Any) -> Any:
        """A number is a minimum; bounds without a kind are of any."""
        if not isinstance(value, Mapping):
            return {"any": {"min": value}}
        anything = {side: value[side] for side in ("min", "max") if side in value}
        rest = {kind: limit if isinstance(limit, Mapping) else {"min": limit} for kind, limit in value.items()
                if kind not in anything}  # fmt: skip
        return {**rest, "any": anything} if anything else rest

    @field_validator("quiet_s")
    @classmethod
    def _known_kinds(cls, value: dict[str, Bounds]) -> dict[str, Bounds]:
        return _known(value, (*KINDS, "any"), "event")

    @field_validator("state", "in_state")
    @classmethod
    def _known_states(cls, value: dict[str, Bounds]) -> dict[str, Bounds]:
        return _known(value, STATES, "state")

    def hold(self, event: Event, past: Past) -> bool:
        """Whether all conditions hold for an event."""
        now = event.context or Context()
        return (
            self.where.hold(event)
            and self.confidence.hold(event.confidence)
            and self.count.hold(event.cell_count)
            and self.pending.hold(now.pending)
            and self.density.hold(_density(event.cell_count, now.area_mm2))
            and self.intensity.hold(_at(now.mean_counts, self.intensity.channel))
            and all(limit.hold(_at(now.states, STATES.index(name))) for name, limit in self.state.items())
            and all(limit.hold(_at(now.in_state, STATES.index(name))) for name, limit in self.in_state.items())
            and self.dividing.hold(now.dividing)
            and self.generation.hold(now.generation)
            and self.age_s.hold(now.age_s)
            and self.exposed_ms.hold(now.exposed_ms)
            and all(self._quiet(kind, limit, event, past) for kind, limit in self.quiet_s.items())
        )

    def _quiet(self, kind: str, limit: Bounds, event: Event, past: Past) -> bool:
        kinds = tuple(one for one in KINDS if one != "exit") if kind == "any" else (kind,)
        quiet_s, said = past.quiet_s(event, kinds)
        return limit.hold(quiet_s) and (said or limit.max is None)


def _density(cells: int, area_mm2: float) -> float:
    """Return cells per mm²; NaN where the area is unknown, as with a camera whose pixels have no size."""
    return cells / area_mm2 if area_mm2 > 0 else math.nan


def _at(values: tuple[float, ...] | tuple[int, ...], place: int) -> float:
    return float(values[place]) if 0 <= place < len(values) else math.nan


def _known(value: dict[str, Bounds], names: tuple[str, ...], what: str) -> dict[str, Bounds]:
    for name in value:
        if name not in names:
            raise ValueError(f"unknown {what} '{name}'; known: {', '.join(names)}")
    return value
