"""What is said about a command: in order, to everyone, progress a moment late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from stream.acquire.teller import Teller
from stream.clock import wall_ns
from stream.command import Ack, AckState, Command, SetExposure
from stream.wire.control import ControlServer
from stream.wire.messages import Fact
from stream.wire.policy import lossless
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber

STATES = (AckState.RECEIVED, AckState.ACCEPTED, AckState.APPLIED)


@pytest.fixture
def heard() -> Iterator[tuple[Teller, Subscriber]]:
    publisher = Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire")
    control = ControlServer("tcp://127.0.0.1:0")
    teller = Teller(control, publisher)
    with (
        closing(control),
        closing(Subscriber(publisher.address, ["facts"], name="watch", policy=lossless())) as subscriber,
    ):
        while not publisher.consumers:
            subscriber.next(0.05)
        yield teller, subscriber
        teller.close(5)
        publisher.finish(0.1)


def tell(teller: Teller, count: int) -> list[tuple[str, str]]:
    told = []
    for number in range(count):
        command = Command(command_id=f"c{number}", action=SetExposure(exposure_ms=5), issued_wall_ns=wall_ns())
        for state in STATES:
            teller.tell(command, Ack(command_id=command.command_id, state=state), [])
            told.append((command.command_id, state.value))
    return told


def facts(subscriber: Subscriber, count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while len(found) < count:
        item = subscriber.next(5)
        assert item is not None
        if isinstance(item, Fact):
            found.append((item.data["ack"]["command_id"], item.data["ack"]["state"]))
    return found


def test_answers_are_told_in_the_order_in_which_they_fell(heard: tuple[Teller, Subscriber]) -> None:
    teller, subscriber = heard
    told = tell(teller, 50)
    teller.start()
    assert facts(subscriber, len(told)) == told


def test_what_is_left_is_told_before_the_end(heard: tuple[Teller, Subscriber]) -> None:
    teller, subscriber = heard
    teller.start()
    told = tell(teller, 5)
    teller.close(5)
    assert facts(subscriber, len(told)) == told
