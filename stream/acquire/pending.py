"""A command on its way through the desk."""

from __future__ import annotations

from dataclasses import dataclass

from stream.command import Command
from stream.frame import Frame
from stream.stages import Readback


@dataclass(slots=True, eq=False)
class Pending:
    """What the desk knows of a command that has no final answer yet."""

    command: Command
    received_ns: int
    readback: Readback | None = None
    timings_ms: dict[str, float] | None = None
    applied_ns: int = 0
    superseded: bool = False
    driving: bool = False
    """Whether the hardware has been asked."""
    approved_by: str = ""
    first: Frame | None = None
