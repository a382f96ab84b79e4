"""User code for tests of whole runs: a stage that never comes back, named as ``stuck.py:Sticks``."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from stream.event import Event
from stream.stages import Tracked


class Sticks:
    """A divider that holds the thread which decides, for ever, from its tenth frame on."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._seen = 0

    def step(self, tracked: Tracked) -> Sequence[Event]:
        self._seen += 1
        if self._seen > 10:
            threading.Event().wait()
        return ()

    def finish(self) -> Sequence[Event]:
        return ()

    def reset(self, reason: str) -> None:
        """Nothing is kept."""

    def save(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        """Nothing is kept."""
