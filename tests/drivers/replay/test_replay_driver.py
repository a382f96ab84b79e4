"""The driver's face: rates, commands, the end."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from replay_cases import WAIT_S, folder, play, playing, short, take

from drivers.replay.driver import ReplayDriver
from stream.command import Command, MoveStage, Pause, Resume, SetExposure, SetInterval, SetRoi, Stop
from stream.config import CameraSettings, PlanSettings
from stream.errors import ConfigError, DriverError, Refused, SourceError
from stream.frame import Ended, Frame


def command(action: Any, name: str = "c1") -> Command:
    return Command(command_id=name, action=action, issued_wall_ns=0)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return folder(tmp_path / "movie", {f"t{number:03d}.tif": number for number in range(6)})


def test_the_plan_may_end_it_early(movie: Path) -> None:
    assert short(play(movie, PlanSettings(frames=2))) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("options", "plan_ms", "least_ms"),
    [({"speed": "real"}, 20.0, 20.0), ({"speed": 50}, 0.0, 20.0), ({"speed": "real"}, 0.0, 0.0)],
    ids=["as the plan says", "50 a second", "no interval known"],
)
def test_rate(movie: Path, options: dict[str, Any], plan_ms: float, least_ms: float) -> None:
    """Frames are never early: each at least its interval after the first."""
    items = play(movie, PlanSettings(interval_ms=plan_ms), **options)
    times = [item.stamps.t_pop_ns for item in items if isinstance(item, Frame)]
    assert len(times) == 6
    assert all(t - times[0] >= i * least_ms * 1e6 for i, t in enumerate(times))


def test_recorded_interval_wins_over_the_plan(tmp_path: Path) -> None:
    metadata = {"axes": "TYX", "TimeIncrement": 3600, "TimeIncrementUnit": "s"}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((2, 6, 8), np.uint16), metadata=metadata)
    with playing(tmp_path / "a.ome.tif", PlanSettings(interval_ms=0), speed="real") as driver:
        assert isinstance(take(driver), Frame)
        assert driver.next(0.01) is None
        readback = driver.apply(command(SetInterval(interval_ms=0)))
        assert readback.values["interval_ms"] == 0
        frame = take(driver)
        assert isinstance(frame, Frame)
        assert frame.commands == ("c1",)


def test_a_new_interval_reaches_a_waiting_next(movie: Path) -> None:
    """One thread waits for a frame that is an hour away; another brings it forward."""
    got: list[Any] = []
    with playing(movie, PlanSettings(interval_ms=3_600_000), speed="real") as driver:
        take(driver)
        waiting = threading.Thread(target=lambda: got.append(driver.next(WAIT_S)))
        waiting.start()
        driver.apply(command(SetInterval(interval_ms=0)))
        waiting.join(WAIT_S)
    assert isinstance(got[0], Frame)


def test_pause_resume_stop(movie: Path) -> None:
    with playing(movie) as driver:
        take(driver)
        assert driver.apply(command(Pause())).takes_frame is False
        assert driver.next(0.01) is None
        driver.apply(command(Resume(), "c2"))
        frame = take(driver)
        assert isinstance(frame, Frame)
        assert (frame.frame, frame.commands) == (1, ("c2",))
        assert driver.apply(command(Stop())).values["stopped"] is True
        assert [take(driver), take(driver)] == [Ended("stopped by command")] * 2
        with pytest.raises(Refused, match="has ended"):
            driver.apply(command(Pause()))


@pytest.mark.parametrize("action", [SetExposure(exposure_ms=1), MoveStage(x_um=1), SetRoi()], ids=lambda a: a.kind)
def test_what_a_recording_cannot(movie: Path, action: Any) -> None:
    with playing(movie) as driver, pytest.raises(Refused, match=f"a recording cannot {action.kind}"):
        driver.apply(command(action))


def test_the_end_is_told_again_and_reading_ahead_is_bounded(movie: Path) -> None:
    with playing(movie, prefetch=2) as driver:
        seen = [take(driver)]
        while not isinstance(seen[-1], Ended):
            assert driver.backlog() <= 2
            seen.append(take(driver))
        assert take(driver) == seen[-1] == Ended("the recording is over")
        assert len(seen) == 7


def test_stop_while_reading_ahead_is_full(movie: Path) -> None:
    with playing(movie, prefetch=1) as driver:
        take(driver)
    driver.stop()
    assert take(driver) == Ended("stopped")


def test_misuse_and_bad_options(movie: Path) -> None:
    driver = ReplayDriver()
    with pytest.raises(DriverError, match="call open first"):
        driver.start(PlanSettings())
    for options, error, message in (
        ({"source": str(movie), "sped": 1}, ConfigError, "did you mean 'speed'"),
        ({}, ConfigError, "'source'"),
        ({"source": str(movie), "speed": -1}, SourceError, "above 0"),
        ({"source": str(movie), "speed": float("nan")}, ConfigError, "finite"),
        ({"source": str(movie), "speed": "fast"}, ConfigError, "speed"),
    ):
        with pytest.raises(error, match=message):
            driver.open(CameraSettings(driver="replay", options=options), run="r", session="s")
    with playing(movie) as started, pytest.raises(DriverError, match="has been started"):
        started.start(PlanSettings())


def test_camera_name_is_the_fields(movie: Path) -> None:
    driver = ReplayDriver()
    settings = CameraSettings(driver="replay", name="Left", options={"source": str(movie), "speed": "max"})
    driver.open(settings, run="r", session="s")
    driver.start(PlanSettings())
    frame = take(driver)
    driver.stop()
    assert isinstance(frame, Frame)
    assert frame.field == "Left:p0"
