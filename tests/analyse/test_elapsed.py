"""How far into a run a frame was taken: by stamps, or, at any speed, as a recording states it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from drivers.replay.driver import ReplayDriver
from stream.analyse.elapsed import Elapsed
from stream.analyse.gather import Gather
from stream.analyse.kept import Kept
from stream.config import CameraSettings, ChainSettings, PlanSettings
from stream.facts.analysis import AnalysisFacts
from stream.facts.lineage import read_seconds
from stream.facts.rig import RigFacts
from stream.frame import T_RECORDED_MS, Ended, Frame, FrameRef, Stamps

PIXELS = np.zeros((4, 6), np.uint16)
FIELD = "c:p0"


def frame(number: int, t_pop_s: float, recorded_s: float | None = None, session: str = "s") -> Frame:
    metadata = {} if recorded_s is None else {T_RECORDED_MS: recorded_s * 1e3}
    stamps = Stamps(t_pop_ns=round(t_pop_s * 1e9), host="rig")
    return Frame("r", "c", session, 0, number, FIELD, number, PIXELS, stamps=stamps, metadata=metadata)


def kept(elapsed_s: float, t_pop_s: float) -> Kept:
    return Kept(FrameRef("r", "c", "s", 0, 1, FIELD, 1), "rig", round(t_pop_s * 1e9), elapsed_s, 1, (), None, b"")


RUNS: dict[str, tuple[list[Kept], list[Frame], list[float]]] = {
    "a camera's, by the stamps": ([], [frame(0, 5.0), frame(1, 5.5)], [0.0, 0.5]),
    "a recording's, as it says": ([], [frame(0, 5.0, 0.0), frame(1, 5.1, 300.0)], [0.0, 300.0]),
    "the first image of a recording is torn": ([], [frame(1, 5.0, 300.0)], [300.0]),
    "an analysis that died in a run": ([kept(7.5, 4.0)], [frame(9, 5.0), frame(10, 5.5)], [8.5, 9.0]),
    "an analysis that died in a replay": ([kept(600.0, 4.0)], [frame(3, 5.0, 900.0)], [900.0]),
    "a rig that died and began a camera again": ([], [frame(0, 5.0), frame(1, 7.0, session="t")], [0.0, 2.0]),
    "a rig that died and began a recording again": (
        [],
        [frame(0, 5.0, 0.0), frame(1, 5.5, 300.0), frame(2, 7.5, 0.0, "t"), frame(3, 8.0, 300.0, "t")],
        [0.0, 300.0, 302.0, 602.0],
    ),
}


@pytest.mark.parametrize(("before", "frames", "expected_s"), RUNS.values(), ids=RUNS)
def test_time_goes_on(before: list[Kept], frames: list[Frame], expected_s: list[float]) -> None:
    elapsed = Elapsed()
    for one in before:
        elapsed.take_up(one)
    found = []
    for one in frames:
        elapsed.see(one)
        found.append(elapsed.of(one))
    assert found == pytest.approx(expected_s)


@pytest.mark.parametrize("said", ["soon", float("nan"), None])
def test_a_time_that_is_no_number_is_none(said: Any) -> None:
    assert replace(frame(0, 5.0), metadata={T_RECORDED_MS: said}).t_recorded_ms is None


def played(source: Path, run_dir: Path, speed: Any) -> tuple[list[float], dict[int, float]]:
    """Play a movie, and return the seconds of its moments and those of its recorded frames."""
    run_dir.mkdir()
    driver, gather = ReplayDriver(), Gather(ChainSettings())
    rig, analysis = RigFacts(run_dir), AnalysisFacts(run_dir)
    options = {"source": str(source), "speed": speed}
    driver.open(CameraSettings(driver="replay", options=options), run="r", session="s")
    rig.meta("devices", dict(driver.describe()))
    driver.start(PlanSettings())
    elapsed_s = []
    while not isinstance(item := driver.next(20.0), Ended):
        assert isinstance(item, Frame)
        for moment in gather.add(item):
            elapsed_s.append(moment.elapsed_s)
            analysis.decided(moment.frame, 0)
    driver.stop()
    rig.close()
    analysis.close()
    return elapsed_s, read_seconds(run_dir, "replay:p0")


def test_a_recording_played_at_any_speed_has_its_own_times(tmp_path: Path) -> None:
    metadata = {"axes": "TYX", "TimeIncrement": 300, "TimeIncrementUnit": "s"}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((5, 4, 6), np.uint16), metadata=metadata)
    quick, fastest = (played(tmp_path / "a.ome.tif", tmp_path / str(speed), speed) for speed in (50.0, "max"))
    assert quick == fastest == ([0.0, 300.0, 600.0, 900.0, 1200.0], {n: n * 300.0 for n in range(5)})


def test_a_recording_without_times_is_dated_by_its_stamps(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4, 6), np.uint16), photometric="minisblack")
    elapsed_s, seconds = played(tmp_path / "a.tif", tmp_path / "run", 50.0)
    assert 0.03 < elapsed_s[-1] < 20.0
    assert list(seconds.values()) == pytest.approx(elapsed_s)
