"""What was true in a run on the virtual microscope: who divided when, and what each frame showed of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream.errors import StoreError

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mitosis:
    """One true mitosis, in minutes of the specimen: from rounding (``begin``) to two young nuclei (``end``).

    ``split`` is when two daughters can be told apart.
    """

    cell: int
    begin_min: float
    split_min: float
    end_min: float


@dataclass(frozen=True, slots=True)
class Sight:
    """One time point of a field: its minute, the cells in view, and where (y, x px) each mitosis is, by mother."""

    position: int
    frame: int
    minute: float
    pixel_um: float
    cells: frozenset[int]
    dividing: Mapping[int, Point]


@dataclass(frozen=True, slots=True)
class Truth:
    """All of a run: ``mitoses`` that split during it, and ``sights`` by position and frame number."""

    mitoses: tuple[Mitosis, ...]
    sights: Mapping[tuple[int, int], Sight]

    def seen(self) -> list[Mitosis]:
        """Return the mitoses whose split could be seen: the cell was in view in its window before and after it."""
        before: set[int] = set()
        after: set[int] = set()
        split = {one.cell: one.split_min for one in self.mitoses}
        for sight in self.sights.values():
            for cell in sight.dividing:
                if cell in split:
                    (before if sight.minute < split[cell] else after).add(cell)
        return [one for one in self.mitoses if one.cell in before and one.cell in after]


def read(run_dir: Path) -> Truth:
    """Read the truth that the virtual microscope wrote beside a run.

    Raises
    ------
    StoreError
        There is none.
    """
    folder = run_dir / "truth" / "TRA"
    if not (folder / "scenes.log").is_file():
        raise StoreError(f"{run_dir}: the virtual microscope wrote no truth there")
    sights = {(sight.position, sight.frame): sight for sight in _sights(folder)}
    return Truth(tuple(_mitoses(folder, sights)), sights)


def _sights(folder: Path) -> Iterator[Sight]:
    from drivers.virtual.cycle import Phase
    from drivers.virtual.shapes import COLUMN
    from drivers.virtual.truth import _unpack

    with (folder / "scenes.log").open("rb") as log:
        for position, scene in _unpack(log):
            height, width = scene.shape
            x = (scene.lobes[:, COLUMN["x"]] - scene.x0_um) / scene.pixel_um
            y = (scene.lobes[:, COLUMN["y"]] - scene.y0_um) / scene.pixel_um
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            cell, phase = scene.lobes[:, COLUMN["cell"]], scene.lobes[:, COLUMN["phase"]]
            whose = np.where(phase == Phase.TELOPHASE, scene.lobes[:, COLUMN["mother"]], cell)
            rounding = (phase >= Phase.PROPHASE) & (phase <= Phase.TELOPHASE) & (whose > 0) & inside
            places: dict[int, list[Point]] = defaultdict(list)
            for mother, at_y, at_x in zip(whose[rounding], y[rounding], x[rounding], strict=True):
                places[int(mother)].append((at_y, at_x))
            dividing = {mother: _mean(points) for mother, points in places.items()}
            cells = frozenset(int(one) for one in cell[inside])
            yield Sight(position, scene.frame, scene.minute, scene.pixel_um, cells, dividing)


def _mean(points: list[Point]) -> Point:
    y, x = np.mean(points, axis=0)
    return float(y), float(x)


def _mitoses(folder: Path, sights: Mapping[tuple[int, int], Sight]) -> Iterator[Mitosis]:
    shown: dict[int, list[float]] = defaultdict(list)
    for sight in sights.values():
        for cell in sight.dividing:
            shown[cell].append(sight.minute)
    for line in (folder / "lineage.jsonl").read_text("utf-8").splitlines():
        turn = json.loads(line)
        if turn["kind"] == "divided":
            minutes = [*shown.get(turn["cell"], []), turn["minute"]]
            yield Mitosis(turn["cell"], min(minutes), turn["minute"], max(minutes))
