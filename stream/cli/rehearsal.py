"""The command that rehearses a configuration on the virtual microscope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.screen import ConfigFile, Json, Screen, ctrl_c
from stream.config import load


def rehearse(
    config: ConfigFile,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many specimens; default: [rehearse] seeds.")] = None,
    first_seed: Annotated[int, typer.Option(min=0, help="The first specimen's seed.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="How long each arm images; default: [rehearse] seconds.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the rehearsal's folder goes.")] = Path("rehearsals"),
    json: Json = False,
) -> None:
    """The closed loop on the virtual microscope, with the policies, without, and at the same dose; scored on truth."""
    from stream.rehearse.run import rehearse as run
    from stream.rehearse.table import in_words

    screen = Screen(json)
    settings = load(config)
    count = seeds or settings.rehearse.seeds
    with ctrl_c() as stop:
        result = run(
            settings,
            config.parent.resolve(),
            out,
            seeds=range(first_seed, first_seed + count),
            seconds=seconds or settings.rehearse.seconds,
            say=screen.say,
            stop=stop,
        )
    screen.result(result, in_words)
