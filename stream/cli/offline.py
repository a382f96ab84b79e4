"""Commands without a rig: simulate a movie, evaluate a recording, look at what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.screen import ConfigFile, Json, Screen
from stream.config import load


def simulate(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="The folder to write: 01, 01_GT, 01_ST.")],
    frames: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option()] = 0,
    json: Json = False,
) -> None:
    """A virtual movie with its exact truth, as a Cell Tracking Challenge folder."""
    from stream.simulate import simulate as simulate_movie

    screen = Screen(json)
    screen.result(simulate_movie(load(config), out, frames, seed))


def evaluate(
    source: Annotated[Path, typer.Argument(help="A folder of numbered images, a TIFF stack or an OME-Zarr.")],
    out: Annotated[Path, typer.Option(help="Where masks, res_track.txt and events.jsonl go.")],
    model: Annotated[str | None, typer.Option(help="The segmenter; default: chosen from the first frame.")] = None,
    gt: Annotated[Path | None, typer.Option(help="Truth: NN_GT, or its TRA or SEG.")] = None,
    st: Annotated[Path | None, typer.Option(help="Computed masks: NN_ST, or its SEG.")] = None,
    json: Json = False,
) -> None:
    """Run a recording through the chain, causally, frame by frame, and score it where truth is given."""
    from stream.evaluate import evaluate as evaluate_source

    screen = Screen(json)
    screen.result(evaluate_source(source, out, model=model, gt=gt, st=st, progress=not json))


def doctor(
    config: Annotated[Path | None, typer.Argument(help="Check this configuration without moving anything.")] = None,
    json: Json = False,
) -> None:
    """What is installed, what would run, what feedback may touch, and what is missing. Moves and exposes nothing.

    The devices are loaded, asked, and let go as they were. Exits non-zero when something would stop the run; warnings
    do not. Light is counted for the field that gets most of it, in seconds at full power, and in
    J/cm² where it is calibrated.
    """
    from stream.doctor import examine
    from stream.doctor.words import in_words

    screen = Screen(json)
    found = examine(config)
    screen.result(found, in_words)
    if found["problems"]:
        raise typer.Exit(1)
