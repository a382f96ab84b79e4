"""How sure are deaths and exits? What was said of simulated cells against their true ends.

``python -m benchmarks.fates [--json] [--cards] [--frames 120] [--seed 51 52] [MODEL ...]``

Recordings hold hardly any death, and few cells that leave; simulated ones hold many. For every shipped network (or
those that are named) movies of its kind are drawn, looked at as live, and scored. ``--cards`` draws the reliability
diagrams into the networks' cards, apart from those of recordings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.perception import sureness
from models import zoo
from models.spec import NetSpec
from stream.config import ChainSettings, Configuration, load
from stream.evaluate import evaluate
from stream.score.asof import Outcomes
from stream.score.folder import Words, outcomes_in
from stream.score.reliability import draw
from stream.simulate import simulate

CONFIGS = Path(__file__).parents[1] / "models" / "train" / "configs"
DEATHS_PER_DAY = 0.6
"""Of each cell: four times as many as in the movies that networks learn from."""
ENDS: tuple[Words, ...] = ("exit", "death")


def movie(kind: str, seed: int, frames: int, out: Path) -> Path:
    """Draw a movie of a kind in which many cells die; return the folder of its images."""
    config: Configuration = load(CONFIGS / f"simulated_{kind}.toml")
    options = {**config.camera.options, "deaths_per_day": DEATHS_PER_DAY}
    camera = config.camera.model_copy(update={"options": options})
    simulate(config.model_copy(update={"camera": camera}), out, frames, seed)
    return out / "01"


def said_of(model: str, source: Path, out: Path) -> dict[Words, Outcomes]:
    """Return what a network's chain said of the ends of cells, and what came true."""
    chain = ChainSettings(segment="network", segment_options={"model": model})
    truth = source.with_name(source.name + "_GT")
    evaluate(source, out, gt=truth, chain=chain)
    words = outcomes_in(out, truth)
    return {name: words[name] for name in ENDS}


def pooled(outcomes: Mapping[str, Mapping[Words, Outcomes]]) -> dict[Words, dict[str, float]]:
    """Return how far the confidences of all movies together can be believed."""
    parts = {name: [one[name] for one in outcomes.values()] for name in ENDS}
    return {name: sureness(*map(np.concatenate, zip(*said, strict=True))) for name, said in parts.items()}


def write_card(name: str, outcomes: Mapping[str, Mapping[Words, Outcomes]]) -> None:
    """Put the diagrams into a shipped network's card."""
    plot = f"{name}.ends.png"
    draw(outcomes, zoo.HERE / plot)
    zoo.card(name).model_copy(update={"ends": plot}).write(zoo.HERE)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object last")
    parser.add_argument("--cards", action="store_true", help="draw the diagrams into the networks' cards")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--seed", type=int, nargs="+", default=[51, 52])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        movies: dict[tuple[str, int], Path] = {}
        for name in asked.models or zoo.names(zoo.CELLS):
            spec: NetSpec = zoo.spec(zoo.path(name))
            outcomes: dict[str, dict[Words, Outcomes]] = {}
            for seed in asked.seed:
                if (spec.kind, seed) not in movies:
                    out = Path(scratch) / f"{spec.kind}_{seed}"
                    movies[spec.kind, seed] = movie(spec.kind, seed, asked.frames, out)
                found = Path(scratch) / f"{name}_{seed}"
                outcomes[f"simulated, seed {seed}"] = said_of(name, movies[spec.kind, seed], found)
            results[name] = pooled(outcomes)
            if asked.cards:
                write_card(name, outcomes)
            if not asked.json:
                print("\n".join(f"{name}, {words}s: {sure}" for words, sure in results[name].items()), flush=True)
    if asked.json:
        print(json.dumps({"results": results}))


if __name__ == "__main__":
    main()
