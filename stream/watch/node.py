"""The watch node: takes frames and results from the wire, latest wins, and feeds the live page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from stream import metrics
from stream.command import Decision
from stream.config import Configuration, PlanSettings, WatchSettings
from stream.errors import ConfigError, WireError
from stream.protocol import times_ms
from stream.surroundings import Surroundings
from stream.watch import recall
from stream.watch.doors import is_private
from stream.watch.families import Families
from stream.watch.feed import Feed
from stream.watch.server import Server
from stream.watch.state import LiveState
from stream.wire.control import ControlClient
from stream.wire.messages import EndOfStream, Item
from stream.wire.policy import latest, lossless
from stream.wire.subscribe import Subscriber

log = logging.getLogger(__name__)

_POLL_S = 0.1
_DECIDE_S = 5.0
_DECIDED = ("approved", "denied")
_RIG_TOPICS = ("frame/", "facts")
_RESULT_TOPICS = ("labels", "tracks", "events", "facts")
_FAMILY_TOPICS = ("cells", "tracks", "events")


def run(config: Configuration, around: Surroundings) -> None:
    """Serve the live page until both streams have ended.

    Raises
    ------
    ConfigError
        The page or the metrics cannot be served where ``[watch]`` says.
    """
    wire, watch = config.wire, config.watch
    if watch.metrics:
        around.report("metrics", metrics.serve("watch", watch.host, watch.watch_port))
    state, families = _state(config), Families(around.run_dir)
    with ExitStack() as stack:
        control = stack.enter_context(ControlClient(wire.control, name="watch"))
        server, page = _serve(watch, state, families, around.run_dir, partial(_decide, control))
        stack.callback(server.stop)
        around.report("page", page)
        link = partial(Subscriber, credits=wire.credits)
        results = (*_RESULT_TOPICS, "denoised") if watch.denoised else _RESULT_TOPICS
        rig = stack.enter_context(link(wire.frames, _RIG_TOPICS, name="watch", policy=latest()))
        analysis = stack.enter_context(link(wire.results, results, name="watch", policy=latest()))
        # Pictures may be passed over, a birth may not: families have a link of their own, of small tables.
        births = stack.enter_context(link(wire.results, _FAMILY_TOPICS, name="families", policy=lossless()))
        before = recall.read(around.run_dir)  # after the links: what is said from now on waits in them
        if before is not None:
            state.take_up(before)
        feed = Feed(state)
        follow = partial(_follow, stop=around.stop)
        threads = [
            _thread("acquire", follow, rig, partial(feed.take, "acquire"), partial(feed.ended, "acquire")),
            _thread("analyse", follow, analysis, partial(feed.take, "analyse"), partial(feed.ended, "analyse")),
            _thread("families", follow, births, families.take),
        ]
        for thread in threads:
            thread.start()
        control.ready()
        around.report("ready", {})
        for thread in threads:
            thread.join()


def _state(config: Configuration) -> LiveState:
    """Return what the page knows before anything has arrived: the plan, and which frames it will show."""
    plan, z = config.plan, config.chain.z
    state = LiveState(config.run.name, config.chain.segment_channel, z if isinstance(z, int) else None)
    state.status({"rig": "starting", "interval_ms": plan.interval_ms, "exposure_ms": plan.exposure_ms})
    state.status({"longest_interval_ms": _longest_interval_ms(plan)})
    if not isinstance(z, int):
        state.status({"projection": z})
    return state


def _longest_interval_ms(plan: PlanSettings) -> float:
    times = times_ms(plan.protocol) if plan.protocol is not None else ()
    return max((later - earlier for earlier, later in pairwise(times)), default=plan.interval_ms)


def _serve(
    watch: WatchSettings,
    state: LiveState,
    families: Families,
    run_dir: Path,
    decide: Callable[[str, bool], str],
) -> tuple[Server, str]:
    """Start the page where the configuration says, or beside it when the place is taken.

    Only a page that nobody but this machine sees may approve commands: it asks for no password.
    """
    host, port = watch.page_at
    private = is_private(host)
    state.status({"may_decide": private, "denoised": watch.denoised})
    made = partial(
        Server,
        state,
        host,
        max_fps=watch.max_fps,
        jpeg_quality=watch.jpeg_quality,
        families=families,
        run_dir=run_dir,
        decide=decide if private else None,
    )
    server, at = _start(made, port, watch.page)
    return server, f"http://{watch.page.rpartition(':')[0]}:{at}/"


def _start(made: Callable[[int], Server], port: int, page: str) -> tuple[Server, int]:
    server = made(port)
    try:
        return server, server.start()
    except OSError as taken:
        server = made(0)
        try:
            at = server.start()
        except OSError as error:
            raise ConfigError(f"[watch] page = '{page}': no page can be served at this host ({error})") from error
        log.warning("the page cannot be served at %s (%s); it took a free port", page, taken)
        return server, at


def _decide(control: ControlClient, command_id: str, approve: bool) -> str:
    """Give the word of who sits at the page to the rig; return why it did not count, or nothing.

    What the rig does with it comes back as the command's state.
    """
    try:
        decision = Decision(command_id=command_id, approve=approve, by="operator at the page")
        answer = control.request(decision, _DECIDE_S)
    except (WireError, ValueError) as error:
        log.warning("the decision on %s did not reach the rig: %s", command_id, error)
        return str(error)
    said = answer.get("decided") if isinstance(answer, Mapping) else answer
    return "" if said in _DECIDED else str(said)


def _thread(name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
    return threading.Thread(target=target, args=args, name=f"watch-{name}", daemon=True)


def _follow(
    link: Subscriber,
    take: Callable[[Item], None],
    ended: Callable[[], None] = lambda: None,
    *,
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        item = link.next(_POLL_S)
        if isinstance(item, EndOfStream):
            ended()
            return
        if item is not None:
            take(item)
