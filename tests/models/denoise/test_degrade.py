"""Recordings with fewer photons: the same each time, of the same type and range, and as noisy as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.degrade import degraded


def scene(dtype: Any, offset: int, contrast: int) -> np.ndarray:
    image = np.full((200, 200), offset, dtype)
    image[50:150, 50:150] = offset + contrast
    return image


@pytest.mark.parametrize(
    ("dtype", "offset", "contrast", "dark"),
    [(np.uint16, 32900, 1500, 32900), (np.uint16, 0, 60000, 0), (np.uint8, 100, 100, 0)],
    ids=["offset", "wide", "phase"],
)
@pytest.mark.parametrize("photons", [5, 20])
def test_fewer_photons(dtype: Any, offset: int, contrast: int, dark: int, photons: int) -> None:
    pixels = scene(dtype, offset, contrast)
    dim = degraded(pixels, photons, seed=3)
    assert dim.dtype == pixels.dtype
    assert np.array_equal(dim, degraded(pixels, photons, seed=3))
    assert not np.array_equal(dim, degraded(pixels, photons, seed=4))
    bright = dim[55:145, 55:145].astype(float)
    if bright.max() < np.iinfo(dtype).max:
        peak = offset + contrast - dark
        assert bright.mean() == pytest.approx(offset + contrast, abs=0.03 * peak)
        assert bright.std() == pytest.approx(peak / np.sqrt(photons), rel=0.1)
    if offset == dark:
        assert np.ptp(dim[:40]) == 0


def test_a_dark_frame_stays_what_it_is() -> None:
    assert np.array_equal(degraded(np.full((8, 8), 7, np.uint16), 5, 0), np.full((8, 8), 7, np.uint16))
