"""Commands that make networks (extra ``[train]``): train, cross-validate, ablate."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from stream.cli.models import app, lacking
from stream.cli.screen import Json, Screen

Config = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="See models/train/configs.")]
Out = Annotated[Path, typer.Option(help="A folder for checkpoints, log, plot and the network.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Overrules the file.")]


_AT_THE_END = ("onnxscript", "onnxruntime", "matplotlib")
"""What a run needs only when it has learned."""


def _trainer() -> Any:
    try:
        from stream import trainer

        for name in _AT_THE_END:
            import_module(name)
    except ImportError as error:
        raise lacking("training", error) from error
    return trainer


@app.command()
def train(
    config: Config,
    out: Annotated[
        Path | None, typer.Option(help="A folder for checkpoints, log, plot and the network; default: training/NAME.")
    ] = None,
    steps: Steps = None,
    seed: int | None = None,
    json: Json = False,
) -> None:
    """Train a network. The same command with the same --out goes on where an interrupted run stopped."""
    Screen(json).result(_trainer().train_one(config, out, steps=steps, seed=seed))


@app.command("cross-validate")
def cross_validate(config: Config, out: Out, steps: Steps = None, json: Json = False) -> None:
    """Train without each movie in turn, and evaluate on the one that was left out."""
    screen, trainer = Screen(json), _trainer()
    screen.result(
        trainer.cross_validate(config, out, steps=steps, say=screen.say), lambda found: trainer.table(found["folds"])
    )


@app.command()
def ablate(config: Config, out: Out, steps: int = 400, json: Json = False) -> None:
    """Train without the second frame and without each head (one seed), and evaluate on the file's first movie."""
    screen, trainer = Screen(json), _trainer()
    screen.result(
        trainer.ablate(config, out, steps=steps, say=screen.say), lambda found: trainer.table(found["variants"])
    )
