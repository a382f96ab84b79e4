"""Which shapes an engine serves: one, or a range with a favourite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.spec import MULTIPLE
from stream.errors import StageError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
DYNAMIC = -1
"""A dimension of an ONNX input that is not fixed."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of ``n``, rows and columns. Rows and columns are multiples of :data:`models.spec.MULTIPLE`."""

    least: tuple[int, int, int] = (1, 64, 64)
    best: tuple[int, int, int] = (1, 512, 512)
    most: tuple[int, int, int] = (4, 2048, 2048)

    def __post_init__(self) -> None:
        if any(side % MULTIPLE for bound in (self.least, self.best, self.most) for side in bound[1:]):
            raise StageError(f"{self}: rows and columns are multiples of {MULTIPLE}")
        if any(not 1 <= low <= mid <= high for low, mid, high in zip(self.least, self.best, self.most, strict=True)):
            raise StageError(f"{self}: least, best and most must rise from 1")


@dataclass(frozen=True, slots=True)
class Range:
    """Shapes of one input that an engine takes; equal ones: it takes just that."""

    least: Shape
    best: Shape
    most: Shape

    def holds(self, shape: Shape) -> bool:
        """Say whether an engine for this range takes ``shape``."""
        return len(shape) == len(self.least) and all(
            low <= side <= high for low, side, high in zip(self.least, shape, self.most, strict=True)
        )


Profile = Mapping[str, Range]
"""By the name of the input."""


def static(shapes: Shapes) -> Profile:
    """Return the profile of one shape for each input."""
    return {name: Range(shape, shape, shape) for name, shape in shapes.items()}


def dynamic(declared: Shapes, extent: Extent | None = None) -> Profile:
    """Return the profile over an extent.

    Parameters
    ----------
    declared
        Inputs as the network declares them, :data:`DYNAMIC` where a side is free: the first axis is ``n``, the last
        two of four are rows and columns.
    extent
        Raises StageError where an input has a free side that is none of these.
    """
    extent = extent or Extent()
    bounds = [
        {name: _filled(name, shape, sides) for name, shape in declared.items()}
        for sides in (extent.least, extent.best, extent.most)
    ]
    return {name: Range(*(bound[name] for bound in bounds)) for name in declared}


def fits(profile: Profile, shapes: Shapes) -> bool:
    """Say whether an engine with this profile takes these shapes."""
    return set(profile) == set(shapes) and all(profile[name].holds(shape) for name, shape in shapes.items())


def text(profile: Profile) -> str:
    """Return a profile as one line: part of an engine's key."""
    return "; ".join(f"{name} {r.least} {r.best} {r.most}" for name, r in sorted(profile.items()))


def _filled(name: str, shape: Shape, sides: tuple[int, int, int]) -> Shape:
    free = dict(zip((0, len(shape) - 2, len(shape) - 1) if len(shape) == 4 else (0,), sides, strict=False))
    missing = [axis for axis, side in enumerate(shape) if side == DYNAMIC and axis not in free]
    if missing:
        raise StageError(f"input '{name}' {shape}: axis {missing[0]} is free, and is neither n, rows nor columns")
    return tuple(free[axis] if side == DYNAMIC else side for axis, side in enumerate(shape))
