"""A scientific camera without its driver: photons become electrons, electrons become counts."""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

from drivers.virtual.chance import normal_table
from drivers.virtual.kernels import compiled
from drivers.virtual.options import VirtualOptions

Floats = NDArray[np.float32]
PIXEL_TYPES = {"8bit": 255, "12bit": 4095, "16bit": 65535}
EIGHT_BIT_STEP = 16
"""How many of the finer counts one 8 bit count is worth."""
GAUSS_BELOW_E = 30.0
"""Mean from which a normal distribution stands in for Poisson's."""
LEVEL_E = 0.25
ROWS = int(GAUSS_BELOW_E / LEVEL_E) + 1
COUNTS = 96
GUIDE = 256


class Sensor:
    """Adds the noise of light and of reading, and digitises.

    Noise depends on the seed, the frame's counter and the pixel alone. Below ``GAUSS_BELOW_E`` electrons shot noise is
    Poisson's (from cumulative tables in steps of ``LEVEL_E``, the rest added as a second Poisson number: exact to
    1e-3); above it is normal with the same mean and variance.
    """

    def __init__(self, options: VirtualOptions) -> None:
        self._options = options
        self._cumulative, self._guide = _poisson_tables()
        self._normal = normal_table()
        self._key = np.random.SeedSequence([options.seed, 3]).generate_state(1, np.uint64)[0]

    def read(self, photons: Floats, exposure_ms: float, counter: int, pixel_type: str) -> NDArray[np.uint16 | np.uint8]:
        """Return counts.

        Parameters
        ----------
        photons
            Mean per pixel, (y, x); binned already.
        exposure_ms
            For the dark current.
        counter
            The frame's number: chooses the noise.
        pixel_type
            A key of ``PIXEL_TYPES``.
        """
        options = self._options
        step = EIGHT_BIT_STEP if pixel_type == "8bit" else 1
        counts = np.empty(photons.shape, np.uint16)
        with np.errstate(over="ignore"):
            key = self._key + np.uint64(counter) * np.uint64(0xD1342543DE82EF95)
        dark = options.dark_e_s * exposure_ms * 1e-3
        _digitise(
            photons, counts, np.uint64(key), options.quantum_efficiency, dark, options.read_noise_e,
            1.0 / (options.gain_e_adu * step), options.offset_adu / step, float(PIXEL_TYPES[pixel_type]),
            self._normal, self._cumulative, self._guide,
        )  # fmt: skip
        return counts.astype(np.uint8) if pixel_type == "8bit" else counts


def _poisson_tables() -> tuple[Floats, NDArray[np.uint8]]:
    """Cumulative distributions (ROWS, COUNTS), and for 256 parts of the unit interval the first count worth trying."""
    means = LEVEL_E * np.arange(ROWS)
    term = np.exp(-means)
    total = term.copy()
    cumulative = np.empty((ROWS, COUNTS))
    cumulative[:, 0] = total
    for k in range(1, COUNTS):
        term = term * means / k
        total = total + term
        cumulative[:, k] = total
    cumulative[:, -1] = 2.0
    starts = np.arange(GUIDE) / GUIDE
    guide = np.array([np.searchsorted(row, starts, side="right") for row in cumulative])
    return cumulative.astype(np.float32), guide.astype(np.uint8)


@compiled
def _digitise(
    photons: Floats, counts: NDArray[np.uint16], key: np.uint64, efficiency: float, dark: float, read_noise: float,
    per_electron: float, offset: float, top: float, normal: Floats, cumulative: Floats, guide: NDArray[np.uint8],
) -> None:  # fmt: skip
    height, width = photons.shape
    state = key
    read2 = np.float32(read_noise * read_noise)
    for i in range(height):
        for j in range(width):
            # splitmix64: one step of state, one scrambled number of 64 independent bits.
            state += np.uint64(0x9E3779B97F4A7C15)
            bits = state
            bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits = bits ^ (bits >> np.uint64(31))
            mean = np.float32(photons[i, j] * np.float32(efficiency) + np.float32(dark))
            if mean >= np.float32(GAUSS_BELOW_E):
                electrons = mean + np.sqrt(mean + read2) * normal[bits & np.uint64(0xFFFF)]
            else:
                row = int(mean * np.float32(1.0 / LEVEL_E))
                chance = np.float32((bits >> np.uint64(40)) * (1.0 / 16777216.0))
                k = int(guide[row, bits >> np.uint64(56)])
                while cumulative[row, k] <= chance:
                    k += 1
                rest = mean - np.float32(LEVEL_E) * row
                second = ((bits >> np.uint64(16)) & np.uint64(0xFFFFFF)) * (1.0 / 16777216.0)
                none = exp(-rest)
                if second >= none:
                    k += 1 if second < none * (1.0 + rest) else 2
                electrons = np.float32(k) + np.float32(read_noise) * normal[bits & np.uint64(0xFFFF)]
            value = electrons * np.float32(per_electron) + np.float32(offset) + np.float32(0.5)
            counts[i, j] = np.uint16(min(max(value, np.float32(0.0)), np.float32(top)))
