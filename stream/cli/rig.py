"""Messages to a running rig."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.screen import Json, Screen
from stream.command import Action, Pause, Resume, Stop

RunningRig = Annotated[
    str | None, typer.Argument(help="A run folder, a configuration, or a control address; default: the newest run.")
]

Waiting = Annotated[
    str | None,
    typer.Argument(metavar="[ID|all]", help="A command's id, or all; default: list what waits for approval."),
]
_ALL = "all"


def stop(rig: RunningRig = None, json: Json = False) -> None:
    """Stop a running rig by message; frames already taken stay."""
    _ask(rig, Stop(), json)


def pause(rig: RunningRig = None, json: Json = False) -> None:
    """Let a running rig take no frames until it is resumed."""
    _ask(rig, Pause(), json)


def resume(rig: RunningRig = None, json: Json = False) -> None:
    """Let a paused rig go on, whoever paused it."""
    _ask(rig, Resume(), json)


def approve(command_id: Waiting = None, rig: RunningRig = None, json: Json = False) -> None:
    """Let a rig apply a command that waits for your word; without an id: list what waits."""
    _decide(command_id, rig, json, approve=True)


def deny(command_id: Waiting = None, rig: RunningRig = None, json: Json = False) -> None:
    """Let a rig drop a command that waits for your word; without an id: list what waits."""
    _decide(command_id, rig, json, approve=False)


def _decide(command_id: str | None, rig: str | None, json: bool, *, approve: bool) -> None:
    from stream.session import control_address, decide, waiting_for_approval

    screen = Screen(json)
    address = control_address(rig)
    if command_id is None:
        waiting = waiting_for_approval(address)
        for row in waiting:
            screen.say(
                f"{row['command_id']}  {row['kind']} {row['action']} by {row['origin']}, {row['left_s']:g} s left"
            )
        screen.result({"control": address, "waiting": [row["command_id"] for row in waiting]})
        return
    ids = [row["command_id"] for row in waiting_for_approval(address)] if command_id == _ALL else [command_id]
    answers = decide(address, ids, approve)
    screen.result({"control": address, "decided": answers})
    wanted = "approved" if approve else "denied"
    if any(answer != wanted for answer in answers.values()):
        raise typer.Exit(1)


def _ask(rig: str | None, action: Action, json: bool) -> None:
    from stream.session import ask_rig, control_address

    screen = Screen(json)
    address = control_address(rig)
    answer = ask_rig(address, action)
    screen.result({"control": address, "answer": answer})
    if answer != "applied":
        raise typer.Exit(1)
