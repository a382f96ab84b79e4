"""How well and how fast cells are seen, followed and seen to divide: every development sequence against its truth.

``python benchmarks/perception.py [--json] [--table] [--cards] [MODEL[:SEQUENCE[@PHOTONS]] ...]``

A sequence is a folder of the Cell Tracking Challenge; ``@20`` shows it as if its brightest pixels had caught 20
photons. Without arguments: the classical stages, and every shipped network on the sequence of its kind, with all of its
light, with 20 and with 5 photons, and on held-out single images. Exits 1 when a floor or a ceiling is missed, 2 without
the data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from models import zoo
from stream.config import ChainSettings
from stream.evaluate import evaluate
from stream.score.asof import Outcomes, expected_calibration_error
from stream.score.folder import Words, outcomes_in
from stream.score.reliability import TITLES

sys.path.insert(0, str(Path(__file__).parent))
import nuclei_images
import unseen
from degrade import degraded
from perception_table import SHOWN, in_lines, table, text, write_card

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[2] / "shared" / "data"))
IMAGES = "dsb2018_fluo"
OF_KIND = {"nuclei": "Fluo-N2DL-HeLa/02", "phase": "PhC-C2DL-PSC/01"}
CLASSICAL = ("classical-nuclei:Fluo-N2DL-HeLa/02", "classical-phase:PhC-C2DL-PSC/01")
PHOTONS = (None, 20, 5)
LEARNT = "training: all but its right fifth was learnt from"
Floats = NDArray[np.float64]
Sureness = dict[str, float]
"""``events``, ``ece``, ``brier`` and ``brier_of_best_constant``."""
Limits = dict[tuple[str, str, int | None], dict[str, float]]
HELA, PSC = OF_KIND["nuclei"], OF_KIND["phase"]
FLOORS: Limits = {
    ("classical-nuclei", HELA, None): {"DET": 0.975, "TRA": 0.97, "CHOTA": 0.91, "CT": 0.63, "division_f1": 0.83},
    ("classical-phase", PSC, None): {"DET": 0.955, "TRA": 0.95, "CHOTA": 0.765, "CT": 0.15, "division_f1": 0.55},
    ("nuclei", HELA, None): {
        "DET": 0.988, "SEG": 0.83, "SEG_ST": 0.92, "TRA": 0.988, "CHOTA": 0.935, "CT": 0.76,
        "division_f1": 0.915, "f1_asof_1": 0.91, "f1_asof_3": 0.91,
    },
    ("nuclei", HELA, 20): {"DET": 0.95},
    ("nuclei", IMAGES, None): {"F1": 0.88},
    ("nuclei-fast", HELA, None): {
        "DET": 0.98, "TRA": 0.98, "CHOTA": 0.93, "CT": 0.755,
        "division_f1": 0.915, "f1_asof_1": 0.91, "f1_asof_3": 0.91,
    },
    ("phase", PSC, None): {
        "DET": 0.975, "SEG_ST": 0.83, "TRA": 0.973, "CHOTA": 0.868, "CT": 0.38,
        "division_f1": 0.82, "f1_asof_1": 0.82, "f1_asof_3": 0.82,
    },
    ("phase", PSC, 20): {"DET": 0.96},
    ("phase-fast", PSC, None): {
        "DET": 0.975, "TRA": 0.974, "CHOTA": 0.86, "CT": 0.35,
        "division_f1": 0.805, "f1_asof_1": 0.8, "f1_asof_3": 0.805,
    },
}  # fmt: skip
"""What must at least be reached: just below what was measured, in float32 or bf16."""
CEILINGS: Limits = {
    ("nuclei", HELA, None): {"retract_rate": 0.03, "false_confirmed_per_1000": 2.0, "ece": 0.08},
    ("nuclei-fast", HELA, None): {"retract_rate": 0.03, "false_confirmed_per_1000": 2.0, "ece": 0.07},
    ("phase", PSC, None): {"retract_rate": 0.05, "false_confirmed_per_1000": 1.5, "ece": 0.08},
    ("phase-fast", PSC, None): {"retract_rate": 0.05, "false_confirmed_per_1000": 1.5, "ece": 0.08},
}
"""What must not be exceeded, likewise."""
POOLED_ECE: Mapping[Words, float] = {"first word": 0.07, "confirmed": 0.07, "warning": 0.11}
"""The same for the confidences of everything that was measured, at all lights, pooled by what states them; recordings
hold too few ends of cells to say (:mod:`fates`)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model on one sequence; ``photons`` None: with all of its light."""

    model: str
    sequence: str
    photons: int | None = None

    @property
    def floors(self) -> dict[str, float]:
        """What must at least be reached."""
        return FLOORS.get((self.model, self.sequence, self.photons), {})

    @property
    def ceilings(self) -> dict[str, float]:
        """What must not be exceeded."""
        return CEILINGS.get((self.model, self.sequence, self.photons), {})

    @property
    def network(self) -> bool:
        """Whether a network looks, and not a classical stage."""
        return not self.model.startswith("classical")


def cases(wanted: Sequence[str]) -> list[Case]:
    """Return what is asked for; nothing: everything there is."""
    if not wanted:
        return [*cases(CLASSICAL), *(case for name in zoo.names(zoo.CELLS) for case in _all_of(name))]
    found: list[Case] = []
    for word in wanted:
        model, _, place = word.rpartition(":") if ":" in word else (word, "", "")
        sequence, _, photons = place.partition("@")
        found += [Case(model, sequence, int(photons) if photons else None)] if sequence else _all_of(model)
    return found


def _all_of(model: str) -> Iterator[Case]:
    kind = zoo.spec(zoo.path(model)).kind
    for photons in PHOTONS:
        yield Case(model, OF_KIND[kind], photons)
    if kind == "nuclei":
        yield Case(model, IMAGES)


def role(case: Case) -> str:
    """Say what the sequence was to the model, by the model's card: honest figures name what was learnt from."""
    if not case.network:
        return "development: its numbers were chosen on it"
    shipped = case.model in zoo.names()
    data = zoo.card(case.model).data if shipped and zoo.path(case.model).with_suffix(".json").is_file() else ()
    if not data:
        return "unknown: there is no card"
    learnt = any(case.sequence in one.name or one.name in case.sequence for one in data)
    if case.sequence == IMAGES:
        return "held out: 20 % of a set that was learnt from" if learnt else "unseen"
    return LEARNT if learnt else "development: not learnt from"


def measure(case: Case, progress: bool = False) -> tuple[dict[str, Any], dict[Words, Outcomes] | None]:
    """Return the row of one case, and what its confidences came to."""
    row = {"model": case.model, "sequence": case.sequence, "role": role(case), "photons": case.photons}
    if case.sequence == IMAGES:
        return row | nuclei_images.measure(case.model, DATA / IMAGES), None
    place = DATA / "ctc" / case.sequence
    truth, computed = place.with_name(place.name + "_GT"), place.with_name(place.name + "_ST")
    chain = ChainSettings(segment="network", segment_options={"model": case.model}) if case.network else None
    with tempfile.TemporaryDirectory() as out:
        source = _degraded(place, Path(out) / place.name, case.photons) if case.photons else place
        found, model = Path(out) / "found", None if case.network else case.model
        scored = evaluate(source, found, model=model, gt=truth, st=computed, progress=progress, chain=chain)
        sure = outcomes_in(found, truth)
        strip = unseen.figures(found, truth) if row["role"] == LEARNT else {}
    division, total = scored["division"], scored["ms"]["total"]
    plain = {
        "division_f1": division["f1"],
        **{f"f1_asof_{k}": division["f1_asof"][k] for k in "13"},
        **{name: division[name] for name in ("retract_rate", "false_confirmed_per_1000", "ece")},
        "ms_p50": total["p50"],
    }
    return row | {name: scored[name] for name in SHOWN} | plain | strip | {"whole": scored}, sure


def _degraded(place: Path, out: Path, photons: int) -> Path:
    """Write the sequence as it would be with less light."""
    out.mkdir()
    for number, path in enumerate(sorted(place.glob("*.tif"))):
        tifffile.imwrite(out / path.name, degraded(tifffile.imread(path), photons, number))
    return out


def missed(case: Case, row: dict[str, Any]) -> list[str]:
    """Return the floors that are not reached and the ceilings that are exceeded, in words."""
    light = f" at {case.photons} photons" if case.photons else ""
    low = [
        f"{name} {text(row[name])} is below {floor}"
        for name, floor in case.floors.items()
        if row[name] is None or row[name] < floor
    ]
    high = [
        f"{name} {text(row[name])} is above {ceiling}"
        for name, ceiling in case.ceilings.items()
        if row[name] is None or row[name] > ceiling
    ]
    return [f"{case.model} on {case.sequence}{light}: {one}" for one in low + high]


def unbelievable(pooled: Mapping[Words, Mapping[str, Sureness]]) -> list[str]:
    """Return in words how far confidences are from what comes true, where that is too far."""
    return [
        f"{words}, pooled: ece {pooled[words]['all']['ece']:.3f} is above {limit}"
        for words, limit in POOLED_ECE.items()
        if "all" in pooled.get(words, {}) and pooled[words]["all"]["ece"] > limit
    ]


def calibrated(outcomes: Mapping[str, Mapping[str, Mapping[Words, Outcomes]]]) -> dict[Words, dict[str, Sureness]]:
    """Return how far confidences can be believed, by what states them, then by model and over ``all``.

    The sequences of a model are pooled, at all lights. ``ece`` in five bins of equal count; ``brier`` beside that of
    the best constant, which is the rate at which events come true.
    """
    found: dict[Words, dict[str, Sureness]] = {}
    models = {name: tuple(by_sequence.values()) for name, by_sequence in outcomes.items()}
    everything = {**models, "all": sum(models.values(), ())}
    for words in TITLES:
        said = {name: [one[words] for one in parts] for name, parts in everything.items() if parts}
        by_model = {name: sureness(*map(np.concatenate, zip(*parts, strict=True))) for name, parts in said.items()}
        found[words] = {name: one for name, one in by_model.items() if one}
    return found


def sureness(stated: Floats, came_true: Floats) -> Sureness:
    """Return the figures of some confidences; nothing of none."""
    if not len(stated):
        return {}
    rate, error = float(came_true.mean()), expected_calibration_error(stated, came_true)
    brier = float(np.mean((stated - came_true) ** 2))
    return {"events": len(stated), "ece": error or 0.0, "brier": brier, "brier_of_best_constant": rate * (1 - rate)}


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object last")
    parser.add_argument("--table", action="store_true", help="print the table only, and mind no floor")
    parser.add_argument("--cards", action="store_true", help="write figures and calibration into the networks' cards")
    parser.add_argument("wanted", nargs="*", metavar="MODEL[:SEQUENCE[@PHOTONS]]")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"{DATA}: no recordings; set CYTOLOOP_DATA", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    sure: dict[str, dict[str, dict[Words, Outcomes]]] = {}
    for case in cases(options.wanted):
        row, outcomes = measure(case, progress=not options.json)
        rows.append(row)
        failures += missed(case, row)
        if outcomes is not None:
            light = f" at {case.photons} photons" if case.photons else ""
            sure.setdefault(case.model, {})[case.sequence + light] = outcomes
        if not (options.json or options.table):
            print(in_lines(row))
    pooled = calibrated(sure)
    failures += unbelievable(pooled)
    if options.cards:
        for name in dict.fromkeys(row["model"] for row in rows if row["model"] in zoo.names()):
            write_card(name, [row for row in rows if row["model"] == name], sure.get(name, {}))
    if options.json:
        print(json.dumps({"results": rows, "calibration": pooled, "missed": failures}))
        return 1 if failures else 0
    print(table(rows))
    for words, by_model in pooled.items():
        print("\n".join(f"{name}, {words}, all of its sequences: {one}" for name, one in by_model.items()))
    if not options.table:
        print("\n".join(failures))
    return 1 if failures and not options.table else 0


if __name__ == "__main__":
    sys.exit(main())
