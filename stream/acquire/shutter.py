"""A shutter that stays open between frames: for how long it has lit which field."""

from __future__ import annotations


class OpenShutter:
    """Counts time while light may fall on the sample, whether frames come or not. Not safe from several threads.

    Where the shutter opens for each exposure alone (``stays_open`` is False) it never counts anything.
    """

    def __init__(self, stays_open: bool) -> None:
        self.stays_open = stays_open
        self.field = ""
        """Which field it lights: that of the newest exposure."""
        self._since_ns: int | None = None
        self._counted_ms = 0.0

    @property
    def counts(self) -> bool:
        """Whether the sample is lit without a pause now."""
        return self.stays_open and self._since_ns is not None

    def opened(self, now_ns: int) -> None:
        """It may have been opened: light counts from now on."""
        if self._since_ns is None:
            self._since_ns = now_ns

    def between_ms(self, popped_ns: int, exposed_ms: float) -> float:
        """Return for how long it was open before a frame, beyond the exposure."""
        if not self.stays_open or self._since_ns is None:
            return 0.0
        return max((popped_ns - self._since_ns) / 1e6 - exposed_ms, 0.0)

    def took(self, field: str, popped_ns: int) -> float:
        """A frame tells of all light up to here; return what of that was counted while it was awaited."""
        counted_ms, self._counted_ms, self.field = self._counted_ms, 0.0, field
        if self._since_ns is not None:
            self._since_ns = popped_ns
        return counted_ms

    def burns(self, now_ns: int, power: float, *, closing: bool) -> float | None:
        """Return the light since it was asked last, in ms at full power; None where no time is counted.

        ``closing``: it has been closed now, or no frame will follow.
        """
        since_ns = self._since_ns
        if closing:
            self._since_ns = None
        if since_ns is None or not self.stays_open:
            return None
        lit_ms = max((now_ns - since_ns) / 1e6, 0.0) * power
        cost_ms = max(lit_ms - self._counted_ms, 0.0)
        self._counted_ms = 0.0 if closing else self._counted_ms + cost_ms
        return cost_ms
