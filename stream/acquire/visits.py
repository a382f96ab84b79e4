"""Where the visits of a plan lead, as the driver lays them out at its start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from useq import MDASequence
from useq import Position as Stop

from stream.config import PlanSettings
from stream.frame import Frame
from stream.layout import Position, Size, Visit, has_grid, image_um, is_placed, laid_out, visits
from stream.protocol import positions_of


class Visits:
    """The positions of a plan with their planes and tiles.

    Parameters
    ----------
    at_um
        Where the stage stands before the plan begins: the place of what the plan leaves open. None: nobody knows.
    fov_um
        Width and height of the image under the stage then. None: nobody knows.
    """

    def __init__(self, plan: PlanSettings, at_um: Position | None = None, fov_um: Size | None = None) -> None:
        sequence = plan.protocol or MDASequence(stage_positions=tuple(map(_stop, plan.positions_um)))
        self.at_um = at_um
        self.tiles_unknown = fov_um is None and has_grid(sequence)
        if self.tiles_unknown:
            sequence = _without_tiles(sequence)
        base_um, image = at_um or (0.0, 0.0, 0.0), fov_um or (math.nan, math.nan)
        planned = visits(laid_out(sequence, base_um, image))
        self.planned = planned if at_um is not None else _as_given(planned, sequence)
        if not is_placed(sequence):
            self.planned = []  # the stage stays where it is
        self._added = visits(laid_out(sequence.replace(stage_positions=()), base_um, image))[0]
        self.kept = plan.mode == "mda"
        """Whether the positions keep their places, so that the stage goes back to them; a stream has none."""

    @classmethod
    def described(cls, plan: PlanSettings, about: Mapping[str, Any]) -> Visits:
        """Lay a plan out as a driver says that stage and image are."""
        at_um, roi_px, affine_um = (about.get(name) for name in ("stage_um", "roi_px", "affine_um"))
        known = roi_px is not None and affine_um is not None
        fov_um = image_um(roi_px[2], roi_px[3], affine_um) if known and roi_px and affine_um else None
        return cls(plan, None if at_um is None else (at_um[0], at_um[1], at_um[2]), fov_um)

    def places_um(self) -> dict[int, Position]:
        """Return the places to which the stage goes back, as far as they are known."""
        places = {p: visit.place_um for p, visit in enumerate(self.planned)} if self.kept else {}
        return {p: place for p, place in places.items() if not any(map(math.isnan, place))}

    def of(self, position: int | None) -> Visit:
        """Return the visit of a position; of one that was added, where there is no such position in the plan."""
        known = position is not None and position < len(self.planned)
        return self.planned[position] if known and position is not None else self._added

    def seen_um(self, frame: Frame) -> Position:
        """Return where a frame's position lies, by where the stage was."""
        return self.of(frame.index.p).seen_um(frame.index, frame.stage_um) if self.kept else frame.stage_um


def _as_given(planned: list[Visit], sequence: MDASequence) -> list[Visit]:
    """Return the visits with nobody knowing what their positions leave open."""
    places = [(stop.x, stop.y, stop.z) for stop in positions_of(sequence)] or [(None, None, None)]
    return [replace(visit, place_um=_known(visit, *given)) for visit, given in zip(planned, places, strict=True)]


def _known(visit: Visit, *given_um: float | None) -> Position:
    x, y, z = (
        place if given is not None or axis in visit.fixed else math.nan
        for axis, place, given in zip("xyz", visit.place_um, given_um, strict=True)
    )
    return (x, y, z)


def _stop(place_um: Position) -> Stop:
    return Stop(x=place_um[0], y=place_um[1], z=place_um[2])


def _without_tiles(sequence: MDASequence) -> MDASequence:
    stops = tuple(
        stop if stop.sequence is None else stop.replace(sequence=stop.sequence.replace(grid_plan=None))
        for stop in positions_of(sequence)
    )
    return sequence.replace(grid_plan=None, stage_positions=stops)
