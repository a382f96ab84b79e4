"""Stream mode on the DemoCamera."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pymmcore_plus import Metadata

from stream import command as c
from stream.errors import ConfigError, DriverError, Refused
from stream.frame import Ended, Frame, Gap
from stream.metrics import FRAMES_DECIMATED

Eventually = Callable[[Callable[[], bool]], None]


def test_a_plan_at_33_ms_is_complete_and_ordered(bench: Any) -> None:
    bench.start(exposure_ms=33.0, frames=20)
    frames = bench.frames(20)
    assert bench.rest().reason == "plan complete"
    assert [frame.frame for frame in frames] == list(range(20))
    assert [frame.seq for frame in frames] == list(range(20))
    assert {frame.epoch for frame in frames} == {3}
    assert not any(isinstance(item, Gap) for item in bench.seen)
    first = frames[0]
    assert (first.field, first.exposure_ms, first.channel) == ("Camera:p0", 33.0, "DAPI")
    assert first.pixels.shape == (512, 512)
    assert not first.pixels.flags.writeable
    for frame in frames:
        assert frame.stamps.camera_source == "core"
        assert 0 < frame.stamps.t_camera_ns <= frame.stamps.t_pop_ns
    assert bench.driver.next(0.0) == Ended("plan complete")


def test_an_roi_begins_a_new_epoch_whose_first_frame_names_the_command(bench: Any) -> None:
    bench.start()
    bench.frames(3)
    command_id, readback = bench.apply(c.SetRoi(roi_px=(10, 20, 101, 64)))
    assert readback.values["roi_px"] == (10, 20, 101, 64)
    assert readback.takes_frame
    frame = bench.showing(command_id)
    assert (frame.epoch, frame.seq, frame.roi_px, frame.sensor_px) == (4, 0, (10, 20, 101, 64), (512, 512))
    assert frame.pixels.shape == (64, 101)
    numbers = [item.frame for item in bench.seen if isinstance(item, Frame)]
    assert numbers == list(range(len(numbers)))
    command_id, _ = bench.apply(c.SetRoi(roi_px=None))
    assert bench.showing(command_id).pixels.shape == (512, 512)


@pytest.mark.parametrize("roi_px", [(0, 0, 10_000, 10_000), (-5, 0, 10, 10), (500, 500, 100, 100), (0, 0, 0, 10)])
def test_an_roi_off_the_sensor_is_refused_and_the_epoch_goes_on(bench: Any, roi_px: tuple[int, int, int, int]) -> None:
    bench.start()
    bench.frames(2)
    with pytest.raises(Refused, match="not within the sensor of 512x512"):
        bench.apply(c.SetRoi(roi_px=roi_px))
    assert {frame.epoch for frame in bench.frames(5)} == {3}


def test_an_exposure_is_read_back_and_named_by_the_first_frame_that_has_it(bench: Any) -> None:
    bench.start(exposure_ms=30.0)
    bench.frames(2)
    command_id, readback = bench.apply(c.SetExposure(exposure_ms=4.0))
    assert readback.values == {"exposure_ms": 4.0}
    frame = bench.showing(command_id)
    assert frame.exposure_ms == 4.0
    before = [item for item in bench.seen if isinstance(item, Frame)][:-1]
    assert {item.exposure_ms for item in before} == {30.0}
    assert sum(command_id in item.commands for item in bench.frames(3)) == 0


def test_an_exposure_that_the_camera_does_not_take_fails_and_the_former_one_stays(bench: Any) -> None:
    bench.start()
    bench.frames(2)
    with pytest.raises(DriverError, match=r"50000\.0 ms was asked and the camera answers .*; 5\.0 ms is set again"):
        bench.apply(c.SetExposure(exposure_ms=50_000.0))
    bench.frames(3)
    assert bench.frames(1)[0].exposure_ms == 5.0


def test_pixels_move_by_exactly_the_move_and_the_frame_says_so(bench: Any) -> None:
    bench.start()
    still = bench.frames(2)[-1]
    command_id, readback = bench.apply(c.MoveStage(x_um=50.0, y_um=30.0))
    assert readback.values["stage_um"] == pytest.approx((50.0, 30.0, 0.0), abs=0.02)
    moved = bench.showing(command_id)
    assert moved.stage_um == readback.values["stage_um"]
    np.testing.assert_allclose(
        still.pixels[30:, 50:].astype(float), moved.pixels[:-30, :-50].astype(float), atol=0.02 * still.pixels.max()
    )
    for item in bench.seen:
        # A frame exposed while the stage moved is marked; one that is not marked lies where it says.
        if isinstance(item, Frame) and "stage_moving" not in item.metadata and item is not moved:
            assert item.stage_um[:2] == pytest.approx((0.0, 0.0), abs=0.02)
            np.testing.assert_array_equal(item.pixels, still.pixels)


@pytest.mark.parametrize("roi_px", [(40, 60, 200, 120), None])
def test_recentre_brings_the_target_to_the_middle_of_the_image(bench: Any, roi_px: Any) -> None:
    bench.start()
    still = bench.frames(1)[0]
    bench.apply(c.SetRoi(roi_px=roi_px))
    target_px = np.array([[300.0, 350.0]])
    target_um = still.to_stage_um(target_px)
    command_id, _ = bench.apply(c.Recentre(target_um=(float(target_um[0, 0]), float(target_um[0, 1]))))
    frame = bench.showing(command_id)
    _, _, width, height = frame.roi_px
    assert frame.to_image_px(target_um)[0] == pytest.approx([(height - 1) / 2, (width - 1) / 2], abs=0.05)


def test_recentre_moves_the_specimen_itself(bench: Any) -> None:
    bench.start()
    still = bench.frames(1)[0]
    # The DemoCamera draws any ROI as if it lay in the middle of the sensor: only there is it a crop.
    bench.apply(c.SetRoi(roi_px=(156, 196, 200, 120)))
    target_um = still.to_stage_um(np.array([[300.5, 350.5]]))[0]
    command_id, _ = bench.apply(c.Recentre(target_um=(float(target_um[0]), float(target_um[1]))))
    here = bench.showing(command_id).pixels.astype(float)
    there = still.pixels[301 - 60 : 301 + 60, 351 - 100 : 351 + 100].astype(float)
    np.testing.assert_allclose(here, there, atol=0.02 * still.pixels.max())


def test_binning_keeps_the_part_of_the_sensor(bench: Any) -> None:
    bench.start()
    bench.apply(c.SetRoi(roi_px=(100, 200, 128, 64)))
    command_id, readback = bench.apply(c.SetBinning(binning=2))
    assert readback.values == {"binning": 2}
    frame = bench.showing(command_id)
    assert (frame.roi_px, frame.sensor_px, frame.binning) == ((50, 100, 64, 32), (256, 256), 2)
    assert frame.affine_um == ((2.0, 0.0), (0.0, 2.0))
    with pytest.raises(Refused, match="cannot set Binning to 3"):
        bench.apply(c.SetBinning(binning=3))


def test_pixel_types_that_are_no_grey_image_are_refused(bench: Any) -> None:
    bench.start()
    with pytest.raises(Refused, match="16bit is set again"):
        bench.apply(c.SetPixelType(pixel_type="32bitRGB"))
    bench.frames(2)
    command_id, _ = bench.apply(c.SetPixelType(pixel_type="8bit"))
    assert bench.showing(command_id).pixels.dtype == np.uint8


def test_channel_and_light_are_read_back(bench: Any) -> None:
    bench.start()
    bench.frames(1)
    command_id, readback = bench.apply(c.SetChannel(channel="FITC"))
    assert readback.values == {"channel": "FITC"}
    frame = bench.showing(command_id)
    assert (frame.channel, frame.epoch) == ("FITC", 3)
    with pytest.raises(Refused, match="no channel 'GFP' in config group 'Channel'; known: Cy5, DAPI, FITC, Rhodamine"):
        bench.apply(c.SetChannel(channel="GFP"))
    assert bench.core.getShutterOpen()
    assert bench.apply(c.SetLight(on=False))[1].values == {"on": False}
    assert not bench.core.getShutterOpen()
    with pytest.raises(Refused, match="light_property"):
        bench.apply(c.SetLight(power=0.5))
    command_id, _ = bench.apply(c.SetLight(on=True))
    bench.showing(command_id)
    assert bench.core.getShutterOpen()


def test_light_power_is_a_fraction_of_full(bench_of: Any) -> None:
    bench = bench_of(light_property="Camera.TestProperty1", light_full=0.1)
    bench.start(light_power=1.0)
    assert float(bench.core.getProperty("Camera", "TestProperty1")) == pytest.approx(0.1)
    assert bench.apply(c.SetLight(power=0.5))[1].values["power"] == pytest.approx(0.5)


def test_an_interval_is_refused_unless_a_property_keeps_it(bench: Any, bench_of: Any) -> None:
    bench.start()
    with pytest.raises(Refused, match=r"at its own pace; name a property .* interval_property"):
        bench.apply(c.SetInterval(interval_ms=100.0))
    paced = bench_of(interval_property="Camera.ReadoutTime")
    paced.start(interval_ms=2.0)
    assert paced.apply(c.SetInterval(interval_ms=3.0))[1].values == {"interval_ms": 3.0}
    assert paced.core.getProperty("Camera", "ReadoutTime") == "3.0000"


def test_a_pause_takes_no_frames_and_resume_begins_an_epoch(bench: Any) -> None:
    bench.start()
    bench.frames(2)
    _, readback = bench.apply(c.Pause())
    assert not readback.takes_frame
    assert not bench.core.isSequenceRunning()
    bench.apply(c.Pause())
    while bench.driver.backlog():
        bench.frames(1)
    command_id, _ = bench.apply(c.Resume())
    frame = bench.showing(command_id)
    assert (frame.epoch, frame.seq) == (4, 0)
    numbers = [item.frame for item in bench.seen if isinstance(item, Frame)]
    assert numbers == list(range(len(numbers)))


def test_stop_ends_the_stream_after_what_was_taken(bench: Any) -> None:
    bench.start()
    bench.frames(2)
    bench.apply(c.Stop())
    assert bench.rest().reason == "stopped by a command"
    assert not bench.core.getShutterOpen()
    with pytest.raises(Refused, match="has ended"):
        bench.apply(c.Pause())
    bench.driver.stop()
    bench.driver.stop()


def test_images_overwritten_in_the_core_are_counted_to_the_last_one(bench_of: Any, eventually: Eventually) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold(frame: Frame) -> None:
        if frame.frame == 2:
            held.set()
            assert let_go.wait(20)

    bench = bench_of(on_frame=hold, buffer_mb=1)
    bench.start(exposure_ms=1.0, frames=60)
    assert held.wait(20)
    # The core's buffer holds two images: it overwrites while nobody pops, and says nothing about it.
    newest = Metadata()

    def overwritten() -> bool:
        if bench.core.getRemainingImageCount():
            bench.core.getLastImageMD(0, 0, newest)
        return newest.HasTag("ImageNumber") and int(newest["ImageNumber"]) > 10

    eventually(overwritten)
    assert not bench.core.isBufferOverflowed()
    let_go.set()
    bench.rest()
    frames = [item for item in bench.seen if isinstance(item, Frame)]
    before = next(frame for frame in frames if frame.frame == 2)
    after = next(frame for frame in frames if frame.seq == before.seq + 1)
    (gap,) = [gap for gap in bench.gaps("overflow") if gap.after_seq == before.seq]
    assert gap.missing == after.frame - 3 > 0
    missing = sum(item.missing for item in bench.seen if isinstance(item, Gap))
    assert len(frames) + missing == 60
    assert [frame.seq for frame in frames] == list(range(len(frames)))


def test_a_slow_consumer_loses_nothing_up_to_the_queue_and_is_counted_beyond(
    bench_of: Any, eventually: Eventually
) -> None:
    bench = bench_of(queue_frames=5)
    bench.start(exposure_ms=1.0, frames=30)
    eventually(lambda: not bench.core.isSequenceRunning())
    bench.rest()
    frames = [item for item in bench.seen if isinstance(item, Frame)]
    assert [frame.frame for frame in frames] == [0, 1, 2, 3, 4]
    (gap,) = bench.gaps("queue")
    assert (gap.missing, gap.after_seq) == (25, 4)


def test_a_stream_that_dies_silently_is_restarted_and_reported(bench: Any) -> None:
    bench.start()
    bench.frames(3)
    # The core lets this happen under a running sequence, and the sequence is dead without any sign.
    bench.core.setROI(0, 0, 128, 128)
    gap = bench.until(lambda item: isinstance(item, Gap))
    assert (gap.reason, gap.missing, gap.epoch) == ("restart", 0, 3)
    frame = bench.frames(1)[0]
    assert (frame.epoch, frame.seq, frame.roi_px) == (4, 0, (0, 0, 128, 128))


def test_a_stream_that_keeps_dying_ends_with_the_reason(bench_of: Any) -> None:
    bench = bench_of(restart_limit=1, backoff_ms=1)
    bench.start()
    for size in (128, 64):
        bench.frames(3)
        bench.core.setROI(0, 0, size, size)
    assert "died more than 1 times within 60 s" in bench.rest().reason
    assert not bench.core.getShutterOpen()


def test_a_sequence_that_gives_no_images_counts_as_dead(bench_of: Any) -> None:
    bench = bench_of(stall_s=0.2, backoff_ms=1)
    bench.start()
    bench.frames(1)
    # The exposure is changed behind the driver's back, as a camera that waits for a trigger would behave.
    bench.core.setExposure(3_000.0)
    gap = bench.until(lambda item: isinstance(item, Gap))
    assert (gap.reason, gap.missing) == ("restart", 0)
    assert "no image for" in gap.detail


def test_a_roi_while_a_restart_is_pending_brings_the_stream_back(bench_of: Any) -> None:
    bench = bench_of(backoff_ms=60_000)
    bench.start()
    bench.frames(1)
    bench.core.setROI(0, 0, 128, 128)
    bench.until(lambda item: isinstance(item, Gap))
    command_id, _ = bench.apply(c.SetRoi(roi_px=(0, 0, 256, 256)))
    assert bench.showing(command_id).pixels.shape == (256, 256)


def test_decimated_frames_are_counted_and_not_lost(bench_of: Any) -> None:
    bench = bench_of(decimate=3)
    counter = FRAMES_DECIMATED.labels("Camera")
    before = counter._value.get()
    bench.start(exposure_ms=2.0, frames=6)
    frames = bench.frames(6)
    bench.rest()
    assert [frame.frame for frame in frames] == list(range(6))
    assert [frame.metadata["ImageNumber"] for frame in frames] == [str(3 * n) for n in range(6)]
    assert counter._value.get() - before == 10
    assert not any(isinstance(item, Gap) for item in bench.seen)


def test_a_stage_that_never_arrives_fails_the_move_and_the_stream_goes_on(bench_of: Any) -> None:
    bench = bench_of(device_timeout_ms=50)
    bench.start()
    with pytest.raises(DriverError, match=r"move to \(1000000\.0, "):
        bench.apply(c.MoveStage(x_um=1e6))
    bench.frames(2)


def test_stream_mode_takes_one_position_and_one_channel(bench: Any) -> None:
    with pytest.raises(ConfigError, match="use mode = 'mda' for more"):
        bench.start(channels=("DAPI", "FITC"))


def test_a_command_for_another_camera_or_before_the_start_is_refused(bench: Any) -> None:
    with pytest.raises(Refused, match="has not begun"):
        bench.apply(c.Pause())
    bench.start()
    with pytest.raises(Refused, match="for camera 'Other'"):
        bench.apply(c.Pause(), camera="Other")
