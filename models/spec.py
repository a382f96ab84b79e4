"""What a network says about itself: one small table that travels inside its ONNX file.

The face of every cell network, in training, in every runtime and in the segmenter::

    frames (n, 2, y, x) float32   the previous and the current frame, in counts above ``pedestal``
    offset (n, 2) float32         background of each frame, in the same counts
    scale  (n, 2) float32         contrast of each frame: (frames - offset) / scale is of order one
    →
    foreground (n, 1, y, x)           probability that a pixel belongs to a cell
    maps (n, len(channels), y/2, x/2) one plane for each of ``channels``, at half the resolution

Sides are multiples of :data:`MULTIPLE`. Offsets are ``(y, x)`` in pixels of the input.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from stream.cells import Kind
from stream.errors import StageError

MULTIPLE = 16
"""Sides of a network's input are multiples of this."""
SCHEMA = 1
PROPERTY = "cytoloop"
"""The key of the ONNX ``metadata_props`` under which the table lies, as JSON."""

Head = Literal["foreground", "seed", "own", "previous", "newborn", "dividing"]
CHANNELS: dict[Head, tuple[str, ...]] = {
    "foreground": (),
    "seed": ("seed",),
    "own": ("own_y", "own_x"),
    "previous": ("previous_y", "previous_x"),
    "newborn": ("newborn",),
    "dividing": ("dividing",),
}
"""Planes of ``maps`` that each head fills; the foreground has a full-resolution output of its own."""
HEADS: tuple[Head, ...] = tuple(CHANNELS)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Percentiles of a frame's counts: ``offset`` is the first, ``scale`` the distance from there to the second."""

    offset_percentile: float
    scale_percentile: float


NORMALISATIONS: dict[Kind, Normalisation] = {"nuclei": Normalisation(30.0, 99.5), "phase": Normalisation(50.0, 98.0)}


@dataclass(frozen=True, slots=True)
class NetSpec:
    """A cell network as its users need to know it.

    Parameters
    ----------
    name
        As in ``models/zoo``.
    kind
        What it was trained to see.
    object_px
        Median diameter that cells should have in its input.
    widths
        Channels of the four levels.
    heads
        What it predicts; ``foreground``, ``seed`` and ``own`` are needed to decode cells.
    frames
        2: it sees the previous frame; 1: it ignores it.
    """

    name: str
    kind: Kind
    object_px: float
    widths: tuple[int, ...] = (16, 48, 96, 144)
    heads: tuple[Head, ...] = HEADS
    frames: Literal[1, 2] = 2
    stride: Literal[2, 4] = 2
    """Of its stem: pixels unshuffled per axis before the first convolution."""
    fast: bool = False
    knee: float = 0.2
    """Where its compressed look at the pixels bends, as a share of the contrast: dimmer cells lie below it."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the planes of ``maps``, in order."""
        return tuple(name for head in HEADS if head in self.heads for name in CHANNELS[head])

    @property
    def normalisation(self) -> Normalisation:
        """How its input is normalised."""
        return NORMALISATIONS[self.kind]

    def to_json(self) -> str:
        """Return the table as it is written into the ONNX file."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> NetSpec:
        """Read what :meth:`to_json` wrote. Raises StageError for anything else."""
        try:
            said = dict(json.loads(text))
            if said.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            said["widths"], said["heads"] = tuple(said["widths"]), tuple(said["heads"])
            return cls(**said)
        except (ValueError, TypeError, KeyError) as error:
            raise StageError(f"not a cytoloop cell network: its '{PROPERTY}' table is unreadable ({error})") from error
