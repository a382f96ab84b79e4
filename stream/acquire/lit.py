"""Light that has fallen: of one frame, of no frame, and on one field so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.acquire.budget import Level
from stream.acquire.lamp import Power
from stream.frame import Frame, is_aside


@dataclass(frozen=True, slots=True)
class Lit:
    """The light of one frame.

    ``power`` is None where nobody knows it; ``between_ms`` is what it adds beyond its exposure, at full power.
    """

    power: Power
    between_ms: float
    reached: Level | None
    """The level that the field has reached with it."""


@dataclass(frozen=True, slots=True)
class Burnt:
    """Light that no frame took, in ms at full power, and the level that its field reached with it."""

    field: str
    cost_ms: float
    reached: Level | None
    exposure_ms: float


@dataclass(slots=True)
class FieldLight:
    """What one field has had, and how its newest frames were exposed."""

    name: str
    spent_ms: float
    level: Level = Level.FREE
    frame_ms: float = 0.0
    """What its newest frame cost."""
    exposure_ms: float = 0.0
    seen: bool = False
    lit_after: int = 0
    """Lit frames since its budget was spent."""
    _exposures_ms: dict[tuple[bool, str], float] = field(default_factory=dict)

    def took(self, frame: Frame) -> None:
        """Note how a frame was exposed."""
        self.exposure_ms, self.seen = frame.exposure_ms, True
        self._exposures_ms[is_aside(frame.field), frame.channel] = frame.exposure_ms

    def longest_ms(self, *, beside: bool) -> float:
        """Return the longest of the newest exposures of its channels, in the plan or beside it."""
        return max((ms for (aside, _), ms in self._exposures_ms.items() if aside == beside), default=0.0)
