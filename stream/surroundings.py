"""What a node is given beside its settings by whoever starts it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a node writes, whom it tells, and when it should end.

    ``report(word, detail)`` tells the supervisor (``ready``, ``started``, ``over``, ``page``, ``error``); ``stop`` is
    set when the node should end by itself; ``base`` is the folder that relative paths of the configuration start from.
    """

    run_dir: Path
    report: Callable[[str, Any], None]
    stop: threading.Event
    base: Path


_ENDS = ("SIGTERM", "SIGHUP")


def asked_to_end() -> list[signal.Signals]:
    """Return the signals that ask this process to end: not one that whoever started it has it ignore, as nohup does."""
    numbers = [signal.Signals[name] for name in _ENDS if name in signal.Signals.__members__]  # Windows has no SIGHUP
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
