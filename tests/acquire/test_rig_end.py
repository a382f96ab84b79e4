"""The end of a rig: whoever still takes what waits is given time, and all of them together only so much."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from stream.acquire import rig as module
from stream.frame import Frame
from stream.wire.policy import lossless
from stream.wire.subscribe import Subscriber
from tests.cases.rig_bench import rig_bench


def test_one_who_takes_frame_by_frame_does_not_hold_up_the_end_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_END_S", 1.0)
    with rig_bench(tmp_path) as bench, Subscriber(
        bench.rig.address, ["frame/"], name="slow", policy=lossless(500), credits=1
    ) as slow:  # fmt: skip
        bench.wait(lambda: isinstance(slow.next(0.05), Frame))
        bench.wait(lambda: bench.taken() > 60)
        over = threading.Event()

        def take() -> None:
            while not over.wait(0.2):  # the frame is worked on
                slow.next(0)

        taker = threading.Thread(target=take)
        taker.start()
        begun = time.monotonic()
        bench.close()
        over.set()
        taker.join()
        assert time.monotonic() - begun < 6
