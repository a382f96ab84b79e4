"""What a sequence of an ``acquire`` would do, event by event, before anything of it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod

from useq import AcquireImage, GridFromPolygon, HardwareAutofocus, MDAEvent, MDASequence

from stream.acquire.whereabouts import Position
from stream.errors import Refused

_SKIPPED = 50
"""Of so many events one must be taken: channels may leave out time points and planes."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A sequence in numbers.

    ``stops_um`` are all places that it may visit, in order; ``light_ms`` is the time for which the sample is lit,
    ``duration_ms`` the least time that it takes.
    """

    frames: int
    stops_um: tuple[Position, ...]
    shortest_ms: float
    longest_ms: float
    light_ms: float
    duration_ms: float


def outline(sequence: MDASequence, base_um: Position, exposure_ms: float, most_frames: int) -> Outline:
    """Walk through a sequence.

    Parameters
    ----------
    base_um
        Where the stage stands for it: relative positions start there.
    exposure_ms
        What an event without an exposure gets.

    Raises
    ------
    Refused
        It takes no frame or more than ``most_frames``, or sets what a sequence of feedback may not set.
    """
    frames, stops, exposures, ends_ms, held_open = 0, list[Position](), list[float](), 0.0, False
    for event in _events(sequence, most_frames):
        _check(event)
        stops += [stop for stop in _places(sequence, event, base_um) if not stops or stops[-1] != stop]
        if not isinstance(event.action, AcquireImage):
            continue
        frames += 1
        exposures.append(exposure_ms if event.exposure is None else event.exposure)
        ends_ms = max(ends_ms, 1e3 * (event.min_start_time or 0.0) + exposures[-1])
        held_open = held_open or event.keep_shutter_open
    if not frames:
        raise Refused("the sequence takes no frame")
    duration_ms = max(ends_ms, sum(exposures))
    light_ms = duration_ms if held_open else sum(exposures)
    return Outline(frames, tuple(stops), min(exposures), max(exposures), light_ms, duration_ms)


def _events(sequence: MDASequence, most_frames: int) -> Iterator[MDAEvent]:
    most = 2 * most_frames  # with an autofocus before each frame
    try:
        # useq lays out every axis before it gives the first event: a billion time points would take the desk's life.
        if _size(sequence) > _SKIPPED * most:
            raise Refused(f"the sequence takes more than max_frames = {most_frames}")
        events = list(islice(iter(sequence), most + 1))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise Refused(f"the sequence cannot be walked through: {error}") from error
    if sum(isinstance(event.action, AcquireImage) for event in events) > most_frames or len(events) > most:
        raise Refused(f"the sequence takes more than max_frames = {most_frames}")
    return iter(events)


def _size(sequence: MDASequence) -> int:
    """Return how many events a sequence may have at most, without laying it out."""
    times, stack, grid = sequence.time_plan, sequence.z_plan, sequence.grid_plan
    if isinstance(grid, GridFromPolygon):
        raise Refused("the sequence fills a polygon, whose tiles nobody can count before; name rows and columns")
    places = sum(1 if place.sequence is None else _size(place.sequence) for place in sequence.stage_positions)
    sizes = (
        len(sequence.channels),
        0 if times is None else times.num_timepoints() + 1,
        0 if stack is None else stack.num_positions(),
        0 if grid is None else grid.num_positions(),
        places,
    )
    return prod(max(size, 1) for size in sizes)


def _check(event: MDAEvent) -> None:
    if event.properties:
        raise Refused(f"the sequence sets device properties: {event.properties[0]}; a sequence of feedback may not")
    if event.slm_image is not None:
        raise Refused("the sequence lights a modulator; ask for stimulate instead")
    if getattr(event, "roi", None) is not None:
        raise Refused("the sequence changes the ROI; ask for set_roi instead")
    if not isinstance(event.action, AcquireImage | HardwareAutofocus):
        raise Refused(f"the sequence asks for the action '{event.action.type}'; it may take images and find the focus")


def _places(sequence: MDASequence, event: MDAEvent, base_um: Position) -> Iterator[Position]:
    """Return where an event may lead; both places where it can be read as absolute and as relative to ``base_um``."""
    given = (event.x_pos, event.y_pos, event.z_pos)
    absolute = tuple(base if value is None else value for value, base in zip(given, base_um, strict=True))
    relative = tuple(base + (value or 0.0) for value, base in zip(given, base_um, strict=True))
    grid, stack = sequence.grid_plan, sequence.z_plan
    loose = any(None in (place.x, place.y, place.z) for place in sequence.stage_positions)
    if sequence.stage_positions:
        yield (absolute[0], absolute[1], absolute[2])
        if loose:
            yield (relative[0], relative[1], relative[2])
        return
    x, y = (relative if grid is not None and grid.is_relative else absolute)[:2]
    yield (x, y, (relative if stack is not None and stack.is_relative else absolute)[2])
