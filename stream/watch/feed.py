"""Between the wire and the page: what each message changes of what the page knows."""

from __future__ import annotations

from collections.abc import Callable

from stream.frame import Frame, Gap
from stream.watch.state import LiveState
from stream.wire.messages import Denoised, Disconnected, EventsOf, Fact, Item, Labels, Lost, Reconnected, TracksOf

_STATUS = ("exposure_ms", "interval_ms", "stage_um", "light_power", "light_on", "shadow", "dose", "approvals")


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
