"""Builds the analysis from the configuration, warms its code, reports ready and runs to the end of the stream."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stream import metrics
from stream.analyse import restart
from stream.analyse.analysis import Analysis
from stream.analyse.chain import Chain, warm
from stream.analyse.commander import Asks, Commander, OnDropped
from stream.analyse.denoised import DenoisedFiles, DenoisedLive, Take
from stream.analyse.kept import Keeper
from stream.analyse.pipeline import Pipeline
from stream.analyse.results import ResultFiles, Writer
from stream.config import Configuration
from stream.facts.analysis import AnalysisFacts
from stream.surroundings import Surroundings
from stream.wire.control import ControlClient
from stream.wire.policy import Policy, deadline, lossless
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber

log = logging.getLogger(__name__)

_WARM_SHAPE = (512, 512)
_MOST_WAITING = 512


def run(
    config: Configuration,
    around: Surroundings,
    ask_policies: Callable[[OnDropped], Asks],
    make_writer: Callable[[Path], Writer],
) -> None:
    """Run the analyse node.

    Parameters
    ----------
    ask_policies
        Makes what asks the policies, given whom to tell of dropped wishes.
    make_writer
        Makes what writes one field's results into a folder.
    """
    watch, wire, chain = config.watch, config.wire, config.chain
    if watch.metrics:
        around.report("metrics", metrics.serve("analyse", watch.host, watch.analyse_port))
    for dtype in (np.uint16, np.uint8):
        warm(chain, _WARM_SHAPE, np.dtype(dtype), around.base)
    facts = AnalysisFacts(around.run_dir)
    files = ResultFiles(around.run_dir / "labels", make_writer) if config.record.labels else None

    def make_chain(field: str) -> Chain:
        return Chain(chain, around.base, restart.first_track_id(facts, files, field))

    keeper = Keeper(around.run_dir / "state", chain, config.record.state)
    taken = restart.take_up(facts, files, keeper.found(), make_chain)
    session = uuid.uuid4().hex[:12]
    results = Publisher(
        wire.results,
        run=config.run.name,
        session=session,
        node="analyse",
        heartbeat_ms=wire.heartbeat_ms,
        heartbeat_timeout_ms=wire.heartbeat_timeout_ms,
    )
    control = ControlClient(wire.control, name="analyse")
    frames = Subscriber(
        wire.frames, ["frame/"], name="analyse", policy=_policy(chain.deadline_ms), credits=wire.credits
    )
    pipeline = Pipeline(chain, lambda field: taken.chains.get(field) or make_chain(field), keeps=keeper.wants)
    commander = Commander(ask_policies(facts.dropped), facts, control.submit, config.feedback.max_age_ms)
    denoised = DenoisedFiles(around.run_dir / "denoised") if config.record.denoised else None
    takes: list[Take] = [denoised.decided] if denoised is not None else []
    if watch.denoised:
        takes.append(DenoisedLive(results.send, watch.max_fps).decided)
    analysis = Analysis(config, frames, pipeline, commander, control, results, facts, files, takes, taken, keeper)
    try:
        control.ready()
        around.report("ready", {"results": results.address})
        analysis.run(around.stop)
    finally:
        frames.close()
        control.close()
        results.close()
        keeper.close(ended=False)
        if files is not None:
            files.close()
        if denoised is not None:
            denoised.close()
        facts.close()


def _policy(deadline_ms: float | None) -> Policy:
    """Let frames that would be decided too late be dropped where they wait, at the rig; without a deadline none is."""
    return lossless(_MOST_WAITING) if deadline_ms is None else deadline(deadline_ms, _MOST_WAITING)
