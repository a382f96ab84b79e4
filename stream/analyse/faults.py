"""Faults of the stages: each is counted, and the log tells each kind once, for a night has many frames."""

from __future__ import annotations

import logging
import traceback

from stream.metrics import STAGE_ERRORS

log = logging.getLogger(__name__)


class Faults:
    """Knows which kinds of faults were logged; a kind is a stage, a type of error and the line that raised it."""

    def __init__(self) -> None:
        self._known: set[tuple[object, ...]] = set()

    def tell(self, stage: str, what: str, error: Exception) -> None:
        """Count a fault, and log it with its traceback if it is the first of its kind."""
        name = type(error).__name__
        STAGE_ERRORS.labels(stage, name).inc()
        raised = traceback.extract_tb(error.__traceback__)[-1]
        kind = (stage, name, raised.filename, raised.lineno)
        if kind in self._known:
            return
        self._known.add(kind)
        log.error("%s %s; more of this kind are counted, not logged", stage, what, exc_info=error)
