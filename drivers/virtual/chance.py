"""Chance that belongs to a cell: what befalls one does not depend on how many others there are, or in which order.

A founder has a number, each of its descendants a path (1 for the founder; twice the mother's, and one more for the
second daughter). Seed, founder, path and the step of time fix every draw, so that the same cell in two runs has the
same fate, whatever became of its neighbours.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from drivers.virtual.kernels import compiled

Floats = NDArray[np.float32]
Keys = NDArray[np.uint64]
COLUMNS = 7
"""Normal numbers that a cell draws in each step."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@cache
def normal_table() -> Floats:
    """Quantiles of the normal distribution at the middle of 2^16 equal parts, scaled to variance 1."""
    normal = NormalDist()
    half = np.array([normal.inv_cdf((k + 0.5) / 65536) for k in range(32768)])
    table = np.concatenate([half, -half[::-1]])
    return np.asarray(table / table.std(), np.float32)


def keys_of(seed: int, founder: NDArray[np.int64], path: NDArray[np.int64]) -> Keys:
    """Return the key of each cell's own chance, (n,)."""
    start = np.random.SeedSequence([seed, 4]).generate_state(1, np.uint64)
    keys: Keys = _mixed(_mixed(start + founder.astype(np.uint64) * _GOLDEN) + path.astype(np.uint64))
    return keys


def generator_of(seed: int, founder: int, path: int, what: int) -> np.random.Generator:
    """Return the generator for one turn of one cell's life."""
    return np.random.default_rng(np.random.SeedSequence([seed, 5, founder, path, what]))


@compiled
def _mix(state: np.uint64) -> np.uint64:
    """Scramble 64 bits (splitmix64)."""
    bits = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@compiled
def _mixed(states: Keys) -> Keys:
    mixed = np.empty_like(states)
    for i in range(len(states)):
        mixed[i] = _mix(states[i])
    return mixed


@compiled
def drawn(keys: Keys, step: np.uint64, normal: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each cell draws in one step: normal numbers (n, COLUMNS), and one in [0, 1) (n,)."""
    noise, chance = np.empty((len(keys), 7)), np.empty(len(keys))
    for i in range(len(keys)):
        state = keys[i] + step * np.uint64(0xD1342543DE82EF95)
        one = _mix(state + np.uint64(0x9E3779B97F4A7C15))
        two = _mix(state + np.uint64(0x3C6EF372FE94F82A))
        three = _mix(state + np.uint64(0xDAA66D2C7DDF743F))
        for k in range(4):
            noise[i, k] = normal[(one >> np.uint64(16 * k)) & np.uint64(0xFFFF)]
            if k < 3:
                noise[i, 4 + k] = normal[(two >> np.uint64(16 * k)) & np.uint64(0xFFFF)]
        chance[i] = np.float64(three >> np.uint64(11)) * (1.0 / 9007199254740992.0)
    return noise, chance
