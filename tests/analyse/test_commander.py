"""From wishes to commands: what cannot be sent costs its wish, and never the analysis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stream.analyse.commander import Commander
from stream.command import Command, Pause, Resume
from stream.errors import StoreError, WireError
from stream.event import Event
from stream.frame import Frame
from stream.stages import Wish

FRAME = Frame("r", "c", "s", 0, 0, "c:p0", 7, np.zeros((2, 2), np.uint8))
EVENT = Event(
    "division", "c:p0/f7/division/1", 0, "confirmed", "c:p0", 7, 7, 1.0, 1, (2, 3), (0.0, 0.0), ((0.0, 0.0), (1.0, 1.0))
)


class Policies:
    """Wishes for a pause that something keeps from being sent, and then for a resume."""

    asks, on_frames = True, False

    def __init__(self, name: str, first: Wish) -> None:
        self.name, self.first = name, first

    def offer(self, event: Event) -> Sequence[tuple[str, Wish]]:
        return [(self.name, self.first), ("good", Wish(Resume()))]


class Outbox:
    """Keeps commands; a pause fails where a test says so."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault, self.kept = fault, list[str]()

    def sent(self, command: Command, policy: str = "") -> None:
        self._take(command)

    def submit(self, command: Command) -> None:
        self._take(command)
        self.kept.append(command.action.kind)

    def _take(self, command: Command) -> None:
        if self.fault and command.action.kind == "pause":
            raise self.fault


LOST: dict[str, tuple[str, Wish, Exception | None]] = {
    "an age below 0": ("p", Wish(Pause(), max_age_ms=-5), None),
    "an id beyond all length": ("p" * 300, Wish(Pause()), None),
    "a full disk": ("p", Wish(Pause()), StoreError("the disk is full")),
    "a link that is down": ("p", Wish(Pause()), WireError("too many wait")),
}


@pytest.mark.parametrize(("name", "wish", "fault"), LOST.values(), ids=LOST)
def test_what_cannot_be_sent_costs_its_wish_and_nothing_else(name: str, wish: Wish, fault: Exception | None) -> None:
    outbox = Outbox(fault)
    commander = Commander(Policies(name, wish), outbox, outbox.submit, 1000.0)
    assert commander.act_on([EVENT], FRAME) == 1
    assert outbox.kept == ["resume"]
