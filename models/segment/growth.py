"""Cells shrink as a culture fills its dish: the size at which a network looks follows them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from stream.cells import Floats

ENOUGH = 20
"""Cells in a frame whose median size is believed."""
FIRST = 6
"""Frames after the first whose sizes say what is usual at the diameter that was chosen."""
SMOOTHED = 8
"""Frames over which sizes are averaged then."""
STEP = 0.03
"""The diameter changes by this at a time (a natural logarithm)."""
FARTHEST = 0.6
"""It never goes further from what was chosen: cells of half the size are another thing, or not in focus."""
AHEAD = 2
"""Frames from the decision to the change: time to open the network for a picture of another size."""


@dataclass(slots=True)
class Growth:
    """How the cells of a field have grown since their diameter was chosen.

    Sizes are compared with the diameter that the network was told: whatever it draws too wide, it goes on to. The same
    frames give the same changes, whatever the machine.

    Parameters
    ----------
    seen
        Frames with enough cells.
    usual, lately
        Logarithm of the cells' median diameter over the one that was told, in the first frames and now.
    gone
        Logarithm of the diameter over the one that was chosen.
    step, wait
        The next change, and the frames until it; 0: none is decided.
    """

    seen: int = 0
    usual: float = 0.0
    lately: float = 0.0
    gone: float = 0.0
    step: float = 0.0
    wait: int = 0

    def see(self, area_px: Floats, told_px: float) -> bool:
        """Look at the cells of a frame, areas in px of the picture; return whether a change was decided now."""
        if len(area_px) < ENOUGH:
            return False
        self.seen += 1
        if self.seen == 1:  # the first frame has none before it, and looks different
            return False
        size = float(np.log(2 * np.sqrt(np.median(area_px) / np.pi) / told_px))
        counted = self.seen - 1
        self.lately += (size - self.lately) / min(counted, SMOOTHED)
        if counted <= FIRST:
            self.usual = self.lately
        grown = self.lately - self.usual
        step = float(np.copysign(STEP, grown))
        if self.wait or abs(grown) <= STEP or abs(self.gone + step) > FARTHEST:
            return False
        self.step, self.wait = step, AHEAD
        return True

    def due(self) -> float:
        """Count a frame; return by what the diameter changes with it: 1 unless a change is due."""
        if not self.wait:
            return 1.0
        self.wait -= 1
        if self.wait:
            return 1.0
        self.gone += self.step
        self.lately -= self.step
        return float(np.exp(self.step))

    def packed(self) -> tuple[Any, ...]:
        """Return it as numbers; ``Growth(*numbers)`` is the same again."""
        return astuple(self)
