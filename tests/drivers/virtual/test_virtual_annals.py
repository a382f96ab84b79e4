"""The life of the whole specimen is told, whatever the camera saw of it."""

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from drivers.virtual.annals import Annals
from drivers.virtual.cycle import Phase
from drivers.virtual.microscope import Microscope, View
from drivers.virtual.options import VirtualOptions

OPTIONS = VirtualOptions(cells=15, fields=3, size_px=(128, 128), cycle_min=300.0, deaths_per_day=1.0, seed=8)
VIEW = View((0.0, 0.0, 0.0), (0, 0, 128, 128), 1, 20.0, 100.0, 0.5, "nuclei", "16bit")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Microscope]:
    """Two hundred exposures, told as they come."""
    folder = tmp_path_factory.mktemp("annals")
    annals, microscope = Annals(folder, OPTIONS), Microscope(OPTIONS, tells=True)
    for _ in range(200):
        annals.exposed(microscope.expose(VIEW))
        microscope.pass_by(VIEW)
    annals.close()
    return folder, microscope


def lines_of(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "specimen.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] in kinds]


def test_every_mitosis_window_opens_before_it_closes_and_has_two_daughters(told: tuple[Path, Microscope]) -> None:
    folder, _ = told
    turns = {(line["kind"], line["cell"]): line for line in lines_of(folder, "mitosis", "divided", "settled", "dying")}
    present = {line["cell"]: line for line in lines_of(folder, "present")}
    divided = [line for (kind, _), line in turns.items() if kind == "divided"]
    assert len(divided) > 20
    for line in divided:
        opened = turns.get(("mitosis", line["cell"])) or present[line["cell"]]
        assert line["began_min"] == (opened["minute"] if opened["kind"] == "mitosis" else opened["began_min"])
        assert line["began_min"] < line["minute"]
        assert len(line["daughters"]) == 2
        for daughter in line["daughters"]:
            closed = turns.get(("settled", daughter))
            if closed:
                assert closed["mother"] == line["cell"]
                assert 5.0 < closed["minute"] - line["minute"] < 30.0
    # Mitosis beyond the field of view, which is a ninth of the dish, is told like any other.
    assert sum(max(abs(line["x_um"]), abs(line["y_um"])) > 60 for line in divided) > 0.5 * len(divided)


def test_the_mitotic_cells_of_an_exposure_are_those_whose_window_is_open(told: tuple[Path, Microscope]) -> None:
    folder, _ = told
    opens = {line["cell"]: line["minute"] for line in lines_of(folder, "mitosis")}
    rounding = [line for line in lines_of(folder, "present") if line["phase"] in ("prophase", "metaphase", "anaphase")]
    opens |= {line["cell"]: line["began_min"] for line in rounding}
    closes = {line["cell"]: line["minute"] for line in lines_of(folder, "divided", "dying")}
    for line in lines_of(folder, "mitotic"):
        mothers = {
            cell
            for cell, phase in zip(line["cell"], line["phase"], strict=True)
            if phase != Phase.TELOPHASE.name.lower()
        }
        assert mothers == {
            cell
            for cell, minute in opens.items()
            if minute <= line["minute"] + 1e-4 and closes.get(cell, 1e9) > line["minute"] + 1e-4
        }


def test_all_cells_are_listed_now_and_then(told: tuple[Path, Microscope]) -> None:
    folder, _ = told
    lists = lines_of(folder, "cells")
    assert [round(b["minute"] - a["minute"], 1) for a, b in pairwise(lists)] == [12.0] * 19
    assert len(lists[0]["cell"]) == len(lines_of(folder, "present")) > 9 * 15
    assert [line["kind"] for line in lines_of(folder, "start", "end")] == ["start", "end"]


def test_doses_are_those_of_the_cells(told: tuple[Path, Microscope]) -> None:
    folder, microscope = told
    with (folder / "dose.csv").open() as file:
        rows = list(csv.DictReader(file))
    last = {int(row["cell"]): (int(row["exposure"]), float(row["dose_s"])) for row in rows}
    middle = [cell for cell in microscope.specimen.cells if max(abs(cell["x"]), abs(cell["y"])) < 20]
    assert len(middle) > 3
    for cell in middle:
        if cell["born_min"] > 200 * 1.2 - 24:
            continue
        exposure, dose_s = last[int(cell["id"])]
        # Each exposure gives 0.01 s; the newest list is up to ten exposures old.
        assert dose_s == pytest.approx(float(cell["dose_s"]) - 0.01 * (199 - exposure), abs=1e-6)
