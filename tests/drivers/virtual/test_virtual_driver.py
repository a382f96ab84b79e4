"""The virtual microscope through the driver of real ones, and its buffer."""

import csv
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from drivers.virtual.annals import Annals
from drivers.virtual.buffer import FrameBuffer
from drivers.virtual.driver import VirtualDriver
from stream.command import (
    Action,
    Command,
    Pause,
    Recentre,
    Resume,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)
from stream.config import CameraSettings, Configuration, PlanSettings
from stream.errors import ConfigError, DriverError
from stream.frame import Ended, Frame
from stream.simulate import simulate

OPTIONS: dict[str, Any] = {"cells": 40, "fields": 2, "size_px": [256, 256], "seed": 11}
PLAN = PlanSettings(mode="stream", interval_ms=30.0, exposure_ms=10.0, light_power=0.5)
Start = Callable[..., VirtualDriver]


@pytest.fixture
def start() -> Iterator[Start]:
    """Open and start a driver; stopped at the end."""
    running = []

    def begin(plan: PlanSettings = PLAN, **options: Any) -> VirtualDriver:
        driver = VirtualDriver()
        running.append(driver)
        driver.open(CameraSettings(driver="virtual", options={**OPTIONS, **options}), run="r", session="s")
        driver.start(plan)
        return driver

    yield begin
    for driver in running:
        driver.stop()


def frames(driver: VirtualDriver, count: int) -> list[Frame]:
    """Take the next frames; a gap is a failure."""
    taken = []
    while len(taken) < count:
        item = driver.next(10.0)
        assert isinstance(item, Frame), item
        taken.append(item)
    return taken


def until(driver: VirtualDriver, command_id: str) -> Frame:
    """Return the first frame that shows a command."""
    for _ in range(200):
        (frame,) = frames(driver, 1)
        if command_id in frame.commands:
            return frame
    raise AssertionError(f"no frame shows {command_id}")


def command(action: Action) -> Command:
    return Command(command_id=action.kind, action=action, issued_wall_ns=0)


def test_frames_of_512_px_flow_without_a_gap(start: Start) -> None:
    taken = frames(start(cells=100, size_px=[512, 512], fields=1), 12)
    assert [frame.seq for frame in taken] == list(range(12))
    assert [frame.frame for frame in taken] == list(range(12))
    assert {frame.pixels.shape for frame in taken} == {(512, 512)}
    assert taken[0].pixel_um == pytest.approx(0.65)


def test_live_pixels_are_the_simulated_ones(start: Start, tmp_path: Path) -> None:
    live = frames(start(), 6)
    config = Configuration(camera=CameraSettings(driver="virtual", options=OPTIONS), plan=PLAN)
    simulate(config, tmp_path / "movie", 6, OPTIONS["seed"])
    for frame in live:
        assert np.array_equal(frame.pixels, tifffile.imread(tmp_path / "movie" / "01" / f"t{frame.frame:03d}.tif"))


@pytest.mark.parametrize(
    ("action", "values"),
    [
        (SetInterval(interval_ms=45.0), {"interval_ms": 45.0}),
        (SetExposure(exposure_ms=25.0), {"exposure_ms": 25.0}),
        (SetLight(power=0.25), {"power": 0.25}),
        (SetChannel(channel="cytoplasm"), {"channel": "cytoplasm"}),
        (SetRoi(roi_px=(64, 32, 128, 96)), {"roi_px": (64, 32, 128, 96)}),
    ],
    ids=lambda item: getattr(item, "kind", ""),
)
def test_commands_are_honoured_with_what_was_read_back(start: Start, action: Action, values: dict[str, Any]) -> None:
    driver = start()
    before = frames(driver, 2)[-1]
    readback = driver.apply(command(action))
    assert dict(readback.values) == values
    after = until(driver, action.kind)
    assert after.frame > before.frame
    if isinstance(action, SetRoi):
        assert (after.epoch, after.seq) == (before.epoch + 1, 0)
        assert after.pixels.shape == (96, 128)


def test_a_new_exposure_shows_from_the_frame_that_names_it(start: Start) -> None:
    driver = start()
    frames(driver, 3)
    driver.apply(command(SetExposure(exposure_ms=20.0)))
    levels: dict[bool, list[float]] = {False: [], True: []}
    named = until(driver, "set_exposure")
    following = frames(driver, 3)
    levels[True] = [float(frame.pixels.mean()) - 100.0 for frame in (named, *following)]
    assert named.exposure_ms == 20.0
    assert max(levels[True]) < 1.05 * min(levels[True])


def test_dark_is_dark(start: Start) -> None:
    driver = start()
    frames(driver, 1)
    driver.apply(command(SetLight(on=False)))
    until(driver, "set_light")
    assert frames(driver, 1)[0].pixels.mean() == pytest.approx(100.0, abs=0.5)


@pytest.mark.parametrize(("between", "opened"), [(False, False), (True, False), (False, True)])
def test_a_shutter_that_stays_open_lights_between_frames(
    start: Start, tmp_path: Path, between: bool, opened: bool
) -> None:
    driver = start(truth_dir=str(tmp_path), truth_cells_min=0.1, light_between_frames=between)
    frames(driver, 1)
    if opened:
        driver.apply(command(SetLight(on=True)))
        until(driver, "set_light")
    frames(driver, 10)
    driver.stop()
    with (tmp_path / "dose.csv").open() as file:
        rows = [(int(row["exposure"]), float(row["dose_s"])) for row in csv.DictReader(file)]
    most: dict[int, float] = {}
    for exposure, dose_s in rows:
        most[exposure] = max(most.get(exposure, 0.0), dose_s)
    a, b = sorted(most)[-4], sorted(most)[-1]
    # Of 30 ms the camera exposes 10, at half light.
    assert (most[b] - most[a]) / (b - a) == pytest.approx(0.015 if between or opened else 0.005, rel=0.01)


def test_recentre_brings_the_target_to_the_middle(start: Start) -> None:
    driver = start(read_noise_e=0.5)
    (frame,) = frames(driver, 1)
    image = frame.pixels.astype(float)
    y, x = np.unravel_index(np.argmax(image[40:-40, 40:-40]), (176, 176))
    place = np.array([[y + 40.0, x + 40.0]])
    target = frame.to_stage_um(place)[0]
    driver.apply(command(Recentre(target_um=(float(target[0]), float(target[1])))))
    moved = until(driver, "recentre")
    np.testing.assert_allclose(moved.to_image_px(target[None])[0], [127.5, 127.5], atol=0.01)
    patch = image[int(y) + 20 : int(y) + 60, int(x) + 20 : int(x) + 60]
    centre = moved.pixels.astype(float)[108:148, 108:148]
    assert max(np.corrcoef(patch.ravel(), np.roll(centre, (dy, dx), (0, 1)).ravel())[0, 1]
               for dy in range(-3, 4) for dx in range(-3, 4)) > 0.8  # fmt: skip


def test_truth_is_numbered_as_the_frames_and_shown_to_nobody(start: Start, tmp_path: Path) -> None:
    driver = start(truth_dir=str(tmp_path / "truth"))
    frames(driver, 4)
    driver.apply(command(SetRoi(roi_px=(0, 0, 128, 128))))
    taken = [until(driver, "set_roi"), *frames(driver, 2)]
    driver.stop()
    for frame in taken:
        labels = tifffile.imread(tmp_path / "truth" / f"man_track{frame.frame:03d}.tif")
        assert labels.shape == frame.pixels.shape
        assert frame.pixels[labels > 0].mean() > 2 * frame.pixels[labels == 0].mean()
        assert not any("lobe" in key.lower() or "truth" in key.lower() for key in frame.metadata)
    assert (tmp_path / "truth" / "man_track.txt").read_text()


def test_a_disk_that_takes_no_truth_does_not_stop_the_camera(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*args: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("exposed", "delivered", "_write"):
        monkeypatch.setattr(Annals, name, refuses)
    driver = start(truth_dir=str(tmp_path))
    assert len(frames(driver, 3)) == 3
    driver.stop()
    assert caplog.text.count(f"the truth in {tmp_path} is not complete") == 1


def test_mda_mode_gives_each_position_its_own_truth(start: Start, tmp_path: Path) -> None:
    plan = PlanSettings(
        mode="mda",
        interval_ms=50.0,
        exposure_ms=10.0,
        frames=2,
        channels=("nuclei", "cytoplasm"),
        positions_um=((0.0, 0.0, 0.0), (60.0, 0.0, 0.0)),
    )
    driver = start(plan, truth_dir=str(tmp_path))
    taken = frames(driver, 8)
    assert isinstance(driver.next(10.0), Ended)
    driver.stop()
    for frame in (frame for frame in taken if frame.channel == "nuclei"):
        folder = tmp_path / (f"p{frame.index.p}" if frame.index.p else "")
        labels = tifffile.imread(folder / f"man_track{frame.frame:03d}.tif")
        assert frame.pixels[labels > 0].mean() > 2 * frame.pixels[labels == 0].mean()


def test_a_long_wait_for_the_next_frame_ends_at_once_when_the_stream_restarts(start: Start) -> None:
    driver = start(PLAN.model_copy(update={"interval_ms": 120_000.0}))
    frames(driver, 1)
    driver.apply(command(SetRoi(roi_px=(0, 0, 64, 64))))
    (frame,) = frames(driver, 1)
    assert (frame.frame, frame.epoch, frame.pixels.shape) == (1, 1, (64, 64))


@pytest.mark.parametrize("mode", ["stream", "mda"])
def test_life_goes_on_by_the_clock_where_no_schedule_rules_it(start: Start, tmp_path: Path, mode: str) -> None:
    driver = start(PLAN.model_copy(update={"mode": mode, "interval_ms": 400.0}), truth_dir=str(tmp_path))
    before = frames(driver, 2)[-1]
    driver.apply(command(Pause()))
    threading.Event().wait(1.0)
    driver.apply(command(Resume()))
    after = until(driver, "resume")
    driver.stop()
    lines = [json.loads(line) for line in (tmp_path / "specimen.jsonl").read_text().splitlines()]
    minute = {line["frame"]: line["minute"] for line in lines if line["kind"] == "frame"}
    passed_min = (after.stamps.t_pop_ns - before.stamps.t_pop_ns) / 1e9 * 12.0
    # A second of pause is twelve minutes; a schedule that slips on a busy machine takes some of the rest.
    assert 11.7 < minute[after.frame] - minute[before.frame] < passed_min + 6.0


def test_a_second_start_keeps_the_truth_of_the_first(tmp_path: Path) -> None:
    for session in ("one", "two"):
        driver = VirtualDriver()
        options = {**OPTIONS, "truth_dir": str(tmp_path)}
        driver.open(CameraSettings(driver="virtual", options=options), run="r", session=session)
        driver.start(PLAN.model_copy(update={"frames": 2}))
        frames(driver, 2)
        driver.stop()
    assert (tmp_path / "man_track001.tif").is_file()
    assert (tmp_path / "two" / "man_track001.tif").is_file()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sedd": 1}, ConfigError, "did you mean 'seed'"),
        ({"cfg": "my.cfg"}, ConfigError, "its own devices"),
        ({"size_px": [4, 4]}, ConfigError, "between 32 and 8192"),
        ({"interval_property": "Camera.Pace"}, DriverError, "no property 'Pace'"),
    ],
    ids=["typo", "cfg", "size", "property"],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], error: type[Exception], words: str) -> None:
    driver = VirtualDriver()
    with pytest.raises(error, match=words):
        driver.open(CameraSettings(driver="virtual", options=options), run="r", session="s")
    driver.stop()


def test_the_buffer_loses_nothing_where_a_ring_would_wrap() -> None:
    buffer, popped = FrameBuffer(16), []
    for number in range(249):
        buffer.acquire_slot((1024, 1024), np.uint16)[0, 0] = number
        buffer.finalize_slot({"ImageNumber": str(number)})
        while len(buffer) > (number * 7) % 5:
            item = buffer.pop_next()
            assert item is not None
            popped.append((int(item[0][0, 0]), int(item[1]["ImageNumber"])))
    while (item := buffer.pop_next()) is not None:
        popped.append((int(item[0][0, 0]), int(item[1]["ImageNumber"])))
    assert popped == [(number, number) for number in range(249)]
    assert not buffer.overflow_occurred
    assert buffer.used_bytes == 0


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_full_buffer_says_so(overwrite: bool) -> None:
    buffer = FrameBuffer(1, overwrite_on_overflow=overwrite)
    for number in range(2):
        buffer.acquire_slot((512, 512), np.uint16)[0, 0] = number
        buffer.finalize_slot({})
    if overwrite:
        buffer.acquire_slot((512, 512), np.uint16)[0, 0] = 2
        buffer.finalize_slot({})
        left = [buffer.pop_next(), buffer.pop_next()]
        assert [int(item[0][0, 0]) for item in left if item] == [1, 2]
    else:
        with pytest.raises(BufferError, match="full"):
            buffer.acquire_slot((512, 512), np.uint16)
    assert buffer.overflow_occurred


def test_clearing_under_a_frame_that_is_written_drops_that_frame() -> None:
    buffer = FrameBuffer(1)
    buffer.acquire_slot((8, 8), np.uint8)
    buffer.clear()
    buffer.finalize_slot({})
    assert len(buffer) == 0
