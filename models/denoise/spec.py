"""What the denoising network says about itself, and what it takes and gives.

::

    planes (n, 5, y, x) float32   what :func:`models.denoise.planes.planes` makes of the last three frames
    known  (n, 2) float32         1 where the frame before, and the one before that, were there; else 0
    →
    excess (n, 1, y, x)           what is noise in the newest frame, in standard deviations of its noise

Sides are multiples of :data:`MULTIPLE`. The table travels in the ONNX file under the same key as a cell network's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from models.spec import PROPERTY
from stream.errors import StageError

MULTIPLE = 8
"""Sides of the network's input are multiples of this."""
SCHEMA = 1
INPUTS = ("planes", "known")
OUTPUTS = ("excess",)
PLANES = 5
FRAMES = 3


@dataclass(frozen=True, slots=True)
class DenoiseSpec:
    """A denoising network as its users need to know it; ``widths`` are the channels of its two levels."""

    name: str = "denoise"
    widths: tuple[int, int] = (24, 48)
    task: Literal["denoise"] = "denoise"

    def to_json(self) -> str:
        """Return the table as it is written into the ONNX file."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DenoiseSpec:
        """Read what :meth:`to_json` wrote. Raises StageError for anything else."""
        try:
            said = dict(json.loads(text))
            if said.pop("schema") != SCHEMA or said.get("task") != "denoise":
                raise ValueError("another task or schema")
            first, second = said["widths"]
            return cls(**said | {"widths": (int(first), int(second))})
        except (ValueError, TypeError, KeyError) as error:
            raise StageError(f"not a denoising network: its '{PROPERTY}' table is unreadable ({error})") from error
