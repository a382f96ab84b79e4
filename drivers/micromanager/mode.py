"""What stream mode and MDA mode have in common, seen from the commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from stream.command import Command, Target

Result = TypeVar("Result")


class Mode(Protocol):
    """A way to take frames. Every method is called by the core's owner."""

    name: str

    def start(self) -> None:
        """Set the plan's settings and begin."""

    def due(self) -> float:
        """Do what is due; return how many seconds may pass until the next call."""

    def between_frames(self, job: Callable[[], None]) -> None:
        """Run ``job`` when the core is free for it: now, or after the frame that is being taken."""

    def applied(self, command_id: str, position: int | None = None, **changes: Any) -> None:
        """Say that a command holds from now on, and which settings of :class:`State` it changed."""

    def restart(self, change: Callable[[], Result], command_id: str) -> Result:
        """Change what no running sequence survives, and begin a new epoch, also when the change fails.

        The command holds from the new epoch on.
        """

    def position(self, target: Target) -> tuple[int | None, tuple[float, float, float] | None]:
        """Return which of the plan's positions is meant and where it is; None: wherever the stage is."""

    def moving(self) -> None:
        """Say that the stage begins to move."""

    def moved(self, position: int | None, stage_um: tuple[float, float, float]) -> None:
        """Say where the stage stands, and that the plan's position is there from now on."""

    def require_move(self, position: int | None, to_um: tuple[float, float, float]) -> None:
        """Raise Refused where the plan does not let a position be moved so."""

    def require_exposure(self, target: Target) -> None:
        """Raise Refused where the plan has no such position or channel."""

    def expose(self, exposure_ms: float, target: Target, command_id: str) -> None:
        """Expose frames, or those of the target's position or channel, so long; the camera is set so already."""

    def set_interval(self, interval_ms: float | None, target: Target) -> float:
        """Change the pace of the plan or of a position (None: as planned); returns what holds. Raises Refused."""

    def select_channel(self, name: str, command_id: str) -> str:
        """Switch to a channel, or raise Refused; the command holds from then on."""

    def switch_light(self, on: bool) -> bool:
        """Light the frames or not."""

    def pause(self) -> None:
        """Take no frames."""

    def resume(self, command_id: str) -> None:
        """Take frames again; the first one names the command."""

    def resync(self) -> None:
        """Read everything back, after a command that failed half-way."""

    def finish(self, reason: str) -> None:
        """Take no more frames, hand over those that were taken, and end. Idempotent."""


@runtime_checkable
class Planned(Protocol):
    """What a mode can do besides, in which each frame is an event of its own."""

    def add_position(
        self, place_um: tuple[float, float, float | None], command: Command
    ) -> tuple[int, tuple[float, float, float]]:
        """Visit one more position, or one again that was dropped; its number and place. Raises Refused."""

    def drop_position(self, at_once: bool, command: Command) -> int:
        """Visit the target's position no more; returns its number. Raises Refused."""

    def acquire(self, command: Command) -> dict[str, Any]:
        """Put a sequence beside the plan and say what will come of it. Raises Refused."""

    def is_pending(self, command_id: str) -> bool:
        """Whether frames of such a sequence are still to come; may be asked from any thread."""

    def describe(self) -> Mapping[str, Any]:
        """Say what is planned: positions, channels, time points, frames, duration."""

    def cancel(self, command_id: str | None) -> dict[str, int]:
        """Take such a sequence back, or all that feedback asked for; how many parts each had left."""
