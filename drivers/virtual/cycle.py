"""The life of a cell as a record of numbers: phases, how long they last, and the columns of the population.

A division is true from the moment when the two sister plates stand ``SPLIT_UM`` apart, centre to centre: between plates
of about 3.3 µm that leaves a dark gap of about 1.5 µm, which is when a person sees two objects.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SPLIT_UM = 5.2
"""Distance of the sister plates, centre to centre, at which mother becomes two daughters."""
PARTED_UM = 17.0
"""Distance at which the daughters stop being pushed apart."""
FRAGMENTS = 4
FAINT = 0.35
"""A dying cell is no longer true once this fraction of its light is left."""


class Phase(IntEnum):
    """Where a cell stands in its life."""

    INTERPHASE = 0
    PROPHASE = 1
    METAPHASE = 2
    ANAPHASE = 3
    TELOPHASE = 4
    DYING = 5
    LEAVING = 6


MINUTES = {Phase.PROPHASE: 10.0, Phase.METAPHASE: 12.0, Phase.ANAPHASE: 3.0, Phase.TELOPHASE: 12.0, Phase.DYING: 110.0,
           Phase.LEAVING: 30.0}  # fmt: skip
"""Mean duration of each phase but interphase, which takes the rest of the cycle."""
MITOSIS_MIN = sum(MINUTES[phase] for phase in (Phase.PROPHASE, Phase.METAPHASE, Phase.ANAPHASE, Phase.TELOPHASE))

CELL = np.dtype(
    [
        ("id", np.int64),
        ("mother", np.int64),
        ("born_min", np.float64),
        ("phase", np.int8),
        ("clock_min", np.float64),  # in this phase
        ("length_min", np.float64),  # of this phase
        ("age", np.float64),  # fraction of interphase, kept through mitosis
        ("x", np.float64),
        ("y", np.float64),
        ("vx", np.float64),
        ("vy", np.float64),
        ("theta", np.float64),  # direction of the long axis, or of the plate
        ("spin", np.float64),
        ("axis", np.float64),  # a daughter is pushed this way while in telophase
        ("size", np.float64),  # individual factors
        ("aspect", np.float64),
        ("glow", np.float64),
        ("left", np.float64),  # what bleaching left
        ("wobble", np.float64, (4,)),  # outline: cos and sin of twice, of three times the angle
        ("texture", np.float64, (2,)),
        ("crowd", np.float64),
        ("founder", np.int64),  # whose descendant, and which: see chance.py
        ("path", np.int64),
        ("key", np.uint64),  # of its own chance
        ("began_min", np.float64),  # when it began to round up; NaN: not in mitosis
        ("dose_s", np.float64),  # seconds of full light, its mother's included
        ("frailty", np.float64),  # its lethal dose relative to the median
        ("active", np.float64),  # photo-activation, 0 to 1
    ]
)
Population = NDArray[np.void]


def progress(cells: Population) -> NDArray[np.float64]:
    """Return how far each cell is in its phase, 0 to 1."""
    fraction: NDArray[np.float64] = np.clip(cells["clock_min"] / cells["length_min"], 0.0, 1.0)
    return fraction


def smooth(fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ease in and out: 0 and 1 stay, the slope at both is 0."""
    return fraction * fraction * (3.0 - 2.0 * fraction)
