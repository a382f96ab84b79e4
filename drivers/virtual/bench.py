"""What the virtual devices are set to, in one place with one lock."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from drivers.virtual.options import VirtualOptions
from drivers.virtual.view import View
from stream.clock import now_ns


class Bench:
    """What the devices are set to: one lock, one moment."""

    def __init__(self, options: VirtualOptions) -> None:
        self._lock = threading.Lock()
        width, height = options.size_px
        self._view = View(
            (0.0, 0.0, 0.0), (0, 0, width, height), 1, options.exposure_ms, options.exposure_ms, options.light,
            options.channel_names[0], "16bit",
        )  # fmt: skip
        self._interval_ms = 0.0
        self._glide: tuple[tuple[float, float, float], int, int] | None = None
        self._open = False
        self._between = options.light_between_frames
        self._auto = True

    def change(self, **changes: Any) -> None:
        """Set fields of the view."""
        with self._lock:
            self._view = replace(self._view, **changes)

    def move(
        self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None, takes_ms: float = 0.0
    ) -> None:
        """Move the axes that are given, at once or within ``takes_ms``."""
        with self._lock:
            here = self._here(self._view).stage_um
            x, y, z = (old if new is None else float(new) for new, old in zip((x_um, y_um, z_um), here, strict=True))
            begun_ns = now_ns()
            self._glide = (here, begun_ns, begun_ns + round(takes_ms * 1e6)) if takes_ms else None
            self._view = replace(self._view, stage_um=(x, y, z))

    @property
    def moving(self) -> bool:
        """Whether the stage is on its way."""
        glide = self._glide
        return glide is not None and now_ns() < glide[2]

    def _here(self, view: View) -> View:
        """Return the view from where the stage is on its way."""
        glide = self._glide
        if glide is None:
            return view
        start, begun_ns, over_ns = glide
        part = min((now_ns() - begun_ns) / (over_ns - begun_ns), 1.0)
        x, y, z = (a + part * (b - a) for a, b in zip(start, view.stage_um, strict=True))
        return replace(view, stage_um=(x, y, z))

    def pace(self, interval_ms: float) -> None:
        """Begin frames so far apart (or as long as the exposure, where that is longer)."""
        with self._lock:
            self._interval_ms = interval_ms

    def shutter(self, is_open: bool) -> None:
        """Open or close."""
        with self._lock:
            self._open = is_open

    def auto(self, on: bool) -> None:
        """Let every frame be lit whatever the shutter says: the core opens it for each exposure."""
        with self._lock:
            self._auto = on

    @property
    def interval_ms(self) -> float:
        """As set."""
        return self._interval_ms

    @property
    def is_open(self) -> bool:
        """Whether the shutter is open."""
        return self._open

    @property
    def settings(self) -> View:
        """The view as set, whatever the shutter says."""
        return self._here(self._view)

    def view(self) -> View:
        """What an exposure that begins now sees."""
        with self._lock:
            view = self._here(self._view)
            lit = self._open or self._auto
            return replace(
                view,
                period_ms=max(view.exposure_ms, self._interval_ms),
                power=view.power if lit else 0.0,
                held_open=self._open or (lit and self._between),
            )
