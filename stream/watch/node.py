"""The watch node: takes frames and results from the wire, latest wins, and feeds the live page."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stream import metrics
from stream.command import Decision
from stream.config import Configuration
from stream.errors import ConfigError, WireError
from stream.frame import Frame, Gap
from stream.surroundings import Surroundings
from stream.watch.doors import is_private
from stream.watch.families import Families
from stream.watch.server import Server
from stream.watch.state import LiveState
from stream.wire.control import ControlClient
from stream.wire.messages import (
    Denoised,
    Disconnected,
    EndOfStream,
    EventsOf,
    Fact,
    Item,
    Labels,
    Lost,
    Reconnected,
    TracksOf,
)
from stream.wire.policy import latest, lossless
from stream.wire.subscribe import Subscriber

log = logging.getLogger(__name__)

_POLL_S = 0.1
_DECIDE_S = 5.0
_RIG_TOPICS = ("frame/", "facts")
_STATUS = ("exposure_ms", "interval_ms", "stage_um", "light_power", "light_on", "shadow", "dose", "approvals")
_RESULT_TOPICS = ("labels", "tracks", "events", "facts")
_FAMILY_TOPICS = ("cells", "tracks", "events")


def run(config: Configuration, around: Surroundings) -> None:
    """Serve the live page until both streams have ended."""
    wire, watch = config.wire, config.watch
    if watch.metrics:
        around.report("metrics", metrics.serve("watch", watch.host, watch.watch_port))
    state = LiveState(config.run.name, config.chain.segment_channel)
    state.status({"rig": "starting", "interval_ms": config.plan.interval_ms, "exposure_ms": config.plan.exposure_ms})
    families = Families(around.run_dir)
    control = ControlClient(wire.control, name="watch")
    server = _serve(config, state, families, around.run_dir, control)
    around.report("page", server[1])
    feed = Feed(state)
    topics = (*_RESULT_TOPICS, "denoised") if watch.denoised else _RESULT_TOPICS
    links = [
        Subscriber(wire.frames, _RIG_TOPICS, name="watch", policy=latest(), credits=wire.credits),
        Subscriber(wire.results, topics, name="watch", policy=latest(), credits=wire.credits),
    ]
    # Pictures may be passed over, a birth may not: families have a link of their own, of small tables.
    links.append(Subscriber(wire.results, _FAMILY_TOPICS, name="families", policy=lossless(), credits=wire.credits))
    names = ("acquire", "analyse")
    threads = [
        threading.Thread(target=_follow, args=(link, name, feed, around.stop), name=f"watch-{name}", daemon=True)
        for link, name in zip(links, names, strict=False)
    ]
    threads.append(
        threading.Thread(target=_keep, args=(links[-1], families, around.stop), name="watch-families", daemon=True)
    )
    try:
        for thread in threads:
            thread.start()
        control.ready()
        around.report("ready", {})
        for thread in threads:
            thread.join()
    finally:
        for link in links:
            link.close()
        control.close()
        server[0].stop()


def _serve(
    config: Configuration, state: LiveState, families: Families, run_dir: Path, control: ControlClient
) -> tuple[Server, str]:
    """Start the page where the configuration says, or beside it when the place is taken.

    Only a page that nobody but this machine sees may approve commands: it asks for no password.
    """
    watch = config.watch
    host, _, port = watch.page.rpartition(":")
    if not port.isdigit():
        raise ConfigError(f"[watch] page = '{watch.page}' is no HOST:PORT, e.g. 127.0.0.1:8600")
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
        decide=partial(_decide, control) if private else None,
    )
    server = made(int(port))
    try:
        at = server.start()
    except OSError as error:
        log.warning("the page cannot be served at %s (%s); taking a free port", watch.page, error)
        server = made(0)
        at = server.start()
    return server, f"http://{host}:{at}/"


def _decide(control: ControlClient, command_id: str, approve: bool) -> None:
    """Give the word of who sits at the page to the rig; its answer comes back as the command's state."""
    try:
        control.request(Decision(command_id=command_id, approve=approve, by="operator at the page"), _DECIDE_S)
    except (WireError, ValueError) as error:
        log.warning("the decision on %s did not reach the rig: %s", command_id, error)


def _follow(link: Subscriber, name: str, feed: Feed, stop: threading.Event) -> None:
    while not stop.is_set():
        item = link.next(_POLL_S)
        if isinstance(item, EndOfStream):
            feed.ended(name)
            return
        if item is not None:
            feed.take(name, item)


def _keep(link: Subscriber, families: Families, stop: threading.Event) -> None:
    while not stop.is_set():
        item = link.next(_POLL_S)
        if isinstance(item, EndOfStream):
            return
        if item is not None:
            families.take(item)


class Feed:
    """Hands what arrives to the page's state; called from one thread per link."""

    def __init__(self, state: LiveState) -> None:
        self._state = state
        self._nodes = {"acquire": False, "analyse": False}
        self._facts: dict[str, Callable[[Fact], None]] = {
            "ack": self._ack,
            "status": self._status,
            "base_plan": self._base_plan,
            "decided": self._decided,
            "loss": self._loss,
        }

    def take(self, name: str, item: Item) -> None:
        """Take one item of the node ``name``."""
        if not isinstance(item, Disconnected) and not self._nodes[name]:
            self._alive(name, True)
        match item:
            case Frame():
                self._state.frame(item)
            case Labels():
                self._state.labels(item.ref.field, item.ref.frame, item.labels)
            case Denoised():
                self._state.denoised(item.ref.field, item.ref.frame, item.pixels)
            case TracksOf():
                self._state.tracks(item.ref.field, item.ref.frame, item.tracks)
            case EventsOf():
                self._state.events(item.events)
            case Gap() if item.missing:
                self._state.loss("driver", item.reason, item.missing)
            case Lost() if item.kind == "frame" and item.reason not in ("superseded", "restart"):
                self._state.loss("page", item.reason, item.count)
            case Disconnected():
                self._alive(name, False)
            case Reconnected():
                self._alive(name, True)
            case Fact():
                handle = self._facts.get(str(item.data.get("fact")))
                if handle is not None:
                    handle(item)

    def ended(self, name: str) -> None:
        """The node has said all it had to say."""
        self._alive(name, False)
        if name == "acquire":
            self._state.status({"rig": "ended", "reason": "the run has ended"})

    def _alive(self, name: str, alive: bool) -> None:
        self._nodes = {**self._nodes, name: alive}
        self._state.status({"nodes": dict(self._nodes)})

    def _ack(self, fact: Fact) -> None:
        self._state.command(fact.data["command"])
        self._state.ack(fact.data["ack"])

    def _status(self, fact: Fact) -> None:
        known = {key: fact.data[key] for key in _STATUS if fact.data.get(key) is not None}
        rig = "base_plan" if fact.data.get("base_plan") else "paused" if fact.data.get("paused") else "running"
        reason = {} if rig == "base_plan" else {"reason": ""}
        self._state.status({"rig": rig, **reason, **known})

    def _base_plan(self, fact: Fact) -> None:
        rig = "base_plan" if fact.data.get("on") else "running"
        self._state.status({"rig": rig, "reason": str(fact.data.get("reason", ""))})

    def _decided(self, fact: Fact) -> None:
        latency_ms = fact.data.get("latency_ms")
        if latency_ms is not None:
            self._state.latency(fact.data["ms"], float(latency_ms))

    def _loss(self, fact: Fact) -> None:
        self._state.loss(str(fact.data["stage"]), str(fact.data["reason"]), int(fact.data["count"]))
