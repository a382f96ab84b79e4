"""Which command goes before which: what is urgent, what makes another pointless, what shadow mode lets through."""

from __future__ import annotations

from stream.acquire.guard import OURS
from stream.command import Action, Command, MoveStage, Pause, Resume, SetLight, Stop

_SUPERSEDABLE = frozenset(
    {"set_exposure", "set_interval", "set_roi", "set_light", "move_stage", "recentre", "set_channel"}
)
_HIGHEST = {"rig": 1000, "operator": 999}
_HIGHEST_OF_FEEDBACK = 100


def priority(command: Command) -> int:
    """Return how early a command's turn comes: whatever it says, feedback after operators, and these after the rig."""
    return min(command.priority, _HIGHEST.get(command.cause.origin, _HIGHEST_OF_FEEDBACK))


def is_urgent(command: Command) -> bool:
    """Whether a command overtakes one that the hardware is still busy with: a stop, and the rig closing its light."""
    action = command.action
    return isinstance(action, Stop) or (
        command.cause.origin == "rig" and isinstance(action, SetLight) and action.on is False
    )


def applies_in_shadow(command: Command) -> bool:
    """Whether a command is applied in shadow mode: an operator's stop, pause and resume, and the rig sparing light."""
    by_operator = command.cause.origin == "operator" and isinstance(command.action, Stop | Pause | Resume)
    return by_operator or command.cause.origin == "rig"


def supersedes(newer: Command, older: Command) -> bool:
    """Whether a newer command makes an older one pointless, once it is sure to be applied itself.

    What an operator or the rig has asked for, they alone may ask for anew.
    """
    same = older.action.kind == newer.action.kind in _SUPERSEDABLE and older.target == newer.target
    may = older.cause.origin not in OURS or older.cause.origin == newer.cause.origin
    return same and may and priority(older) <= priority(newer) and _asks(older.action) <= _asks(newer.action)


def _asks(action: Action) -> frozenset[str]:
    """Name what an action sets: a move in z says nothing about x, so it does not make a move in x pointless."""
    partial = isinstance(action, MoveStage | SetLight)
    return frozenset(name for name, value in action if value is not None) if partial else frozenset()
