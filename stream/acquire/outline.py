"""What a sequence of an ``acquire`` would do, event by event, before anything of it is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

from useq import AcquireImage, GridFromPolygon, HardwareAutofocus, MDAEvent, MDASequence, WellPlatePlan

from stream.errors import Refused
from stream.layout import Position, Size, has_grid, laid_out, sized, walk
from stream.protocol import by_chance

_SKIPPED = 50
"""Of so many events one must be taken: channels may leave out time points and planes."""
_NO_TILES_UM = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Outline:
    """A sequence in numbers.

    ``stops_um`` are all places that it visits, in order; ``light_ms`` is the time for which the sample is lit,
    ``duration_ms`` the least time that it takes.
    """

    frames: int
    stops_um: tuple[Position, ...]
    shortest_ms: float
    longest_ms: float
    light_ms: float
    duration_ms: float


def outline(
    sequence: MDASequence, base_um: Position, exposure_ms: float, most_frames: int, fov_um: Size | None = None
) -> Outline:
    """Walk through a sequence.

    Parameters
    ----------
    base_um
        Where it is in the axes that it leaves open: relative positions start there.
    exposure_ms
        What an event without an exposure gets.
    fov_um
        Width and height of an image under the stage, which tiles are laid out by; None where there are none.

    Raises
    ------
    Refused
        It takes no frame or more than ``most_frames``, or sets what a sequence of feedback may not set.
    """
    if fov_um is None and has_grid(sequence):
        raise Refused("the sequence has tiles, and nobody knows yet how large an image is")
    events = _laid_out(sequence, base_um, fov_um or _NO_TILES_UM, most_frames)
    stops, exposures, ends_ms, held_open = list[Position](), list[float](), 0.0, False
    for event in events:
        _check(event)
        stop = _place(event)
        stops += [stop] if stop not in stops[-1:] else []
        if not isinstance(event.action, AcquireImage):
            continue
        exposures.append(exposure_ms if event.exposure is None else event.exposure)
        ends_ms = max(ends_ms, 1e3 * (event.min_start_time or 0.0) + exposures[-1])
        held_open = held_open or event.keep_shutter_open
    if not exposures:
        raise Refused("the sequence takes no frame")
    duration_ms = max(ends_ms, sum(exposures))
    light_ms = duration_ms if held_open else sum(exposures)
    return Outline(len(exposures), tuple(stops), min(exposures), max(exposures), light_ms, duration_ms)


def _laid_out(sequence: MDASequence, base_um: Position, fov_um: Size, most_frames: int) -> list[MDAEvent]:
    """Return the events of a sequence, as the driver lays them out too. Raises Refused."""
    most = 2 * most_frames  # with an autofocus before each frame
    try:
        # useq lays out every axis before it gives the first event: a billion time points would take the desk's life.
        if _size(sequence, fov_um) > _SKIPPED * most:
            raise Refused(f"the sequence takes more than max_frames = {most_frames}")
        for problem in by_chance(sequence):
            raise Refused(f"the sequence: {problem}")
        events = walk(laid_out(sequence, base_um, fov_um), most + 1)
    except (ArithmeticError, ValueError, TypeError, NotImplementedError) as error:
        raise Refused(f"the sequence cannot be walked through: {error}") from error
    if sum(isinstance(event.action, AcquireImage) for event in events) > most_frames or len(events) > most:
        raise Refused(f"the sequence takes more than max_frames = {most_frames}")
    return events


def _size(sequence: MDASequence, fov_um: Size) -> int:
    """Return how many events a sequence may have at most, without laying it out."""
    if isinstance(sequence.grid_plan, GridFromPolygon):
        raise Refused("the sequence fills a polygon, whose tiles nobody can count before; name rows and columns")
    times, stack, grid = sequence.time_plan, sequence.z_plan, sized(sequence, fov_um).grid_plan
    sizes = (
        len(sequence.channels),
        0 if times is None else times.num_timepoints() + 1,
        0 if stack is None else stack.num_positions(),
        0 if grid is None else grid.num_positions(),
        _places(sequence, fov_um),
    )
    return math.prod(max(size, 1) for size in sizes)


def _places(sequence: MDASequence, fov_um: Size) -> int:
    stops = sequence.stage_positions
    if isinstance(stops, WellPlatePlan):
        return len(stops)
    return sum(1 if stop.sequence is None else _size(stop.sequence, fov_um) for stop in stops)


def _check(event: MDAEvent) -> None:
    if event.properties:
        raise Refused(f"the sequence sets device properties: {event.properties[0]}; a sequence of feedback may not")
    if event.slm_image is not None:
        raise Refused("the sequence lights a modulator; ask for stimulate instead")
    if getattr(event, "roi", None) is not None:
        raise Refused("the sequence changes the ROI; ask for set_roi instead")
    if not isinstance(event.action, AcquireImage | HardwareAutofocus):
        raise Refused(f"the sequence asks for the action '{event.action.type}'; it may take images and find the focus")


def _place(event: MDAEvent) -> Position:
    """Return where an event leads. Raises Refused where it does not say, or says no number."""
    x, y, z = (math.nan if value is None else value for value in (event.x_pos, event.y_pos, event.z_pos))
    if not all(map(math.isfinite, (x, y, z))):
        raise Refused(f"the sequence leads to ({x:g}, {y:g}, {z:g}) µm, which is no place")
    return (x, y, z)
