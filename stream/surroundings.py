"""What a node is given beside its settings by whoever starts it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a node writes, whom it tells, and when it should end.

    ``report(word, detail)`` tells the supervisor (``ready``, ``started``, ``page``, ``error``); ``stop`` is set when
    the node should end by itself; ``base`` is the folder that relative paths of the configuration start from.
    """

    run_dir: Path
    report: Callable[[str, Any], None]
    stop: threading.Event
    base: Path
