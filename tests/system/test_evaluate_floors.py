"""What the stages without weights must reach on real recordings: just below what they do reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream.evaluate import evaluate

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ctc"
CASES: dict[str, tuple[str, Path, dict[str, float], dict[str, float], dict[str, float]]] = {
    "nuclei": (
        "classical-nuclei",
        DATA / "Fluo-N2DL-HeLa" / "02",
        {"DET": 0.975, "TRA": 0.97, "CHOTA": 0.91, "CT": 0.63},
        {"f1": 0.83},
        {"retract_rate": 0.07, "false_confirmed_per_1000": 4.0},
    ),
    "phase": (
        "classical-phase",
        DATA / "PhC-C2DL-PSC" / "01",
        {"DET": 0.955, "TRA": 0.95, "CHOTA": 0.765, "CT": 0.15},
        {"f1": 0.55},
        {"retract_rate": 0.25, "false_confirmed_per_1000": 3.0},
    ),
}


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the ctc recordings in $CYTOLOOP_DATA or beside the checkout")
@pytest.mark.parametrize(("model", "place", "least", "least_division", "most"), CASES.values(), ids=CASES.keys())
def test_floors(
    tmp_path: Path,
    model: str,
    place: Path,
    least: dict[str, float],
    least_division: dict[str, float],
    most: dict[str, float],
) -> None:
    scored = evaluate(place, tmp_path, model=model, gt=place.with_name(place.name + "_GT"))
    division = scored["division"]
    low = {name: scored[name] for name, floor in least.items() if scored[name] < floor}
    low |= {name: division[name] for name, floor in least_division.items() if division[name] < floor}
    high = {name: division[name] for name, ceiling in most.items() if division[name] > ceiling}
    assert (low, high) == ({}, {})
