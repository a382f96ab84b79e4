"""Who paused the rig: what an operator paused, nobody else sets going again."""

from __future__ import annotations

from stream.command import Command, Pause, Resume

OPERATOR, RIG = "operator", "rig"


class Pausing:
    """Follows what was applied; an operator's pause takes over any other, and no other takes over an operator's."""

    def __init__(self) -> None:
        self.by = ""
        """The origin of the pause that holds; empty: frames are taken."""

    def applied(self, command: Command) -> None:
        """Note a command that was applied."""
        origin = command.cause.origin
        if isinstance(command.action, Resume):
            self.by = ""
        elif isinstance(command.action, Pause) and (not self.by or origin == OPERATOR):
            self.by = origin

    def refuses(self, command: Command) -> str:
        """Say why a command may not set the rig going, or nothing."""
        if isinstance(command.action, Resume) and self.by == OPERATOR and command.cause.origin != OPERATOR:
            return "an operator paused the rig, and only an operator resumes it"
        return ""
