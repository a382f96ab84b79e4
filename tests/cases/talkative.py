"""User code for tests of whole runs: stages and policies named as ``talkative.py:Name``."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from stream.command import SetExposure
from stream.errors import StageError
from stream.event import Event, event_id
from stream.stages import Moment, Tracked, Wish


class Announces:
    """A divider that announces a confirmed division every tenth frame."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def step(self, tracked: Tracked) -> Sequence[Event]:
        frame = tracked.moment.frame
        if frame.frame % 10:
            return ()
        name = event_id(frame.field, frame.frame, "division", 1)
        where = ((1.0, 1.0), (2.0, 2.0))
        common = ("division", name, 0, "confirmed", frame.field, frame.frame, frame.frame, 0.9, 1, (2, 3))
        return (Event(*common, parent_yx_px=where[0], daughters_yx_px=where, ref=frame.ref),)

    def finish(self) -> Sequence[Event]:
        return ()

    def reset(self, reason: str) -> None:
        """Nothing is kept."""

    def save(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        """Nothing is kept."""


class Trips:
    """A denoiser that fails on every seventh frame."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def step(self, moment: Moment) -> Moment:
        if moment.frame.frame % 7 == 6:
            raise StageError("every seventh frame is one too many")
        return moment

    def reset(self, reason: str) -> None:
        """Nothing is kept."""

    def save(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        """Nothing is kept."""


class Raises:
    """A policy with a fault."""

    def start(self) -> None:
        """No state."""

    def decide(self, state: None, event: Event) -> tuple[None, Sequence[Wish]]:
        raise RuntimeError("this policy has a fault")


class Hangs:
    """A policy that never comes back."""

    def start(self) -> None:
        """No state."""

    def decide(self, state: None, event: Event) -> tuple[None, Sequence[Wish]]:
        threading.Event().wait()
        return None, ()


class Works:
    """A policy that asks for another exposure each time."""

    def start(self) -> int:
        return 0

    def decide(self, state: int, event: Event) -> tuple[int, Sequence[Wish]]:
        return state + 1, (Wish(SetExposure(exposure_ms=20 + state % 3)),)
