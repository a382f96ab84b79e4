"""What makes a node end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from stream.cli.screen import ctrl_c
from stream.nodes import heed_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these ends are POSIX signals")
ENDS = ["SIGTERM", "SIGHUP"]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Leave the signals of this process as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", ENDS)
def test_a_node_ends_in_order_when_it_is_told_to_or_its_terminal_goes(name: str) -> None:
    stop = threading.Event()
    heed_signals(stop)
    os.kill(os.getpid(), getattr(signal, name))
    assert stop.wait(5)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", ["SIGINT", *ENDS])
def test_a_command_ends_in_order_too(name: str) -> None:
    before = signal.getsignal(getattr(signal, name))
    with ctrl_c() as stop:
        os.kill(os.getpid(), getattr(signal, name))
        assert stop.wait(5)
    assert signal.getsignal(getattr(signal, name)) == before


@pytest.mark.usefixtures("handlers")
def test_what_runs_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = threading.Event()
    heed_signals(stop)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with ctrl_c():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
