"""Keeps every word of the analysis, also through a time when the disk takes none."""

from __future__ import annotations

import logging
from collections import deque
from typing import Protocol

from stream.errors import StoreError
from stream.event import Event
from stream.metrics import STAGE_ERRORS

log = logging.getLogger(__name__)

MOST_UNSAID = 10_000
"""Event revisions that wait while the disk refuses them; of more the oldest are lost, counted."""


class Facts(Protocol):
    """Writes one revision, or raises StoreError and has written nothing of it (``AnalysisFacts``)."""

    def event(self, event: Event) -> None: ...


class EventRecord:
    """Records event revisions in their order. What the disk refuses waits, and is written before the next one.

    Each refusal counts as ``cytoloop_stage_errors`` ``record``/``StoreError``, each revision that is lost as
    ``record``/``overflow``; the log tells when the disk begins to refuse, and when it takes events again.
    """

    def __init__(self, facts: Facts, most_unsaid: int = MOST_UNSAID) -> None:
        self._facts, self._most = facts, most_unsaid
        self._unsaid: deque[Event] = deque()
        self._refused = False

    def say(self, event: Event) -> None:
        """Record a revision, after those that wait."""
        self._unsaid.append(event)
        self.catch_up()
        if len(self._unsaid) > self._most:
            self._unsaid.popleft()
            STAGE_ERRORS.labels("record", "overflow").inc()

    def catch_up(self) -> None:
        """Record what waits, as far as the disk takes it."""
        while self._unsaid:
            try:
                self._facts.event(self._unsaid[0])
            except StoreError as error:
                self._note_refusal(error)
                return
            self._unsaid.popleft()
        if self._refused:
            self._refused = False
            log.warning("the disk takes events again; those that waited are written")

    def _note_refusal(self, error: StoreError) -> None:
        STAGE_ERRORS.labels("record", type(error).__name__).inc()
        if not self._refused:
            self._refused = True
            log.error("%s; events wait and are written before the next", error)
