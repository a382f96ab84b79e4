"""MDA mode on the DemoCamera."""

from __future__ import annotations

import threading
from itertools import pairwise, product
from typing import Any

import msgpack
import numpy as np
import pytest
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.mda import RunState

from drivers.micromanager.event_runner import EventRunner
from drivers.micromanager.load import load_core
from drivers.micromanager.options import MicroManagerOptions
from drivers.micromanager.unload import unload
from stream import command as c
from stream.clock import now_ns
from stream.config import PlanSettings
from stream.errors import ConfigError, DriverError, Expired, Refused
from stream.frame import Frame, Gap


class FaultyCore(CMMCorePlus):
    """A real core whose snaps fail or hang, and whose stage lies, when a test says so."""

    snaps = 0
    failing: tuple[int, ...] = ()
    fatal: tuple[int, ...] = ()
    hanging: tuple[int, ...] = ()
    lost_moves: tuple[float, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.let_go = threading.Event()

    def snapImage(self) -> None:
        self.snaps += 1
        if self.snaps in self.failing:
            raise RuntimeError("the camera did not answer")
        if self.snaps in self.hanging:
            assert self.let_go.wait(20)
        super().snapImage()

    def waitForSystem(self) -> None:
        if self.snaps + 1 in self.fatal:
            self.snaps += 1
            raise RuntimeError("a device is busy for ever")
        super().waitForSystem()

    def setXYPosition(self, *args: Any) -> None:
        if args[0] not in self.lost_moves:
            super().setXYPosition(*args)


def faulty(monkeypatch: pytest.MonkeyPatch, **faults: Any) -> Any:
    def make(options: MicroManagerOptions) -> CMMCorePlus:
        monkeypatch.setattr("drivers.micromanager.load.CMMCorePlus", FaultyCore)
        core = load_core(options)
        for name, value in faults.items():
            setattr(core, name, value)
        return core

    return make


def test_a_plan_is_complete_ordered_and_on_time(bench: Any) -> None:
    bench.start(mode="mda", exposure_ms=1.0, interval_ms=33.0, frames=15)
    frames = bench.frames(15)
    assert bench.rest().reason == "plan complete"
    assert [(frame.frame, frame.seq, frame.index.t) for frame in frames] == [(n, n, n) for n in range(15)]
    assert not any(isinstance(item, Gap) for item in bench.seen)
    for frame in frames:
        assert (frame.exposure_ms, frame.stamps.camera_source) == (1.0, "core")
        assert 0 < frame.stamps.t_camera_ns <= frame.stamps.t_pop_ns
        assert msgpack.packb(dict(frame.metadata))
    # An event never comes before its time; how late it may be is the machine's affair.
    first_ns = frames[0].stamps.t_camera_ns
    for frame in frames:
        assert frame.stamps.t_camera_ns - first_ns > (33 * frame.frame - 33) * 1e6


def test_positions_and_channels_are_fields_and_indices_of_their_own(bench: Any) -> None:
    places = ((0.0, 0.0, 0.0), (60.0, -20.0, 1.0))
    bench.start(mode="mda", interval_ms=0.0, frames=3, positions_um=places, channels=("DAPI", "FITC"))
    frames = bench.frames(12)
    bench.rest()
    wanted = [(t, p, k) for t, p, k in product(range(3), range(2), range(2))]
    assert [(frame.index.t, frame.index.p, frame.index.c) for frame in frames] == wanted
    for frame in frames:
        assert frame.field == f"Camera:p{frame.index.p}"
        assert frame.frame == frame.index.t
        assert frame.channel == ("DAPI", "FITC")[frame.index.c]
        assert frame.stage_um == pytest.approx(places[frame.index.p], abs=0.02)
    assert [frame.seq for frame in frames] == list(range(12))
    a, b = frames[0].pixels, frames[2].pixels
    np.testing.assert_allclose(a[:-20, 60:].astype(float), b[20:, :-60].astype(float), atol=0.25 * a.max())
    with pytest.raises(Refused, match="has ended"):
        bench.apply(c.Pause())


@pytest.mark.parametrize("fault", ["failing", "fatal"])
def test_a_snap_that_fails_is_a_gap_at_its_own_place(bench_of: Any, monkeypatch: Any, fault: str) -> None:
    bench = bench_of(core_of=faulty(monkeypatch, **{fault: (3, 6)}), backoff_ms=1)
    places = ((0.0, 0.0, 0.0), (40.0, 0.0, 0.0))
    bench.start(mode="mda", interval_ms=0.0, frames=4, positions_um=places)
    bench.rest()
    frames = [item for item in bench.seen if isinstance(item, Frame)]
    assert [(frame.frame, frame.index.p) for frame in frames] == [(0, 0), (0, 1), (1, 1), (2, 0), (3, 0), (3, 1)]
    assert [(gap.field, gap.missing) for gap in bench.gaps("snap_failed")] == [("Camera:p0", 1), ("Camera:p1", 1)]
    for frame in frames:
        assert frame.stage_um[0] == pytest.approx(places[frame.index.p][0], abs=0.02)
    assert len(bench.gaps("restart")) == (2 if fault == "fatal" else 0)
    assert frames[-1].epoch == (5 if fault == "fatal" else 3)


def test_a_run_that_keeps_dying_ends_with_the_reason(bench_of: Any, monkeypatch: Any) -> None:
    bench = bench_of(core_of=faulty(monkeypatch, fatal=(2, 3)), backoff_ms=1, restart_limit=1)
    bench.start(mode="mda", interval_ms=0.0)
    assert "died more than 1 times within 60 s; the last time: the run of events failed" in bench.rest().reason
    assert not bench.core.getShutterOpen()


def test_a_snap_that_hangs_is_given_up_and_its_late_image_is_not_shifted(bench_of: Any, monkeypatch: Any) -> None:
    bench = bench_of(core_of=faulty(monkeypatch, hanging=(3,)), snap_timeout_ms=2_000)
    bench.start(mode="mda", interval_ms=0.0, frames=5)
    gap = bench.until(lambda item: isinstance(item, Gap))
    assert (gap.reason, gap.missing, gap.after_seq) == ("snap_failed", 1, 1)
    bench.core.let_go.set()
    bench.rest()
    assert [item.frame for item in bench.seen if isinstance(item, Frame)] == [0, 1, 3, 4]


def test_a_frame_from_another_place_is_not_a_frame_of_the_field(bench_of: Any, monkeypatch: Any) -> None:
    bench = bench_of(core_of=faulty(monkeypatch, lost_moves=(40.0,)))
    bench.start(mode="mda", interval_ms=0.0, frames=2, positions_um=((0.0, 0.0, 0.0), (40.0, 0.0, 0.0)))
    bench.rest()
    assert [item.field for item in bench.seen if isinstance(item, Frame)] == ["Camera:p0", "Camera:p0"]
    gaps = bench.gaps("wrong_state")
    assert [(gap.field, gap.missing) for gap in gaps] == [("Camera:p1", 1), ("Camera:p1", 1)]
    assert "stage_um" in gaps[0].detail


def test_commands_hold_from_the_next_event_on(bench: Any) -> None:
    bench.start(mode="mda", interval_ms=5.0)
    bench.frames(2)
    table: list[tuple[c.Action, dict[str, Any]]] = [
        (c.SetExposure(exposure_ms=3.0), {"exposure_ms": 3.0}),
        (c.SetInterval(interval_ms=8.0), {"interval_ms": 8.0}),
        (c.SetChannel(channel="Cy5"), {"channel": "Cy5"}),
        (c.SetLight(on=False), {"on": False}),
        (c.SetLight(on=True), {"on": True}),
        (c.SetRoi(roi_px=(8, 8, 64, 32)), {"roi_px": (8, 8, 64, 32)}),
    ]
    for action, values in table:
        command_id, readback = bench.apply(action)
        assert readback.values == values
        frame = bench.showing(command_id)
    assert (frame.exposure_ms, frame.channel, frame.roi_px) == (3.0, "Cy5", (8, 8, 64, 32))
    assert (frame.epoch, frame.seq) == (4, 0)
    command_id, readback = bench.apply(c.MoveStage(x_um=25.0, z_um=2.0))
    frame = bench.showing(command_id)
    assert frame.stage_um == pytest.approx((25.0, 0.0, 2.0), abs=0.02)
    numbers = [item.frame for item in bench.seen if isinstance(item, Frame)]
    assert numbers == list(range(len(numbers)))


def test_light_that_is_off_stays_off_through_the_events(bench: Any) -> None:
    bench.start(mode="mda", interval_ms=1.0)
    bench.frames(1)
    for on in (False, True):
        command_id, _ = bench.apply(c.SetLight(on=on))
        bench.showing(command_id)
        bench.frames(2)
        # Auto-shutter opens the shutter for each snap; the engine turns it on again unless its run began without.
        bench.apply(c.Pause())
        assert bench.core.getAutoShutter() is on
        bench.apply(c.Resume())


def test_a_move_changes_the_position_of_the_plan_that_is_meant(bench: Any) -> None:
    bench.start(mode="mda", interval_ms=5.0, positions_um=((0.0, 0.0, 0.0), (40.0, 0.0, 1.0)))
    bench.frames(2)
    with pytest.raises(Refused, match="the plan has 2 positions; say which"):
        bench.apply(c.MoveStage(x_um=10.0))
    with pytest.raises(Refused, match="no position 7"):
        bench.apply(c.MoveStage(x_um=10.0), position=7)
    command_id, _ = bench.apply(c.MoveStage(x_um=10.0), position=1)
    frame = bench.showing(command_id)
    assert (frame.index.p, frame.stage_um) == (1, pytest.approx((10.0, 0.0, 1.0), abs=0.02))
    for frame in bench.frames(4):
        assert frame.stage_um == pytest.approx(((0.0, 0.0, 0.0), (10.0, 0.0, 1.0))[frame.index.p], abs=0.02)


def test_a_paused_plan_takes_no_events(bench: Any) -> None:
    bench.start(mode="mda", interval_ms=0.0)
    bench.frames(1)
    bench.apply(c.Pause())
    while bench.driver.backlog():
        bench.frames(1)
    assert bench.driver.next(0.1) is None
    command_id, _ = bench.apply(c.Resume())
    bench.showing(command_id)
    numbers = [item.frame for item in bench.seen if isinstance(item, Frame)]
    assert numbers == list(range(len(numbers)))


def test_stop_ends_the_run_and_its_thread(bench: Any) -> None:
    bench.start(mode="mda", interval_ms=0.0)
    bench.frames(2)
    bench.apply(c.Stop())
    assert bench.rest().reason == "stopped by a command"
    assert "mda-runner" not in {thread.name for thread in threading.enumerate()}
    assert not bench.core.mda.is_running()


def test_the_frame_that_is_being_taken_at_the_stop_is_delivered(bench: Any, eventually: Any) -> None:
    begun: list[int] = []
    bench.core.mda.events.eventStarted.connect(lambda event: begun.append(event.index["t"]))
    bench.start(mode="mda", exposure_ms=300.0)
    eventually(lambda: bench.core.mda.status.phase == RunState.ACQUIRING)
    bench.driver.stop()
    assert bench.rest().reason == "stopped"
    # Busy cores may let a second one begin before the stop is heard.
    assert begun
    assert [item.frame for item in bench.seen if isinstance(item, Frame)] == begun


def test_a_second_run_is_refused_while_the_first_thread_lives(bench_of: Any, monkeypatch: Any, eventually: Any) -> None:
    options = MicroManagerOptions.model_validate({"adapters": bench_of().driver._rig.options.adapters})
    core = faulty(monkeypatch, hanging=(1,))(options)
    runner = EventRunner(core, lambda: None)
    runner.start()
    with pytest.raises(DriverError, match="a second one cannot begin"):
        runner.start()
    # What made others resurrect a run: cancelled while it waits for events, it says that it has ended.
    core.mda.cancel()
    assert not core.mda.is_running()
    assert runner.alive
    with pytest.raises(DriverError, match="a second one cannot begin"):
        runner.start()
    assert runner.close(10)
    runner.start()
    assert runner.take_done() is None
    assert runner.take_death() is None
    assert runner.close(10)
    unload(core)


def test_a_cancel_from_outside_costs_one_frame_and_a_restart(bench_of: Any) -> None:
    bench = bench_of(backoff_ms=1)
    bench.start(mode="mda", interval_ms=20.0, frames=8)
    bench.frames(2)
    bench.core.mda.cancel()
    bench.rest()
    frames = [item.frame for item in bench.seen if isinstance(item, Frame)]
    assert len(frames) >= 7
    assert len(frames) + len(bench.gaps("snap_failed")) == 8
    assert all(b > a for a, b in pairwise(frames))
    assert len(bench.gaps("restart")) == 1


def test_stimulation_says_why_not(bench: Any) -> None:
    bench.start(mode="mda")
    with pytest.raises(Refused, match="no light modulator"):
        bench.apply(c.Stimulate(mask_yx_px=(), duration_ms=1.0))


def test_an_unknown_channel_stops_the_start(bench: Any) -> None:
    with pytest.raises(ConfigError, match="no channel 'GFP'"):
        bench.driver.start(PlanSettings(mode="mda", channels=("GFP",)))


def test_a_command_is_asked_once_more_when_the_frame_is_through(bench: Any) -> None:
    """The exposure that it waits for may have made its data old."""
    bench.start(mode="mda", exposure_ms=400.0)
    bench.frames(1)
    asked_ns = now_ns()
    asked: list[int] = []

    def too_late() -> None:
        asked.append(now_ns())
        raise Expired("too late")

    command = c.Command(command_id="late", action=c.MoveStage(x_um=7.0), issued_wall_ns=0)
    with pytest.raises(Expired, match="too late"):
        bench.driver.apply(command, too_late)
    assert asked[0] - asked_ns > 100e6, "it waited for the frame"
    assert bench.core.getXPosition() == pytest.approx(0.0, abs=0.02)
