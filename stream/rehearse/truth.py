"""What was true in a run on the virtual microscope: who divided when, and what each frame showed of it."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stream.errors import StoreError

FILE = "specimen.jsonl"
_DAUGHTERS = ("telophase",)
Point = tuple[float, float]
Key = tuple[str, int]
"""A field's name and a frame's number in it."""


@dataclass(frozen=True, slots=True)
class Mitosis:
    """One true mitosis, in minutes of the specimen: from rounding (``begin``) to two young nuclei (``end``).

    ``split`` is when two daughters can be told apart: infinite where that never came, as ``end`` is.
    """

    cell: int
    begin_min: float
    split_min: float = math.inf
    end_min: float = math.inf
    daughters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """One time point of a field: its minute, the stage that it truly shows, and where the mitoses in view are.

    ``dividing`` holds for each mother the places (x, y) in µm of her, or of her daughters while they are not settled.
    """

    field: str
    frame: int
    minute: float
    x_um: Point
    y_um: Point
    dividing: Mapping[int, tuple[Point, ...]]

    def place(self, yx_px: Point, size_px: tuple[int, int]) -> Point:
        """Return where on the true stage (x, y) a pixel (y, x) of an image of (w, h) lies."""
        (left, right), (top, bottom) = self.x_um, self.y_um
        x = left + (yx_px[1] + 0.5) * (right - left) / size_px[0]
        return x, top + (yx_px[0] + 0.5) * (bottom - top) / size_px[1]

    def shows(self, place_um: Point) -> bool:
        """Whether a place (x, y) of the stage is in view."""
        x, y = place_um
        return self.x_um[0] <= x < self.x_um[1] and self.y_um[0] <= y < self.y_um[1]


@dataclass(frozen=True, slots=True)
class Moment:
    """Where (x, y) in µm all cells of the specimen were at a minute."""

    minute: float
    places: Mapping[int, Point]


@dataclass(frozen=True, slots=True)
class Truth:
    """All of a run.

    ``mitoses`` by mother, ``sights`` by field and frame, ``killed``: deaths by light, ``stimulated``: cells that the
    modulator lit.
    """

    mitoses: Mapping[int, Mitosis]
    sights: Mapping[Key, Sight]
    moments: Sequence[Moment]
    killed: int
    stimulated: Sequence[int]

    def in_view(self, cells: Sequence[int], since_min: float) -> float | None:
        """Return for which share of a time cells were in view, in the newest frame of any field; None: no time.

        Cells that are gone, or have divided, do not count any more.
        """
        by_field: dict[str, list[Sight]] = defaultdict(list)
        for sight in sorted(self.sights.values(), key=lambda one: one.minute):
            by_field[sight.field].append(sight)
        shares = []
        for moment in self.moments:
            there = [moment.places[cell] for cell in cells if cell in moment.places]
            newest = [sights[at - 1] for sights in by_field.values() if (at := _until(sights, moment.minute))]
            if there and newest and moment.minute >= since_min:
                shares.append(sum(any(one.shows(place) for one in newest) for place in there) / len(there))
        return sum(shares) / len(shares) if shares else None

    def seen(self) -> list[Mitosis]:
        """Return the mitoses whose split could be seen: in view in its window before the split and after it."""
        before: set[int] = set()
        after: set[int] = set()
        for sight in self.sights.values():
            for cell in sight.dividing:
                (before if sight.minute < self.mitoses[cell].split_min else after).add(cell)
        return [one for cell, one in sorted(self.mitoses.items()) if cell in before and cell in after]


def _until(sights: Sequence[Sight], minute: float) -> int:
    """Return how many of these, sorted by time, were taken by then."""
    return bisect_right(sights, minute, key=lambda one: one.minute)


@dataclass(slots=True)
class _Life:
    """What is gathered while the lines are read."""

    mitoses: dict[int, Mitosis] = field(default_factory=dict)
    mother: dict[int, int] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    killed: int = 0
    stimulated: list[int] = field(default_factory=list)

    def take(self, line: Mapping[str, Any]) -> None:
        match line["kind"]:
            case "present" if line["began_min"] is not None:
                self.mitoses[line["cell"]] = Mitosis(line["cell"], line["began_min"])
            case "mitosis":
                self.mitoses[line["cell"]] = Mitosis(line["cell"], line["minute"])
            case "divided":
                self._divided(line)
            case "settled":
                self._over(line["mother"], line["minute"])
            case "dying":
                self.killed += line["cause"] == "light"
                self._over(line["cell"], line["minute"])
            case "stimulated":
                self.stimulated.append(line["cell"])
            case "cells":
                columns = zip(line["cell"], line["x_um"], line["y_um"], strict=True)
                self.moments.append(Moment(line["minute"], {cell: (x, y) for cell, x, y in columns}))

    def _divided(self, line: Mapping[str, Any]) -> None:
        cell, minute = line["cell"], line["minute"]
        known = self.mitoses.get(cell) or Mitosis(cell, line["began_min"] or minute)
        self.mitoses[cell] = replace(known, split_min=minute, daughters=tuple(line["daughters"]))
        self.mother.update(dict.fromkeys(line["daughters"], cell))

    def _over(self, cell: int, minute: float) -> None:
        if cell in self.mitoses:
            self.mitoses[cell] = replace(self.mitoses[cell], end_min=min(minute, self.mitoses[cell].end_min))


def read(run_dir: Path) -> Truth:
    """Read the truth that the virtual microscope wrote beside a run.

    Raises
    ------
    StoreError
        There is none, or it cannot be read.
    """
    found = sorted((run_dir / "truth").rglob(FILE))
    if not found:
        raise StoreError(f"{run_dir}: the virtual microscope wrote no truth there")
    life = _Life()
    sights: dict[Key, Sight] = {}
    for path in found:
        for sight in _sights(_lines(path), life):
            sights.setdefault((sight.field, sight.frame), sight)
    return Truth(life.mitoses, sights, life.moments, life.killed, life.stimulated)


def _sights(lines: Iterable[Mapping[str, Any]], life: _Life) -> Iterator[Sight]:
    exposures: dict[int, dict[int, list[Point]]] = {}
    for line in lines:
        life.take(line)
        if line["kind"] == "mitotic":
            exposures[line["exposure"]] = _by_mother(line, life)
        elif line["kind"] == "frame" and line["exposure"] in exposures:
            x_um, y_um = tuple(line["x_um"]), tuple(line["y_um"])
            places = {
                cell: tuple(p for p in points if x_um[0] <= p[0] < x_um[1] and y_um[0] <= p[1] < y_um[1])
                for cell, points in exposures[line["exposure"]].items()
            }
            seen = {cell: points for cell, points in places.items() if points}
            yield Sight(line["field"], line["frame"], line["minute"], x_um, y_um, seen)


def _by_mother(line: Mapping[str, Any], life: _Life) -> dict[int, list[Point]]:
    places: dict[int, list[Point]] = defaultdict(list)
    for cell, x, y, phase in zip(line["cell"], line["x_um"], line["y_um"], line["phase"], strict=True):
        mother = life.mother.get(cell, 0) if phase in _DAUGHTERS else cell
        if mother in life.mitoses:
            places[mother].append((x, y))
    return places


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file; a torn last one, as after a crash, is left out."""
    try:
        text = path.read_text(encoding="utf-8")
        for line in text[: text.rfind("\n") + 1].splitlines():
            yield json.loads(line)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from error
