"""The splitting of height images: what is one blob and what is two."""

from __future__ import annotations

import numpy as np
import pytest

from models.segment.split import split


def hills(peaks: list[tuple[int, float]], width: int = 60, spread: float = 5.0):
    x = np.arange(width)
    profile = np.max([h * np.exp(-((x - c) ** 2) / (2 * spread**2)) for c, h in peaks], axis=0)
    height = np.repeat(profile[None], 9, 0)
    height[height < 0.02] = 0
    return np.ascontiguousarray(height, np.float32)


ONE = np.zeros((9, 60), np.int32)


@pytest.mark.parametrize(
    ("name", "peaks", "ratio", "rise", "area", "count"),
    [
        ("one hill", [(30, 1.0)], 0.9, 0.0, 0.0, 1),
        ("two far apart", [(15, 1.0), (45, 1.0)], 0.9, 0.0, 0.0, 2),
        ("a ripple", [(28, 1.0), (32, 1.0)], 0.9, 0.0, 0.0, 1),
        ("a ripple, if ripples count", [(26, 1.0), (34, 1.0)], 1.0, 0.0, 0.0, 2),
        ("a rise too small", [(20, 1.0), (40, 0.3)], 0.9, 0.5, 0.0, 1),
        ("a low hill", [(15, 1.0), (45, 0.3)], 0.9, 0.0, 0.0, 2),
        ("a hill too tiny", [(18, 1.0), (42, 0.6)], 0.9, 0.0, 400.0, 1),
    ],
)
def test_what_is_one_blob(name, peaks, ratio, rise, area, count):
    labels, n = split(hills(peaks), ONE, ratio, rise, area)
    assert n == count == labels.max(), name


def test_the_border_lies_in_the_valley():
    labels, _ = split(hills([(15, 1.0), (45, 1.0)]), ONE, 0.9, 0.0, 0.0)
    assert (labels[:, :30] == labels[0, 15]).sum() > 200
    assert labels[4, 15] != labels[4, 45]
    assert set(np.unique(labels[:, 22:30])) <= {0, labels[4, 15]}


def test_zones_are_never_joined():
    zone = ONE.copy()
    zone[:, 30:] = 1
    labels, n = split(hills([(30, 1.0)]), zone, 0.0, 9.0, 1e9)
    assert n == 2
    assert not set(np.unique(labels[:, :30])) & (set(np.unique(labels[:, 30:])) - {0})


def test_plateaus_and_nothing():
    labels, n = split(np.ones((9, 60), np.float32), ONE, 0.9, 0.0, 0.0)
    assert n == 1
    assert (labels == 1).all()
    labels, n = split(np.zeros((9, 60), np.float32), ONE, 0.9, 0.0, 0.0)
    assert n == 0
    assert not labels.any()


def test_every_pixel_above_zero_gets_a_label_of_its_connected_blob():
    rng = np.random.default_rng(1)
    height = np.maximum(rng.normal(size=(50, 70)), 0).astype(np.float32)
    labels, n = split(height, np.zeros(height.shape, np.int32), 1.0, 0.0, 0.0)
    assert ((labels > 0) == (height > 0)).all()
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, n + 1))
    assert n > 1024 // 8
