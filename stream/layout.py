"""Where a sequence leads: laid out here alone, so that the guard judges the very places that the driver goes to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from useq import MDAEvent, MDASequence, _iter_sequence
from useq import Position as Stop

from stream.frame import Affine
from stream.protocol import inner_of, positions_of

Position = tuple[float, float, float]
Size = tuple[float, float]


def image_um(width_px: int, height_px: int, affine_um: Affine) -> Size:
    """Return width and height of an image under the stage, where it lies straight or turned by a right angle.

    >>> image_um(200, 100, ((0.0, -0.5), (0.5, 0.0)))
    (50.0, 100.0)
    """
    (a, b), (c, d) = affine_um
    return abs(a) * width_px + abs(b) * height_px, abs(c) * width_px + abs(d) * height_px


def sized(sequence: MDASequence, fov_um: Size) -> MDASequence:
    """Give its grid the size of an image, whatever it says of it, so that its tiles can be counted."""
    if sequence.grid_plan is None:
        return sequence
    grid = sequence.grid_plan.model_copy(update={"fov_width": fov_um[0], "fov_height": fov_um[1]})
    return sequence.replace(grid_plan=grid)


def has_grid(sequence: MDASequence) -> bool:
    """Whether a sequence, or one of its positions, has tiles: where they lie depends on the size of an image."""
    return sequence.grid_plan is not None or any(map(has_grid, inner_of(sequence)))


def laid_out(sequence: MDASequence, place_um: Position, fov_um: Size) -> MDASequence:
    """Return a sequence whose every event has a place in x, y and z.

    Parameters
    ----------
    place_um
        Where positions are in the axes that they leave open, and a sequence without positions.
    fov_um
        Width and height of an image under the stage: what tiles are apart.
    """
    grid = sequence.grid_plan
    tiled = grid is not None and not grid.is_relative
    stops = (_filled(stop, place_um, fov_um, tiled) for stop in positions_of(sequence) or (Stop(),))
    return sized(sequence.replace(stage_positions=tuple(stops)), fov_um)


def walk(sequence: MDASequence, most: int | None = None) -> list[MDAEvent]:
    """Let useq lay out a sequence, or its first events; it keeps all that it ever saw, for which a night is too long.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        useq cannot walk through it.
    """
    try:
        return list(islice(_events(sequence), most))
    finally:
        for keeps in (_iter_sequence._iter_axis, _iter_sequence._sizes, _iter_sequence._used_axes):
            keeps.cache_clear()


def _events(sequence: MDASequence) -> Iterator[MDAEvent]:
    events: Iterator[Any] = iter(sequence)
    return events


def _filled(stop: Stop, place_um: Position, fov_um: Size, tiled: bool) -> Stop:
    """Give a position all coordinates; where the tiles of all positions lie at absolute places, x and y are theirs."""
    inner = stop.sequence
    if tiled and (inner is None or inner.grid_plan is None):
        x_um = y_um = None
    else:
        x_um, y_um = _or(stop.x, place_um[0]), _or(stop.y, place_um[1])
    own = None if inner is None else sized(inner, fov_um)
    return stop.replace(x=x_um, y=y_um, z=_or(stop.z, place_um[2]), sequence=own)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
