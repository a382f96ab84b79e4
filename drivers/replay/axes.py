"""The order in which the planes of a multi-dimensional recording are played."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from drivers.replay.recording import COLOUR, Plane
from stream.errors import SourceError
from stream.frame import Index

ORDER = "tpzc"


def name_axes(axes: str, where: str) -> str:
    """Name each axis before ``yx`` as t, p, z or c.

    Axes of other names become time, then positions. A stack without time whose only axis is z is a time lapse too: many
    programs save a plain sequence of images as slices.

    Raises
    ------
    SourceError
        The axes include colours, the last two are not ``yx``, or too many have no known meaning.
    """
    axes = axes.lower()
    if "s" in axes:  # samples of a pixel, as TIFF calls them
        raise SourceError(f"{where}: axes {axes} are {COLOUR}")
    if axes[-2:] != "yx":
        raise SourceError(f"{where}: axes {axes}; images must be grey values with y and x last")
    outer = list(axes[:-2].replace("r", "p"))
    for free in (wanted for wanted in "tp" if wanted not in outer):
        unknown = next((i for i, name in enumerate(outer) if name not in ORDER), None)
        if unknown is not None:
            outer[unknown] = free
    if outer == ["z"]:
        outer = ["t"]
    if len(set(outer)) != len(outer) or not set(outer) <= set(ORDER):
        raise SourceError(f"{where}: axes {axes} cannot be told apart; save it with axes among T, C, Z, Y, X")
    return "".join(outer)


def planes_of(outer: str, shape: Sequence[int], channels: Sequence[str]) -> list[Plane]:
    """List the planes by time, position, z and channel; a plane's key is its place along the outer axes as stored."""
    sizes = dict(zip(outer, shape, strict=True))
    planes = []
    for place in product(*(range(sizes.get(axis, 1)) for axis in ORDER)):
        at = dict(zip(ORDER, place, strict=True))
        channel = channels[at["c"]] if at["c"] < len(channels) else (f"c{at['c']}" if sizes.get("c", 1) > 1 else "")
        planes.append(Plane(at["t"], tuple(at[axis] for axis in outer), Index(**at), channel))
    return planes
