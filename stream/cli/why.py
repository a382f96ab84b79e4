"""Why a frame is as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.screen import Json, Screen


def why(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, also of one that goes on.")],
    frame: Annotated[
        str,
        typer.Option(metavar="FIELD:N", help="A frame, e.g. Camera:p0:120; default: the newest.", show_default=False),
    ] = "",
    command: Annotated[str, typer.Option(metavar="ID", help="A command instead of a frame.", show_default=False)] = "",
    event: Annotated[
        str, typer.Option(metavar="ID", help="An event, and what was done for it.", show_default=False)
    ] = "",
    json: Json = False,
) -> None:
    """Why a frame is as it is: frame ← command ← rule ← event ← the frames that showed it.

    For each setting of a frame the command that made it so, with every answer of the rig; the event and the rule that
    it was sent for; the frames in which the event happened and after which it was known; and what was lost around all
    that. Nothing is disturbed: a run that goes on, or whose analysis has died, can be asked too.
    """
    from stream.facts.chain import in_words
    from stream.facts.provenance import why as ask

    screen = Screen(json)
    screen.result(ask(run, frame=frame, command=command, event=event), in_words)
