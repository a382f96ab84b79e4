"""What one exposure sees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """Everything that decides what one exposure sees.

    ``stage_um`` (x, y, z) is what the centre of the full sensor looks at; ``roi_px`` (x, y, w, h) counts binned pixels;
    ``power`` is 0 to 1; ``period_ms`` is the time from this frame's beginning to the next one's. ``held_open``: the
    light is on for all of the period, and not only for the exposure.
    """

    stage_um: tuple[float, float, float]
    roi_px: tuple[int, int, int, int]
    binning: int
    exposure_ms: float
    period_ms: float
    power: float
    channel: str
    pixel_type: str
    held_open: bool = False
