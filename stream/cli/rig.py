"""Messages to a running rig."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.screen import Json, Screen
from stream.command import Action, Pause, Resume, Stop

RunningRig = Annotated[
    str | None, typer.Argument(help="A run folder, a configuration, or a control address; default: the newest run.")
]


def stop(rig: RunningRig = None, json: Json = False) -> None:
    """Stop a running rig by message; frames already taken stay."""
    _ask(rig, Stop(), json)


def pause(rig: RunningRig = None, json: Json = False) -> None:
    """Let a running rig take no frames until it is resumed."""
    _ask(rig, Pause(), json)


def resume(rig: RunningRig = None, json: Json = False) -> None:
    """Let a paused rig go on, whoever paused it."""
    _ask(rig, Resume(), json)


def _ask(rig: str | None, action: Action, json: bool) -> None:
    from stream.session import ask_rig, control_address

    screen = Screen(json)
    address = control_address(rig)
    answer = ask_rig(address, action)
    screen.result({"control": address, "answer": answer})
    if answer != "applied":
        raise typer.Exit(1)
