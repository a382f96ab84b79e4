"""Processes that die or stop: the stream and the accounts survive."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from stream.frame import Frame
from stream.metrics import REGISTRY
from stream.wire.codec import encode_frame
from stream.wire.messages import Disconnected, EndOfStream, Item, Lost, Reconnected
from stream.wire.publish import Publisher
from stream.wire.subscribe import Subscriber

WAIT_S = 20
Start = Callable[..., subprocess.Popen[str]]

PUBLISH = """
    import sys
    import numpy as np
    from stream.frame import Frame
    from stream.wire.codec import encode_frame
    from stream.wire.publish import Publisher
    address, session, begin, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    publisher = Publisher(address, run="r", session=session, node="acquire")
    print(publisher.address, flush=True)
    publisher.wait_for(["analyse"], 20)
    for seq in range(begin, begin + count):
        pixels = np.full((256, 256), seq, np.uint16)
        publisher.send(encode_frame(Frame("r", "cam", session, 0, seq, "cam:p0", seq, pixels)))
    sys.stdin.readline()
    print(publisher.finish(20), flush=True)
"""

SUBSCRIBE = """
    import sys
    from stream.wire.messages import EndOfStream
    from stream.wire.subscribe import Subscriber
    subscriber = Subscriber(sys.argv[1], ["frame"], name="viewer", credits=4)
    item = None
    while not isinstance(item, EndOfStream):
        item = subscriber.next(0.2)
        if item is not None:
            print(type(item).__name__, getattr(item, "seq", ""), flush=True)
    subscriber.close()
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that runs a script in a process of its own, killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def following(subscriber: Subscriber) -> Item:
    item = subscriber.next(WAIT_S)
    assert item is not None
    return item


def seqs(items: list[Item]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Frame)]


def test_a_publisher_killed_and_restarted_is_taken_up_again(start: Start) -> None:
    first = start(PUBLISH, "tcp://127.0.0.1:0", "s1", 0, 20)
    address = said(first)
    with Subscriber(address, ["frame"], name="analyse") as subscriber:
        assert seqs([following(subscriber) for _ in range(20)]) == list(range(20))
        first.kill()
        assert following(subscriber) == Disconnected("s1")
        second = start(PUBLISH, address, "s2", 3, 10)
        assert said(second) == address
        assert following(subscriber) == Reconnected("s2", restarted=True)
        assert following(subscriber) == Lost("cam", 3, "restart")
        assert seqs([following(subscriber) for _ in range(10)]) == list(range(3, 13))
        assert second.stdin is not None
        second.stdin.write("finish\n")
        second.stdin.flush()
        assert isinstance(following(subscriber), EndOfStream)
        assert said(second) == "True"
        assert second.wait(WAIT_S) == 0


def frame(seq: int) -> Frame:
    return Frame("r", "cam", "s", 0, seq, "cam:p0", seq, np.zeros((1024, 1024), np.uint16))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_a_stopped_consumer_is_forgotten_and_costs_the_others_nothing(start: Start) -> None:
    with (
        Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire") as publisher,
        Subscriber(publisher.address, ["frame"], name="quick") as quick,
    ):
        viewer = start(SUBSCRIBE, publisher.address)
        while not quick.session:
            quick.next(0.05)
        assert publisher.wait_for(["quick", "viewer"], WAIT_S)
        publisher.send(encode_frame(frame(0)))
        assert said(viewer) == "Frame 0"
        viewer.send_signal(signal.SIGSTOP)
        for seq in range(1, 40):
            publisher.send(encode_frame(frame(seq)))
        assert seqs([following(quick) for _ in range(40)]) == list(range(40))
        forgotten = publisher.wait_until(lambda names: names == {"quick"}, WAIT_S)
        assert forgotten, publisher.consumers
        gone = REGISTRY.get_sample_value("cytoloop_frames_lost_total", {"stage": "wire:viewer", "reason": "gone"})
        assert gone in (39, 40)  # the credit for the first may have been under way
        viewer.send_signal(signal.SIGCONT)
        assert publisher.wait_for(["viewer"], WAIT_S)
        publisher.send(encode_frame(frame(40)))
        heard = [said(viewer)]
        while heard[-1] != "Frame 40":
            heard.append(said(viewer))
        assert "Disconnected" in heard
        assert heard[-2:] == ["Lost", "Frame 40"]


def test_a_killed_consumer_is_forgotten(start: Start) -> None:
    with Publisher("tcp://127.0.0.1:0", run="r", session="s", node="acquire") as publisher:
        viewer = start(SUBSCRIBE, publisher.address)
        assert publisher.wait_for(["viewer"], WAIT_S)
        viewer.kill()
        assert publisher.wait_until(lambda names: not names, WAIT_S)
        assert publisher.finish(WAIT_S)
