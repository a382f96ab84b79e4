"""What the stages without weights must reach on real recordings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream.evaluate import evaluate

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ctc"
CASES = {
    "nuclei": ("classical-nuclei", DATA / "Fluo-N2DL-HeLa" / "02", 0.38),
    "phase": ("classical-phase", DATA / "PhC-C2DL-PSC" / "01", 0.35),
}


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the ctc recordings in $CYTOLOOP_DATA or beside the checkout")
@pytest.mark.parametrize(("model", "place", "f1"), CASES.values(), ids=CASES.keys())
def test_floors(tmp_path: Path, model: str, place: Path, f1: float) -> None:
    scored = evaluate(place, tmp_path, model=model, gt=place.with_name(place.name + "_GT"))
    assert scored["DET"] >= 0.93
    assert scored["TRA"] >= 0.92
    assert scored["division"]["f1"] >= f1
