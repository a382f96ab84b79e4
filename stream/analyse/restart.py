"""Goes on in the folder of a run whose analysis died: nothing is lost, nothing stays open, no track id comes twice.

The tracks themselves end with the analysis that followed them: every field begins new ones. On a run's first start
there is nothing to take up.
"""

from __future__ import annotations

import logging

from stream.analyse.results import ResultFiles
from stream.event import Event
from stream.facts.analysis import AnalysisFacts
from stream.metrics import EVENTS

log = logging.getLogger(__name__)


def take_up(facts: AnalysisFacts, files: ResultFiles | None) -> list[Event]:
    """Close the events that were left open, in the facts and in the result files; return the revisions that do.

    Raises
    ------
    StoreError
        The facts cannot be written.
    """
    closed = facts.close_open()
    for event in closed:
        EVENTS.labels(event.kind, event.status).inc()
        log.info("%s was left open by an analysis that died: retracted", event.event_id)
    for field in facts.fields() if files is not None else ():
        _in_files(facts, files, field)
    return closed


def first_track_id(facts: AnalysisFacts, files: ResultFiles | None, field: str) -> int:
    """Return the first track id that neither the facts nor the masks of a field know; masks may be newer."""
    return max(facts.last_track_id(field), _in_files(facts, files, field)) + 1


def _in_files(facts: AnalysisFacts, files: ResultFiles | None, field: str) -> int:
    return files.take_up(field, facts.revisions(field)) if files is not None else 0
