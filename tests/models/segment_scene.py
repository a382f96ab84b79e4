"""Pictures with known cells, for the tests of the segmenters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.frame import Frame
from stream.stages import Moment

Image = NDArray[np.uint16]


def moment(pixels: NDArray[np.generic], number: int = 0, **known: object) -> Moment:
    """One time point of a field."""
    frame = Frame("run", "cam", "s", 0, number, "cam:p0", number, np.array(pixels))  # type: ignore[arg-type]
    return Moment(frame, **known)  # type: ignore[arg-type]


def discs(
    shape: tuple[int, int],
    centres: list[tuple[float, float]],
    radius: float,
    contrast: float | list[float] = 500.0,
    offset: float = 1000.0,
    noise: float = 5.0,
    seed: int = 0,
) -> Image:
    """Soft-edged discs on a flat background with Gaussian noise."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, offset)
    heights = contrast if isinstance(contrast, list) else [contrast] * len(centres)
    for (cy, cx), height in zip(centres, heights, strict=True):
        edge = radius - np.hypot(y - cy, x - cx)
        image += height * np.clip(edge / 2 + 0.5, 0, 1)
    image += np.random.default_rng(seed).normal(0, noise, shape)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def grid(shape: tuple[int, int], spacing: int) -> list[tuple[float, float]]:
    """Centres on a square grid, away from the border."""
    rows, columns = (range(spacing, side - spacing // 2, spacing) for side in shape)
    return [(float(y), float(x)) for y in rows for x in columns]
