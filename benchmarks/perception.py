"""How well and how fast cells are seen, followed and seen to divide: every development sequence against its truth.

``python benchmarks/perception.py [--json] [MODEL:SEQUENCE ...]``; exits 1 when a floor is missed, 2 without the data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from stream.evaluate import evaluate

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ctc"
SEQUENCES = ("classical-nuclei:Fluo-N2DL-HeLa/02", "classical-phase:PhC-C2DL-PSC/01")
FLOORS = {
    "Fluo-N2DL-HeLa/02": {"DET": 0.93, "TRA": 0.92, "f1": 0.38},
    "PhC-C2DL-PSC/01": {"DET": 0.93, "TRA": 0.92, "f1": 0.35},
}
SHOWN = ("SEG", "SEG_ST", "DET", "TRA", "LNK", "CHOTA", "CT", "BC1")

DIVISION_SHOWN = ("f1", "precision", "recall", "delay_frames", "retract_rate", "ece", "brier")


def measure(model: str, sequence: str, progress: bool = False) -> dict[str, Any]:
    """Evaluate one sequence in a temporary folder."""
    place = DATA / sequence
    truth = place.with_name(place.name + "_GT"), place.with_name(place.name + "_ST")
    with tempfile.TemporaryDirectory() as out:
        return evaluate(place, Path(out), model=model, gt=truth[0], st=truth[1], progress=progress)


def missed(sequence: str, scored: dict[str, Any]) -> list[str]:
    """Return the floors that are not reached, in words."""
    found = {**scored, "f1": scored["division"]["f1"]}
    return [
        f"{sequence}: {name} {found[name]:.3f} is below {floor}"
        for name, floor in FLOORS.get(sequence, {}).items()
        if found[name] < floor
    ]


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def show(sequence: str, scored: dict[str, Any]) -> None:
    """Print the figures as a few lines."""
    division, total = scored["division"], scored["ms"]["total"]
    figures = "  ".join(f"{name} {_text(scored[name])}" for name in SHOWN)
    print(f"{sequence}  {scored['model']}  {scored['frames']} frames\n  {figures}")
    early = " ".join(_text(value) for value in division["f1_asof"].values())
    shown = "  ".join(f"{name} {_text(division[name])}" for name in DIVISION_SHOWN)
    print(f"  division {shown}\n  division f1 as of 0-5: {early}")
    stages = "  ".join(
        f"{name} {ms['p50']:.1f}/{ms['p99']:.1f}" for name, ms in scored["ms"].items() if name != "total"
    )
    print(f"  ms p50/p99: {total['p50']:.1f}/{total['p99']:.1f}  ({stages})")


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("wanted", nargs="*", default=SEQUENCES, metavar="MODEL:SEQUENCE")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"{DATA}: no recordings; set CYTOLOOP_DATA", file=sys.stderr)
        return 2
    results, failures = {}, []
    for wanted in options.wanted:
        model, _, sequence = wanted.rpartition(":")
        results[sequence] = measure(model, sequence, progress=not options.json)
        failures += missed(sequence, results[sequence])
        if not options.json:
            show(sequence, results[sequence])
    print(json.dumps({"results": results, "missed": failures}) if options.json else "\n".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
