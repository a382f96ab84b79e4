"""A few frames of drawn cells, always the same: something for a network to see when it is checked or timed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
PITCH = 1.4
"""Distance from cell to cell, in diameters: 800 cells of 26 px on 1024 × 1024."""
STEP = 0.06
"""How far a cell moves from frame to frame, in diameters."""


@dataclass(frozen=True, slots=True)
class Look:
    """How cells of one kind look: ``background`` and ``brightness`` in counts."""

    background: float
    brightness: float
    aspect: float
    """Longest by shortest diameter."""
    flatness: float
    """1: brightest in the middle; larger: even, with a steep edge."""
    halo: float
    """Depth of the dark ring around a cell, in parts of its brightness."""
    photons: float
    """Of an ordinary cell: the noise is that of so many."""

    @property
    def gain(self) -> float:
        """Counts of one photon."""
        return (self.background + self.brightness) / self.photons


LOOKS = {"nuclei": Look(100.0, 400.0, 1.3, 4.0, 0.0, 200.0), "phase": Look(300.0, 220.0, 1.8, 1.0, 0.12, 2000.0)}


def scene(kind: str, side_px: int, *, object_px: float, seed: int = 0, frames: int = 2) -> Floats:
    """Return the previous and the current frame, or more, oldest first: ``(frames, side, side)`` in counts.

    Parameters
    ----------
    kind
        ``nuclei``: even bright discs of very different brightness; ``phase``: spindles with a halo.
    object_px
        Diameter of a disc with a cell's area.
    """
    rng = np.random.default_rng(seed)
    look = LOOKS[kind]
    centres = _centres(side_px, object_px, rng)
    shift = rng.normal(0.0, STEP * object_px, centres.shape)
    angle = rng.uniform(0.0, np.pi, len(centres))
    size = object_px / 2 * rng.uniform(0.85, 1.15, len(centres))
    light = look.brightness * np.exp(rng.normal(0.0, 0.35, len(centres)))
    shown = np.full((frames, side_px, side_px), look.background, np.float32)
    for number, frame in enumerate(shown):
        for place, radius, turn, amount in zip(centres + number * shift, size, angle, light, strict=True):
            _draw(frame, place, float(radius), float(turn), float(amount), look)
    noisy: Floats = (rng.poisson(np.maximum(shown, 0.0) / look.gain) * look.gain).astype(np.float32)
    return noisy


def _centres(side_px: int, object_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return places on a grid, each a little off it, ``(n, 2)``."""
    along = max(1, round(side_px / (PITCH * object_px)))
    pitch = side_px / along
    grid = (np.stack(np.meshgrid(np.arange(along), np.arange(along), indexing="ij"), -1).reshape(-1, 2) + 0.5) * pitch
    return np.asarray(grid + rng.uniform(-0.15, 0.15, grid.shape) * pitch)


def _draw(frame: Floats, place: NDArray[np.float64], radius: float, turn: float, light: float, look: Look) -> None:
    """Add one cell to a frame."""
    long = radius * np.sqrt(look.aspect)
    short = radius / np.sqrt(look.aspect)
    reach = int(1.6 * long) + 2
    y0, x0 = (int(v) - reach for v in place)
    rows = slice(max(y0, 0), max(y0 + 2 * reach + 1, 0))
    columns = slice(max(x0, 0), max(x0 + 2 * reach + 1, 0))
    part = frame[rows, columns]
    y = (np.arange(rows.start, rows.start + part.shape[0]) - place[0])[:, None]
    x = (np.arange(columns.start, columns.start + part.shape[1]) - place[1])[None, :]
    along, across = y * np.sin(turn) + x * np.cos(turn), y * np.cos(turn) - x * np.sin(turn)
    r = np.hypot(along / long, across / short)
    body = np.clip(1.0 - r ** (2.0 * look.flatness), 0.0, 1.0)
    ring = np.exp(-(((r - 1.25) / 0.2) ** 2))
    part += (light * (body - look.halo * ring)).astype(np.float32)
