"""What every kind of recording looks like to the driver, and how its pixels become a frame's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.frame import Index

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
COLOUR = "a colour image; save one channel as grey values"
CONVERT = "convert it to uint8 or uint16 first, e.g. with tifffile: imwrite(out, scaled.astype('uint16'))"


@dataclass(frozen=True, slots=True)
class Plane:
    """One image of a recording: its frame number, where it stands, and the key its reader finds it by."""

    frame: int
    key: Any
    index: Index = field(default_factory=Index)
    channel: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """What a recording says of itself; None where it says nothing."""

    kind: str
    interval_ms: float | None = None
    pixel_um: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Recording(Protocol):
    """Planes in the order in which they were taken, and a way to read one."""

    @property
    def planes(self) -> Sequence[Plane]:
        """Every image, in order."""

    @property
    def about(self) -> About:
        """What the recording says of itself."""

    def read(self, plane: Plane) -> NDArray[Any]:
        """Return the image as stored. Raises SourceError when this one cannot be read."""

    def close(self) -> None:
        """Let go of files."""


def as_pixels(image: NDArray[Any], where: str) -> Pixels:
    """Turn an image as stored into a frame's pixels without losing anything.

    uint8 and uint16 stay as they are; bool becomes uint8; any other kind of number becomes uint16 when every value is
    a whole number from 0 to 65535.

    Raises
    ------
    SourceError
        The image has colours or more than two axes, or values that uint16 cannot hold.
    """
    if image.ndim != 2:
        colour = image.ndim == 3 and image.shape[-1] in (3, 4)
        raise SourceError(f"{where}: {image.shape} is {COLOUR if colour else 'not one plane (y, x)'}")
    if image.dtype == np.bool_:
        return image.astype(np.uint8)
    if image.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    if image.dtype.kind not in "iuf":
        raise SourceError(f"{where}: values of type {image.dtype} are no counts; {CONVERT}")
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= 65535 and (image.dtype.kind != "f" or (image == np.floor(image)).all())):
        raise SourceError(f"{where}: {image.dtype} values from {low:g} to {high:g} do not fit uint16; {CONVERT}")
    return image.astype(np.uint16)
