"""What the hardware was set to, and since when: a frame is described as it was exposed, not as it was popped."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

_KEPT = 64


@dataclass(frozen=True, slots=True)
class State:
    """The settings that may change under a running stream, all read back."""

    stage_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    exposure_ms: float = 0.0
    channel: str = ""
    moving: bool = False


@dataclass(frozen=True, slots=True)
class Exposed:
    """How one frame was exposed.

    ``mixed``: a setting changed under it. ``moving``: the stage moved under it. ``commands``: those that it is the
    first frame to show.
    """

    state: State
    mixed: bool
    moving: bool
    commands: tuple[str, ...]


class Timeline:
    """The states in order of time. The owner adds, the popper asks.

    Examples
    --------
    >>> line = Timeline()
    >>> line.add(0, State(exposure_ms=10))
    >>> line.add(100, State(exposure_ms=20), "longer")
    >>> line.exposed(90, 110).mixed, line.exposed(90, 110).commands
    (True, ())
    >>> seen = line.exposed(120, 140)
    >>> seen.state.exposure_ms, seen.commands
    (20, ('longer',))
    """

    def __init__(self) -> None:
        self._states: deque[tuple[int, State]] = deque(maxlen=_KEPT)
        self._commands: deque[tuple[int, str]] = deque()
        self._lock = threading.Lock()

    def add(self, at_ns: int, state: State, command_id: str | None = None) -> None:
        """Say what holds from ``at_ns`` on, and which command made it so."""
        with self._lock:
            self._states.append((at_ns, state))
            if command_id is not None:
                self._commands.append((at_ns, command_id))

    def change(self, at_ns: int, command_id: str | None = None, **changes: Any) -> State:
        """Add the newest state with some settings changed, and return it."""
        state = replace(self.newest, **changes)
        self.add(at_ns, state, command_id)
        return state

    @property
    def newest(self) -> State:
        """What holds now."""
        with self._lock:
            return self._states[-1][1] if self._states else State()

    def longest_exposure_ns(self, before_ns: int) -> int:
        """Return the longest exposure that may have been on for a frame complete at ``before_ns``."""
        with self._lock:
            ms = 0.0
            for at_ns, state in reversed(self._states):
                ms = max(ms, state.exposure_ms)
                if before_ns - ms * 1e6 >= at_ns:
                    break
            return round(ms * 1e6)

    def exposed(self, begin_ns: int, end_ns: int) -> Exposed:
        """Describe a frame that was exposed within ``begin_ns`` to ``end_ns``; it takes the commands that it shows."""
        with self._lock:
            chosen = self._states[0][1]
            mixed = moving = False
            for at_ns, state in self._states:
                if at_ns <= begin_ns:
                    chosen, moving = state, state.moving
                elif at_ns < end_ns:
                    mixed, moving = True, moving or state.moving
            commands = []
            while self._commands and self._commands[0][0] <= begin_ns:
                commands.append(self._commands.popleft()[1])
            return Exposed(chosen, mixed, moving, tuple(commands))
