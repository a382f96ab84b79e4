"""From a training file to a network: reads the data, fits with progress, exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.train.batches import Pool
from models.train.fit import LOG, Fit, Fitted
from models.train.memory import keep_memory
from models.train.movie import Movie, read_ctc
from models.train.pairs import read_pairs
from models.train.plot import plot
from models.train.settings import Source, TrainSettings, data_root
from models.zoo.pack import export_with_check
from stream.errors import ConfigError
from stream.settings import parse, read_toml

Simulate = Callable[[Path, Path, int, int], None]
"""``simulate(config, out, frames, seed)``: writes a virtual movie with its truth."""


def read_settings(path: Path) -> TrainSettings:
    """Read a training file. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"{path}: no such file; see models/train/configs for complete ones")
    settings: TrainSettings = parse(TrainSettings, read_toml(path), str(path))
    return settings


def read_movies(source: Source, base: Path, simulated: Path, simulate: Simulate, claimed: float = 0.0) -> list[Movie]:
    """Read one source; a virtual movie that is absent is made first."""
    if source.simulate is not None:
        place = simulated / source.path
        if not (place / "01_GT" / "TRA" / "man_track.txt").exists():
            simulate(base / source.simulate, place, source.frames, source.simulate_seed)
        return [read_ctc(place / "01", 0, claimed)]
    place = source.path if source.path.is_absolute() else data_root() / source.path
    if (place / "images").is_dir():
        return list(read_pairs(place))
    return [read_ctc(place, source.border_px, claimed)]


def train(settings: TrainSettings, base: Path, out: Path, simulate: Simulate, simulated: Path | None = None) -> Fitted:
    """Train, and write ``NAME.onnx``, ``NAME.fp16.onnx`` and ``NAME.check.npz`` into ``out``.

    Raises
    ------
    SourceError, ConfigError
        The data cannot be read, or are too few.
    StageError
        The run diverged: nothing is exported.
    """
    keep_memory()
    console = Console(stderr=True)
    place = simulated or out.parent / "simulated"
    groups: list[tuple[float, Sequence[Movie]]] = []
    for source in settings.data:
        console.print(f"reading {source.path}")
        groups.append((source.share, read_movies(source, base, place, simulate, settings.claimed)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    fit = Fit(settings, Pool(groups, settings), out, device)
    said = TextColumn("{task.fields[said]}")
    columns = (TextColumn(settings.name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), said)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=settings.steps, said="")
        held = float("nan")

        def report(step: int, steps: int, figures: dict[str, float]) -> None:
            nonlocal held
            held = figures.get("held_total", held)
            progress.update(task, completed=step, total=steps, said=f"loss {figures['total']:.3f} held {held:.3f}")

        fitted = fit.run(report)
    fitted.net.cpu()
    plot(out / LOG, out / "metrics.png")
    export_with_check(fitted.net, out)
    return fitted
