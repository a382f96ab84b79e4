"""What happens to a cell, for the record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

TurnKind = Literal["mitosis", "divided", "settled", "dying", "died", "leaving", "left", "stimulated"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn in the life of ``cell``, at a minute of the specimen and a place (x, y) in stage µm.

    ``kind``: *mitosis* it begins to round up; *divided* its sister plates can be told apart, from here on there are two
    ``daughters``; *settled* a daughter is a young nucleus; *dying* and *died*, with the ``cause`` age or light;
    *leaving* and *left* when it floats off; *stimulated* by the modulator.
    ``lineage`` is the founder's number and which daughter at each division since, the same in every run of a seed.
    ``began_min`` is when it began to round up, where it had; ``dose_s`` its light so far, in seconds of full light.
    """

    minute: float
    kind: TurnKind
    cell: int
    mother: int = 0
    daughters: tuple[int, ...] = ()
    x_um: float = 0.0
    y_um: float = 0.0
    lineage: str = ""
    began_min: float | None = None
    dose_s: float = 0.0
    cause: str = ""


def turn_of(kind: TurnKind, minute: float, cell: np.void, daughters: tuple[int, ...] = (), cause: str = "") -> Turn:
    """Describe what happens to a row of the population."""
    began_min = float(cell["began_min"])
    return Turn(
        minute,
        kind,
        int(cell["id"]),
        int(cell["mother"]),
        daughters,
        float(cell["x"]),
        float(cell["y"]),
        lineage_name(int(cell["founder"]), int(cell["path"])),
        None if np.isnan(began_min) else began_min,
        float(cell["dose_s"]),
        cause,
    )


def lineage_name(founder: int, path: int) -> str:
    """Name a cell by its founder and its way down the tree.

    >>> lineage_name(17, 1), lineage_name(17, 0b101)
    ('17', '17.01')
    """
    way = f"{path:b}"[1:]
    return f"{founder}.{way}" if way else str(founder)


def line_of(turn: Turn) -> dict[str, Any]:
    """Return a turn as data, rounded to what matters."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(turn).items()}
