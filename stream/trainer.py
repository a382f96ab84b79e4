"""Trains networks and judges them as they will be used: by evaluating recordings frame by frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from models.spec import Head
from models.train.run import read_settings, train
from models.train.settings import Source, TrainSettings, data_root
from stream.config import ChainSettings, load
from stream.errors import ConfigError
from stream.evaluate import evaluate
from stream.simulate import simulate

Say = Callable[[str], None]
RUNS = Path("training")
"""Where runs go that are given no folder."""
SHOWN = ("SEG", "SEG_ST", "DET", "TRA", "CHOTA", "CT")
DECODED: tuple[Head, ...] = ("foreground",)
"""Heads without which there are no cells at all."""


def train_one(
    config: Path, out: Path | None = None, *, steps: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Train as a file says; with the same ``out`` an interrupted run goes on from its last checkpoint.

    Parameters
    ----------
    out
        None: ``training/NAME``, for the network's name.

    Returns
    -------
    dict
        ``name, model, steps, best_step, minutes, held_out``.
    """
    changes = {name: value for name, value in (("steps", steps), ("seed", seed)) if value is not None}
    settings = read_settings(config).model_copy(update=changes)
    place = out or RUNS / settings.name
    return _train(settings, config.parent, place, place.parent / "simulated")


def cross_validate(config: Path, out: Path, *, steps: int | None = None, say: Say = print) -> dict[str, Any]:
    """Train once without each movie, and evaluate on the movie that was left out.

    Returns
    -------
    dict
        ``folds``: a row for each movie, with its figures.
    """
    settings = _from_nothing(config, "have learned from the movie that is left out")
    if steps is not None:
        settings = settings.model_copy(update={"steps": steps})
    movies = [source for source in settings.data if _sequence(source, out) is not None]
    if len(settings.data) < 2 or not movies:
        raise ConfigError(f"{config}: leaving one out needs two sources of data, one of them a movie")
    rows = []
    for source in movies:
        rest = tuple(other for other in settings.data if other is not source)
        fold = settings.model_copy(update={"data": rest})
        say(f"without {source.path}: learning from {', '.join(str(other.path) for other in rest)}")
        place = out / f"without_{source.path.as_posix().replace('/', '_')}"
        made = _train(fold, config.parent, place, out / "simulated")
        rows.append({"left_out": str(source.path), **_judged(source, Path(made["model"]), place, out, config.parent)})
    return _kept({"steps": settings.steps, "seed": settings.seed, "folds": rows}, out)


def ablate(config: Path, out: Path, *, steps: int = 400, say: Say = print) -> dict[str, Any]:
    """Train without the second frame and without each head, one seed, and evaluate on the file's first movie.

    Returns
    -------
    dict
        ``variants``: a row for each, with its figures; the first is the whole network.
    """
    settings = _from_nothing(config, "have what is left out").model_copy(update={"steps": steps})
    first = settings.data[0]
    if _sequence(first, out) is None:
        raise ConfigError(f"{config}: the first [[data]] must be a movie to judge on")
    rows = []
    for name, changes in _variants(settings):
        say(f"{name}: {steps} steps")
        place = out / name.replace(" ", "_")
        made = _train(settings.model_copy(update=dict(changes)), config.parent, place, out / "simulated")
        rows.append({"variant": name, **_judged(first, Path(made["model"]), place, out, config.parent)})
    found = {"steps": steps, "seed": settings.seed, "sequence": str(first.path), "variants": rows}
    return _kept(found, out)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of figures as a Markdown table."""
    head = list(rows[0])
    text = [" | ".join(head), " | ".join("---" for _ in head)]
    text += [" | ".join(_cell(row[name]) for name in head) for row in rows]
    return "\n".join(f"| {line} |" for line in text)


def _from_nothing(config: Path, otherwise: str) -> TrainSettings:
    """Read a run that builds upon no earlier one. Raises ConfigError."""
    settings = read_settings(config)
    if settings.start or settings.teachers:
        raise ConfigError(f"{config}: `start` and `teachers` {otherwise}; remove them, or name the run they come from")
    return settings


def _variants(settings: TrainSettings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "whole", {}
    yield "without the second frame", {"input_frames": 1}
    for head in settings.heads:
        if head not in DECODED:
            yield f"without {head}", {"heads": tuple(one for one in settings.heads if one != head)}


def _train(settings: TrainSettings, base: Path, out: Path, simulated: Path) -> dict[str, Any]:
    fitted = train(settings, base, out, _simulate, simulated)
    return {
        "name": settings.name,
        "model": str(out / f"{settings.name}.onnx"),
        "steps": fitted.steps,
        "best_step": fitted.best_step,
        "minutes": round(fitted.minutes, 1),
        "held_out": {name: round(value, 4) for name, value in fitted.validation.items()},
    }


def _simulate(config: Path, out: Path, frames: int, seed: int) -> None:
    simulate(load(config), out, frames, seed)


def _sequence(source: Source, out: Path) -> Path | None:
    """Return the images of a source that is a movie."""
    if source.simulate is not None:
        return out / "simulated" / source.path / "01"
    place = source.path if source.path.is_absolute() else data_root() / source.path
    return None if (place / "images").is_dir() else place


def _judged(source: Source, model: Path, place: Path, out: Path, base: Path) -> dict[str, Any]:
    images = _sequence(source, out)
    assert images is not None
    if source.simulate is not None and not images.exists():
        _simulate(base / source.simulate, images.parent, source.frames, source.simulate_seed)
    chain = ChainSettings(segment="network", segment_options={"model": str(model)})
    truth, masks = (images.with_name(images.name + ending) for ending in ("_GT", "_ST"))
    st = masks if masks.is_dir() else None
    found = evaluate(images, place / "result", gt=truth, st=st, progress=True, chain=chain)
    return {**{name: found[name] for name in SHOWN}, "division F1": found["division"]["f1"]}


def _kept(found: dict[str, Any], out: Path) -> dict[str, Any]:
    (out / "result.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
