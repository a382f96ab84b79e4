"""Goes on in the folder of a run whose analysis died: nothing is lost, nothing stays open, no track id comes twice.

Where the field's state was kept after its last decided frame (:mod:`stream.analyse.kept`), its tracks go on and its
open events with them; elsewhere the tracks end with the analysis that followed them, and the field begins new ones. On
a run's first start there is nothing to take up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stream.analyse.chain import Chain
from stream.analyse.kept import Kept
from stream.analyse.results import ResultFiles
from stream.config import ChainSettings
from stream.errors import StoreError
from stream.event import Event
from stream.facts.analysis import AnalysisFacts
from stream.metrics import EVENTS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TakenUp:
    """What an earlier analysis left: the revisions that close its open events, already recorded, and by field what goes
    on."""

    closed: list[Event] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)


def take_up(
    facts: AnalysisFacts,
    files: ResultFiles | None,
    found: Iterable[Kept] = (),
    make: Callable[[str], Chain] = lambda field: Chain(ChainSettings()),
) -> TakenUp:
    """Go on with what can be gone on with; close every other open event, in the facts and in the result files.

    Parameters
    ----------
    found
        States that were kept.
    make
        Makes a field's chain, to be given the state.

    A disk that takes nothing keeps nobody from beginning: then what was left stays as it is for the next start.
    """
    try:
        return _take_up(facts, files, found, make)
    except StoreError as error:
        log.error("what the analysis before left is not gone on with: %s", error)
        return TakenUp()


def _take_up(
    facts: AnalysisFacts, files: ResultFiles | None, found: Iterable[Kept], make: Callable[[str], Chain]
) -> TakenUp:
    facts.catch_up()
    taken = TakenUp()
    for kept in found:
        chain = _loaded(facts, kept, make)
        if chain is not None:
            taken.kept[kept.ref.field], taken.chains[kept.ref.field] = kept, chain
    taken.closed.extend(facts.close_open(but={name for kept in taken.kept.values() for name in kept.open}))
    for event in taken.closed:
        EVENTS.labels(event.kind, event.status).inc()
        log.info("%s was left open by an analysis that died: retracted", event.event_id)
    for name in facts.fields() if files is not None else ():
        _in_files(facts, files, name)
    for event in taken.closed:
        if files is not None and event.field in taken.kept:  # its files were taken up before it was closed
            files.said(event.field, [event])
    return taken


def first_track_id(facts: AnalysisFacts, files: ResultFiles | None, field: str) -> int:
    """Return the first track id that neither the facts nor the masks of a field know; masks may be newer."""
    return max(facts.last_track_id(field), _in_files(facts, files, field)) + 1


def _loaded(facts: AnalysisFacts, kept: Kept, make: Callable[[str], Chain]) -> Chain | None:
    """Return the field's chain as it stood; None where more was decided or said since, or its state does not fit."""
    name, frame = kept.ref.field, kept.ref.frame
    newest = facts.newest_frame(name)
    if newest > frame:
        log.warning("%s: its state is of frame %d, it was decided up to %d: its tracks begin anew", name, frame, newest)
        return None
    chain = make(name)
    try:
        chain.load(kept.chain)
    except Exception as error:  # the edge of a user's stages: whatever they cannot take up, the run must begin
        log.warning("%s: its state does not fit, its tracks begin anew: %s: %s", name, type(error).__name__, error)
        return None
    log.info("%s: its tracks go on after frame %d", name, frame)
    return chain


def _in_files(facts: AnalysisFacts, files: ResultFiles | None, field: str) -> int:
    return files.take_up(field, facts.revisions(field)) if files is not None else 0
