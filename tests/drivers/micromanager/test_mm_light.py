"""The light of the DemoCamera: a shutter, or a power that stands for one; dark at once, dark while nothing is taken."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pymmcore_plus import CMMCorePlus

from drivers.micromanager.load import load_core
from drivers.micromanager.options import MicroManagerOptions
from stream import command as c
from stream.errors import DriverError, Refused

POWER = ("Camera", "TestProperty1")


def lamp_alone(options: MicroManagerOptions) -> CMMCorePlus:
    core = load_core(options)
    core.setShutterDevice("")
    return core


def by_hand(options: MicroManagerOptions) -> CMMCorePlus:
    """A rig whose shutter its user opens and closes."""
    core = load_core(options)
    core.setAutoShutter(False)
    core.setShutterOpen(True)
    return core


@pytest.fixture
def lamp(bench_of: Any) -> Any:
    """A rig without a shutter, at half power."""
    bench = bench_of(core_of=lamp_alone, light_property="Camera.TestProperty1", light_full=0.1)
    bench.start(light_power=0.5)
    bench.frames(1)
    return bench


def power(bench: Any) -> float:
    return float(bench.core.getProperty(*POWER)) / 0.1


def test_without_a_shutter_no_power_stands_for_a_closed_one(lamp: Any) -> None:
    assert lamp.apply(c.SetLight(on=False))[1].values == {"on": False}
    assert power(lamp) == 0.0
    assert lamp.apply(c.SetLight(power=0.25))[1].values == {"power": 0.25}
    assert power(lamp) == 0.0, "it is off"
    assert lamp.apply(c.SetLight(on=True))[1].values == {"on": True}
    assert power(lamp) == pytest.approx(0.25)
    lamp.apply(c.SetLight(on=True))
    assert power(lamp) == pytest.approx(0.25)


def test_a_light_that_was_closed_out_of_turn_comes_back(lamp: Any) -> None:
    lamp.driver.darken()
    assert power(lamp) == 0.0
    assert lamp.apply(c.SetLight(on=False))[1].values == {"on": False}
    lamp.apply(c.SetLight(on=True))
    assert power(lamp) == pytest.approx(0.5)


def test_without_shutter_and_power_nothing_can_be_closed(bench_of: Any) -> None:
    bench = bench_of(core_of=lamp_alone)
    bench.start()
    with pytest.raises(Refused, match="this rig has no shutter"):
        bench.apply(c.SetLight(on=False))
    assert bench.apply(c.Pause())[1].values == {"paused": True, "dark": False}


@pytest.mark.parametrize("mode", ["stream", "mda"])
def test_a_shutter_that_its_user_opened_is_closed_while_the_rig_is_paused(bench_of: Any, mode: str) -> None:
    bench = bench_of(core_of=by_hand)
    bench.start(mode=mode)
    bench.frames(1)
    assert bench.core.getShutterOpen()
    assert bench.apply(c.Pause())[1].values == {"paused": True, "dark": True}
    bench.apply(c.Pause())
    assert not bench.core.getShutterOpen()
    command_id, _ = bench.apply(c.Resume())
    assert bench.core.getShutterOpen()
    bench.showing(command_id)


def test_what_is_asked_of_the_light_in_a_pause_holds_afterwards(bench_of: Any) -> None:
    bench = bench_of(core_of=by_hand)
    bench.start()
    bench.apply(c.Pause())
    for on in (False, True):
        assert bench.apply(c.SetLight(on=on))[1].values == {"on": on}
        assert not bench.core.getShutterOpen()
    bench.apply(c.Resume())
    assert bench.core.getShutterOpen()
    bench.apply(c.Pause())
    bench.apply(c.SetLight(on=False))
    bench.apply(c.Resume())
    assert not bench.core.getShutterOpen()


def test_a_lamp_alone_is_dark_in_a_pause(lamp: Any) -> None:
    lamp.apply(c.Pause())
    assert power(lamp) == 0.0
    lamp.apply(c.SetLight(power=0.75))
    assert power(lamp) == 0.0
    lamp.apply(c.Resume())
    assert power(lamp) == pytest.approx(0.75)


def test_a_stop_closes_the_light_though_the_cores_owner_hangs(
    bench_of: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr("drivers.micromanager.driver._STOP_S", 0.2)
    bench = bench_of(core_of=by_hand)
    bench.start()
    bench.frames(1)
    hung, free = threading.Event(), threading.Event()

    def hang() -> None:
        hung.set()
        free.wait(20)

    bench.driver._owner.post(hang)
    assert hung.wait(20)
    with pytest.raises(DriverError, match="gave no answer"):
        bench.driver.stop()
    assert not bench.core.getShutterOpen()
    free.set()
    eventually(lambda: not bench.driver._owner.is_alive())
