"""Builds the rig from the configuration, waits until every node is ready, and runs it to its end."""

from __future__ import annotations

import logging
import uuid
from contextlib import ExitStack, closing

from stream import metrics, plugins
from stream.acquire.planned import contradictions
from stream.acquire.rig import Rig
from stream.clock import now_ns, wall_ns
from stream.config import Configuration
from stream.errors import ConfigError, DriverError
from stream.facts.rig import RigFacts
from stream.stages import Driver
from stream.surroundings import Surroundings
from stream.wire.control import ControlServer
from stream.wire.publish import Publisher

log = logging.getLogger(__name__)


def run(config: Configuration, around: Surroundings) -> None:
    """Run the acquire node until its stream ends.

    Raises
    ------
    ConfigError, DriverError
        The camera cannot be opened as configured, or a node never became ready.
    """
    session = uuid.uuid4().hex[:12]
    watch = config.watch
    if watch.metrics:
        around.report("metrics", metrics.serve("acquire", watch.host, watch.acquire_port))
    if wrong := next(contradictions(config), None):
        raise ConfigError(wrong)
    driver: Driver = plugins.load("drivers", config.camera.driver, around.base)()
    with ExitStack() as stack:  # what is opened later is closed first, whatever the closing of another raises
        # The ports first: two rigs on one folder would both answer what they find open there.
        publisher = stack.enter_context(_publisher(config, session))
        control = stack.enter_context(ControlServer(config.wire.control))
        facts = stack.enter_context(closing(RigFacts(around.run_dir, mw_per_mm2=config.dose.mw_per_mm2)))
        stack.callback(driver.stop)
        driver.open(config.camera, run=config.run.name, session=session, first_epoch=facts.last_epoch() + 1)
        facts.meta("devices", dict(driver.describe()))
        _serve(Rig(config, driver, facts, publisher, control), config, around, facts)


def _publisher(config: Configuration, session: str) -> Publisher:
    wire = config.wire
    return Publisher(
        wire.frames,
        run=config.run.name,
        session=session,
        node="acquire",
        heartbeat_ms=wire.heartbeat_ms,
        heartbeat_timeout_ms=wire.heartbeat_timeout_ms,
    )


def _serve(rig: Rig, config: Configuration, around: Surroundings, facts: RigFacts) -> None:
    rig.listen()
    around.report("ready", {"frames": rig.address})
    reason = "the start failed"
    try:
        missing = rig.wait_ready(around.stop)
        if missing and not around.stop.is_set():
            raise DriverError(
                f"not ready within {config.run.ready_timeout_s:g} s: {', '.join(sorted(missing))}; "
                "see their logs, or leave them out of [run] wait_for"
            )
        if around.stop.is_set() or not rig.begin():
            reason = "stopped before the camera started"
            log.info("ended: %s", reason)
            return
        facts.meta("started", {"wall_ns": wall_ns(), "mono_ns": now_ns()})
        around.report("started", now_ns())
        reason = rig.run(around.stop)
        around.report("over", reason)
        facts.meta("ended", {"wall_ns": wall_ns(), "reason": reason})
        log.info("ended: %s", reason)
    finally:
        rig.close(reason)
        around.report("ended", reason)
