"""Where a sequence leads: laid out here alone, so that the guard judges the very places that the driver goes to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from useq import AcquireImage, MDAEvent, MDASequence, _iter_sequence
from useq import Position as Stop

from stream.frame import Affine, Index
from stream.protocol import inner_of, positions_of

Position = tuple[float, float, float]
Size = tuple[float, float]
_Key = tuple[int, int, int]
"""Channel, plane and tile."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a visit of one position leads.

    Parameters
    ----------
    place_um
        Where the position lies as planned.
    fixed
        The axes in which its events lie at absolute places, so that it cannot be moved along them.
    steps_um
        Where each event lies: in ``fixed`` axes as it is, in the others as seen from the place.
    """

    place_um: Position
    fixed: str
    steps_um: Mapping[_Key, Position]

    def leads_um(self, place_um: Position, tile: int | None = None) -> tuple[Position, ...]:
        """Return where the stage goes, or for one tile, each place once, when the position lies at ``place_um``."""
        steps = (step for (_, _, g), step in self.steps_um.items() if tile in (None, g))
        return tuple(dict.fromkeys(self._moved(step, place_um) for step in steps))

    def seen_um(self, index: Index, stage_um: Position) -> Position:
        """Return where the position lies, by where the stage was for one of its frames."""
        step = self.steps_um.get((index.c, index.z, index.g), (0.0, 0.0, 0.0))
        there = (
            place if axis in self.fixed else now - by
            for axis, place, now, by in zip("xyz", self.place_um, stage_um, step, strict=True)
        )
        return _position(there)

    def _moved(self, step_um: Position, place_um: Position) -> Position:
        zipped = zip("xyz", step_um, place_um, strict=True)
        return _position(step if axis in self.fixed else step + place for axis, step, place in zipped)


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


def is_placed(sequence: MDASequence) -> bool:
    """Whether a sequence says where anything lies; else the stage stays where it is."""
    return bool(positions_of(sequence)) or sequence.z_plan is not None or sequence.grid_plan is not None


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


def visits(sequence: MDASequence) -> list[Visit]:
    """Return where one visit of each position of a laid-out sequence leads."""
    found: dict[int, dict[_Key, Position]] = defaultdict(dict)
    for event in walk(sequence.replace(time_plan=None)):
        if isinstance(event.action, AcquireImage):
            p, *key = (event.index.get(axis, 0) for axis in "pczg")
            found[p][key[0], key[1], key[2]] = _position((event.x_pos, event.y_pos, event.z_pos))
    return [_visit(sequence, stop, found[p]) for p, stop in enumerate(positions_of(sequence))]


def _visit(sequence: MDASequence, stop: Stop, events_um: Mapping[_Key, Position]) -> Visit:
    own = stop.sequence or MDASequence()
    grid, planes = own.grid_plan or sequence.grid_plan, own.z_plan or sequence.z_plan
    fixed = "xy" if grid is not None and not grid.is_relative else ""
    fixed += "z" if planes is not None and not planes.is_relative else ""
    first = next(iter(events_um.values()), (0.0, 0.0, 0.0))
    place = _position(_or(given, other) for given, other in zip((stop.x, stop.y, stop.z), first, strict=True))
    steps = {
        key: _position(v if axis in fixed else v - p for axis, v, p in zip("xyz", event, place, strict=True))
        for key, event in events_um.items()
    }
    return Visit(place, fixed, steps)


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


def _position(values: Iterable[Any]) -> Position:
    x, y, z = map(float, values)
    return (x, y, z)
