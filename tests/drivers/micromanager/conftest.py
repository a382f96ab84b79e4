"""A driver on the real DemoCamera, with its adapters pinned so that no other installation answers."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import mm_test_adapters
import pytest
from pymmcore_plus import CMMCorePlus

from drivers.micromanager.driver import MicroManagerDriver
from drivers.micromanager.load import load_core
from drivers.micromanager.options import MicroManagerOptions
from stream.command import Action, Command, Target
from stream.config import CameraSettings, PlanSettings
from stream.frame import Ended, Frame, Gap
from stream.stages import Driver, Readback

DEADLINE_S = 20.0
_ids = itertools.count()


@dataclass
class Bench:
    """A driver under test, the core that it drives, and what came out so far."""

    driver: MicroManagerDriver[MicroManagerOptions]
    cores: list[CMMCorePlus]
    seen: list[Frame | Gap | Ended] = field(default_factory=list)

    @property
    def core(self) -> CMMCorePlus:
        return self.cores[-1]

    def start(self, **plan: Any) -> None:
        self.driver.start(PlanSettings.model_validate({"exposure_ms": 5.0, "interval_ms": 15.0} | plan))

    def until(self, wanted: Callable[[Frame | Gap | Ended], bool]) -> Any:
        """Take items until one is wanted, and return it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            item = self.driver.next(DEADLINE_S)
            if item is None:
                break
            self.seen.append(item)
            if wanted(item):
                return item
            if isinstance(item, Ended):
                pytest.fail(f"ended too early: {item.reason}")
        return pytest.fail(f"what was awaited never came; last seen: {self.seen[-3:]}")

    def frames(self, count: int) -> list[Frame]:
        return [self.until(lambda item: isinstance(item, Frame)) for _ in range(count)]

    def rest(self) -> Ended:
        ended: Ended = self.until(lambda item: isinstance(item, Ended))
        return ended

    def apply(self, action: Action, **target: Any) -> tuple[str, Readback]:
        command_id = f"{action.kind}-{next(_ids)}"
        command = Command(command_id=command_id, action=action, issued_wall_ns=0, target=Target(**target))
        return command_id, self.driver.apply(command)

    def showing(self, command_id: str) -> Frame:
        """Take items until a frame names the command."""
        frame: Frame = self.until(lambda item: isinstance(item, Frame) and command_id in item.commands)
        return frame

    def gaps(self, reason: str) -> list[Gap]:
        return [item for item in self.seen if isinstance(item, Gap) and item.reason == reason]


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Look at a device, which announces nothing, until it is as expected."""

    def wait(expected: Callable[[], bool]) -> None:
        never, deadline = threading.Event(), time.monotonic() + DEADLINE_S
        while not expected():
            assert time.monotonic() < deadline, "it never became so"
            never.wait(0.002)

    return wait


@pytest.fixture
def bench_of() -> Iterator[Callable[..., Bench]]:
    """Open drivers; each is stopped at the end."""
    benches: list[Bench] = []

    def make(
        *, core_of: Callable[[MicroManagerOptions], CMMCorePlus] = load_core, on_frame: Any = None, **options: Any
    ) -> Bench:
        cores: list[CMMCorePlus] = []

        def make_core(parsed: MicroManagerOptions) -> CMMCorePlus:
            cores.append(core_of(parsed))
            return cores[-1]

        driver: MicroManagerDriver[MicroManagerOptions] = MicroManagerDriver(
            make_core, on_frame=on_frame or (lambda frame: None)
        )
        seam: Driver = driver
        pinned = {"adapters": [mm_test_adapters.device_adapter_path()], "buffer_mb": 32} | options
        seam.open(CameraSettings(driver="micromanager", options=pinned), run="run", session="s0", first_epoch=3)
        benches.append(Bench(driver, cores))
        return benches[-1]

    yield make
    for bench in benches:
        bench.driver.stop()


@pytest.fixture
def bench(bench_of: Callable[..., Bench]) -> Bench:
    """The demo configuration with the deterministic specimen."""
    return bench_of(properties={"Camera.Mode": "Fluorescent Beads"})
