"""Each fault of the night does what its name says, and its truth stays exact."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from drivers.virtual.cycle import Phase
from drivers.virtual.driver import VirtualDriver
from drivers.virtual.microscope import Microscope, View
from drivers.virtual.options import VirtualOptions
from stream.command import Action, Command, MoveStage
from stream.config import CameraSettings, PlanSettings
from stream.errors import ConfigError, DriverError
from stream.frame import Ended, Frame, Gap
from stream.settings import parse

SMALL: dict[str, Any] = {"cells": 20, "fields": 2, "size_px": [200, 160], "seed": 5, "deaths_per_day": 0.0}
VIEW = View((0.0, 0.0, 0.0), (0, 0, 200, 160), 1, 20.0, 1000.0, 0.5, "nuclei", "16bit")
PLAN = PlanSettings(mode="stream", interval_ms=30.0, exposure_ms=10.0, light_power=0.5)
Fault = dict[str, Any]
Start = Callable[..., VirtualDriver]


def microscope(*faults: Fault, **options: Any) -> Microscope:
    return Microscope(parse(VirtualOptions, {**SMALL, "faults": faults, **options}, "options"), tells=True)


def shots(scope: Microscope, count: int, view: View = VIEW) -> list[NDArray[np.float64]]:
    """Take pictures one camera second apart."""
    taken = []
    for _ in range(count):
        taken.append(scope.expose(view).pixels.astype(float))
        scope.pass_by(view)
    return taken


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Open and start a driver with faults; its truth is in ``tmp_path``."""
    running = []

    def begin(*faults: Fault, plan: PlanSettings = PLAN, **options: Any) -> VirtualDriver:
        driver = VirtualDriver()
        running.append(driver)
        merged = {**SMALL, "faults": faults, "truth_dir": str(tmp_path), **options}
        driver.open(CameraSettings(driver="virtual", options=merged), run="r", session="s")
        driver.start(plan)
        return driver

    yield begin
    for driver in running:
        driver.stop()


def items(driver: VirtualDriver, until: Callable[[list[Any]], bool]) -> list[Any]:
    """Take what comes until it is enough."""
    taken: list[Any] = []
    for _ in range(400):
        item = driver.next(20.0)
        assert item is not None, f"nothing came after {taken[-2:]}"
        taken.append(item)
        if until(taken):
            return taken
    raise AssertionError(f"it never came; last seen: {taken[-3:]}")


def frames_of(taken: list[Any]) -> list[Frame]:
    return [item for item in taken if isinstance(item, Frame)]


def move(x_um: float, y_um: float = 0.0) -> Command:
    action: Action = MoveStage(x_um=x_um, y_um=y_um)
    return Command(command_id=f"to {x_um}", action=action, issued_wall_ns=0)


def told(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "stage_drfit"}, "unknown fault 'stage_drfit'; did you mean 'stage_drift'"),
        ({"kind": "stage_drift", "um_per_mn": [1, 0]}, "unknown key 'um_per_mn' .* did you mean 'um_per_min'"),
        ({"kind": "dead_pixels", "fraction": 2.0}, "fraction.*less than or equal to 1"),
        ({"at_s": 3}, "unknown fault None; known: stage_drift"),
    ],
    ids=["kind", "key", "value", "nothing"],
)
def test_a_fault_that_cannot_be_meant_names_the_nearest(fault: Fault, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        microscope(fault)


@pytest.mark.parametrize(
    ("fault", "dx_px", "dy_px"),
    [
        ({"kind": "stage_drift", "at_s": 1, "um_per_min": [390, 0]}, (0, 0, 10, 20), (0, 0, 0, 0)),
        ({"kind": "stage_drift", "at_s": 0, "for_s": 2, "um_per_min": [0, -195]}, (0, 0, 0, 0), (0, -5, -10, -10)),
    ],
    ids=["begins late", "ends and stays"],
)
def test_drift_shifts_the_pixels_and_not_what_the_stage_says(
    fault: Fault, dx_px: tuple[int, ...], dy_px: tuple[int, ...]
) -> None:
    life = {"minutes_per_second": 1e-6, "bleach_s": 1e6}
    drifting, still = microscope(fault, **life), microscope(**life)
    for number, image in enumerate(shots(drifting, 4)):
        moved = replace(VIEW, stage_um=(dx_px[number] * 0.65, dy_px[number] * 0.65, 0.0))
        np.testing.assert_array_equal(image, still.expose(moved).pixels)
        still.pass_by(moved)


def off_by_px(frame: Frame, folder: Path) -> tuple[int, int]:
    """How far the masks of a frame must be shifted, (y, x), to lie on the brightest pixels."""
    labels = tifffile.imread(folder / f"man_track{frame.frame:03d}.tif") > 0
    image = np.minimum(frame.pixels.astype(float), np.percentile(frame.pixels, 98))
    shifts = [(dy, dx) for dy in range(-8, 9) for dx in range(-8, 9)]
    return max(shifts, key=lambda shift: float((image * np.roll(labels, shift, (0, 1))).sum()))


@pytest.mark.parametrize(
    "faults",
    [
        ({"kind": "stage_drift", "um_per_min": [900, 600]},),
        ({"kind": "stage_backlash", "um": 8.0},),
        ({"kind": "dead_pixels", "fraction": 0.01}, {"kind": "hot_pixels", "fraction": 0.001}),
    ],
    ids=["drift", "backlash", "wrong pixels"],
)
def test_masks_lie_where_the_light_truly_fell(start: Start, tmp_path: Path, faults: tuple[Fault, ...]) -> None:
    driver = start(*faults)
    items(driver, lambda taken: len(taken) == 2)
    driver.apply(move(20.0, 10.0))
    shown = items(driver, lambda taken: "to 20.0" in getattr(taken[-1], "commands", ()))[-1]
    last = items(driver, lambda taken: len(taken) == 8)[-1]
    driver.stop()
    assert shown.stage_um == last.stage_um == (20.0, 10.0, 0.0)
    assert max(map(abs, off_by_px(last, tmp_path))) <= 1


def test_the_truth_of_a_drift_is_told(start: Start, tmp_path: Path) -> None:
    driver = start({"kind": "stage_drift", "at_s": 0.1, "um_per_min": [900, 600]})
    taken = frames_of(items(driver, lambda taken: len(taken) == 14))
    driver.stop()
    assert {frame.stage_um for frame in taken} == {(0.0, 0.0, 0.0)}
    lines = [json.loads(line) for line in (tmp_path / "specimen.jsonl").read_text().splitlines()]
    edges = {line["exposure"]: line["x_um"][0] for line in lines if line["kind"] == "frame"}
    offsets = {line["exposure"]: line["offset_um"][0] for line in told(tmp_path, "stage_drift")}
    last = max(edges)
    assert offsets[last] > 3.0
    assert edges[last] - edges[0] == pytest.approx(offsets[last], abs=0.01)


def test_backlash_loses_its_way_at_each_turn(start: Start, tmp_path: Path) -> None:
    driver = start({"kind": "stage_backlash", "um": 6.0})
    items(driver, lambda taken: len(taken) == 2)
    truly = []
    for x_um in (20.0, 40.0, 20.0, 0.0, 20.0):
        driver.apply(move(x_um))
        shown = items(driver, lambda taken, name=f"to {x_um}": name in getattr(taken[-1], "commands", ()))[-1]  # type: ignore[misc]
        assert shown.stage_um[0] == x_um
        truly.append(shown.frame)
    driver.stop()
    lines = [json.loads(line) for line in (tmp_path / "specimen.jsonl").read_text().splitlines()]
    middle = {line["frame"]: sum(line["x_um"]) / 2 for line in lines if line["kind"] == "frame"}
    assert [middle[frame] for frame in truly] == pytest.approx([17.0, 37.0, 23.0, 3.0, 17.0], abs=0.01)


def test_focus_drift_blurs() -> None:
    images = shots(microscope({"kind": "focus_drift", "at_s": 1, "um_per_min": 600}), 4)
    sharpness = [np.abs(np.diff(image, axis=1)).mean() for image in images]
    assert sharpness[1] > 1.1 * sharpness[2] > 1.1 * sharpness[3]


@pytest.mark.parametrize(
    ("fault", "sign"),
    [({"kind": "bubbles", "per_min": 120, "speed_um_s": 20}, -1),
     ({"kind": "debris", "per_min": 120, "contrast": 3.0}, 1),
     ({"kind": "debris", "per_min": 120, "contrast": -1.0}, -1)],
    ids=["bubbles", "bright", "dark"],
)  # fmt: skip
def test_dirt_floats_through_the_field(fault: Fault, sign: int) -> None:
    life: dict[str, Any] = {"minutes_per_second": 1e-6, "read_noise_e": 0.1, "background": 1.0}
    clean, dirty = microscope(**life), microscope(fault, **life)
    changed = []
    for image, soiled in zip(shots(clean, 20), shots(dirty, 20), strict=True):
        changed.append(np.argwhere(sign * (soiled - image) > 50.0))
    seen = [places.mean(axis=0) for places in changed if len(places)]
    assert len(seen) > 5
    assert max(np.hypot(*(a - b)) for a, b in pairwise(seen)) > 2.0


def test_wrong_pixels_stay_where_they_are_on_the_sensor() -> None:
    faults = ({"kind": "dead_pixels", "fraction": 0.001}, {"kind": "hot_pixels", "fraction": 0.001, "at_s": 1})
    clean, broken = microscope(background=1.0), microscope(*faults, background=1.0)
    good, bad = shots(clean, 3), shots(broken, 3)
    dead = [set(zip(*np.nonzero(b - a < -50), strict=True)) for a, b in zip(good, bad, strict=True)]
    hot = [set(zip(*np.nonzero(b - a > 500), strict=True)) for a, b in zip(good, bad, strict=True)]
    assert 28 <= len(dead[0]) <= 32
    assert dead[0] - hot[1] == dead[1] - hot[1] == dead[2] - hot[1]
    assert not hot[0]
    assert len(hot[1]) == 32
    assert hot[1] == hot[2]
    part = replace(VIEW, roi_px=(50, 40, 100, 80))
    # An ROI reads the same pixels: what is hot in it is hot there.
    seen = shots(broken, 1, part)[0] - shots(clean, 1, part)[0]
    assert {(y + 40, x + 50) for y, x in zip(*np.nonzero(seen > 500), strict=True)} == {
        (y, x) for y, x in hot[1] if 40 <= y < 120 and 50 <= x < 150
    }


def test_the_lamp_flickers_and_fades_and_the_cells_get_that_light() -> None:
    faults = ({"kind": "lamp_flicker", "rms": 0.2, "for_s": 20}, {"kind": "lamp_decay", "at_s": 20, "half_life_min": 1})
    scope = microscope(*faults, minutes_per_second=1e-6, bleach_s=1e6)
    levels = np.array([image.mean() - 100.0 for image in shots(scope, 81)])
    steady = shots(microscope(minutes_per_second=1e-6, bleach_s=1e6), 1)[0].mean() - 100.0
    assert levels[:20].std() / steady == pytest.approx(0.2, rel=0.5)
    assert levels[80] == pytest.approx(steady / 2, rel=0.03)
    scope.rest()
    doses = scope.specimen.cells["dose_s"]
    assert doses.max() == pytest.approx(0.01 * levels.sum() / steady, rel=0.02)


def test_the_temperature_slows_all_life() -> None:
    warm, cold = (
        microscope(*faults, cycle_min=200.0, minutes_per_second=60.0)
        for faults in ((), ({"kind": "temperature_drop", "pace": 0.0},))
    )
    for scope in (warm, cold):
        shots(scope, 3)
        scope.rest()
    assert len(warm.specimen.cells) > len(
        Microscope(parse(VirtualOptions, {**SMALL, "cycle_min": 200.0}, "")).specimen.cells
    )
    assert not [turn for turn in cold.expose(VIEW).turns if turn.kind == "divided"]


def test_cells_come_off_and_are_told() -> None:
    scope = microscope({"kind": "cells_leave", "at_s": 1, "fraction": 0.5, "flow_um_min": [5, 0]})
    events: list[dict[str, Any]] = []
    scope.night.listener = events.append
    before = {int(cell["id"]): float(cell["x"]) for cell in scope.specimen.cells}
    turns, going = [], {}
    for _ in range(7):
        shot = scope.expose(VIEW)
        turns += shot.turns
        assert shot.cells is not None
        going |= {int(c["id"]): float(c["x"]) for c in shot.cells[shot.cells["phase"] == Phase.LEAVING]}
        scope.pass_by(VIEW)
    left = [turn for turn in turns if turn.kind == "left"]
    assert events[0]["cells"] == len(left) == len([turn for turn in turns if turn.kind == "leaving"])
    assert 0.35 < len(left) / len(before) < 0.65
    afar = [going[cell] - before[cell] for cell in going if before[cell] < 0]
    assert min(afar) > 40.0
    assert not {turn.cell for turn in left} & set(scope.specimen.cells["id"].tolist())


@pytest.mark.parametrize("silent", [False, True], ids=["told", "silent"])
def test_dropped_frames_are_gaps_where_the_camera_numbers_them(start: Start, tmp_path: Path, silent: bool) -> None:
    driver = start({"kind": "dropped_frames", "fraction": 0.3, "silent": silent, "at_s": 0.05})
    taken = items(driver, lambda taken: len(frames_of(taken)) == 25)
    driver.stop()
    exposures = [int(frame.metadata["VirtualFrame"]) for frame in frames_of(taken)]
    lost = exposures[-1] - exposures[0] + 1 - len(exposures)
    missing = sum(item.missing for item in taken if isinstance(item, Gap) and item.reason == "overflow")
    assert lost > 0
    assert missing == (0 if silent else lost)
    assert not any("skip" in key.lower() for frame in frames_of(taken) for key in frame.metadata)
    assert len({line["exposure"] for line in told(tmp_path, "dropped_frames")} & set(exposures)) == 0
    for frame in frames_of(taken)[-3:]:
        labels = tifffile.imread(tmp_path / f"man_track{frame.frame:03d}.tif")
        assert frame.pixels[labels > 0].mean() > 2 * frame.pixels[labels == 0].mean()


def test_a_slow_stage_is_exposed_on_its_way(start: Start, tmp_path: Path) -> None:
    driver = start({"kind": "slow_stage", "takes_ms": 400})
    items(driver, lambda taken: len(taken) == 3)
    readback = driver.apply(move(30.0))
    assert readback.values["stage_um"][0] == 30.0
    assert readback.device_ms > 390.0
    taken = frames_of(items(driver, lambda taken: "to 30.0" in getattr(taken[-1], "commands", ())))
    assert any(frame.metadata.get("stage_moving") for frame in taken)
    driver.stop()
    lines = [json.loads(line) for line in (tmp_path / "specimen.jsonl").read_text().splitlines()]
    middles = [sum(line["x_um"]) / 2 for line in lines if line["kind"] == "frame"]
    assert any(5.0 < middle < 25.0 for middle in middles)


@pytest.mark.parametrize(
    ("how", "words"), [("raises", "does not answer"), ("stops_short", "was asked and it stands at")]
)
def test_a_refusing_stage_is_found_out(start: Start, tmp_path: Path, how: str, words: str) -> None:
    driver = start({"kind": "refusing_stage", "how": how})
    items(driver, lambda taken: len(taken) == 2)
    with pytest.raises(DriverError, match=words):
        driver.apply(move(30.0))
    after = frames_of(items(driver, lambda taken: len(taken) == 8))[-1]
    assert after.stage_um[0] == (0.0 if how == "raises" else 25.0)
    driver.stop()
    assert told(tmp_path, "refusing_stage")[0]["asked_um"] == [30.0, 0.0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("how", ["stops", "raises"])
def test_a_camera_that_dies_once_is_started_again(start: Start, tmp_path: Path, how: str) -> None:
    driver = start({"kind": "camera_dies", "at_s": 0.12, "for_s": 0.01, "how": how})
    taken = items(driver, lambda taken: any(frame.epoch == 1 for frame in frames_of(taken)))
    assert [item.reason for item in taken if isinstance(item, Gap)] == ["restart"]
    driver.stop()
    assert told(tmp_path, "camera_dies")[0]["exposure"] == 4


def test_a_camera_that_stays_dead_ends_the_run(start: Start) -> None:
    driver = start({"kind": "camera_dies", "at_s": 0.1}, restart_limit=2, backoff_ms=5)
    taken = items(driver, lambda taken: isinstance(taken[-1], Ended))
    assert "more than 2 times" in taken[-1].reason
    assert len(frames_of(taken)) == 4


def test_a_camera_that_hangs_is_given_up_and_started_again(start: Start) -> None:
    driver = start({"kind": "camera_hangs", "at_s": 0.1, "for_s": 0.5}, stall_s=0.2, backoff_ms=5)
    taken = items(driver, lambda taken: any(frame.epoch > 0 for frame in frames_of(taken)))
    gaps = [item for item in taken if isinstance(item, Gap)]
    assert gaps
    assert "no image for" in gaps[0].detail


@pytest.mark.parametrize(
    ("fault", "end"),
    [({"kind": "camera_dies", "at_s": 0.1, "for_s": 0.2}, None),
     ({"kind": "camera_hangs", "at_s": 0.1, "for_s": 1.5}, "the camera has hung")],
    ids=["dies", "hangs"],
)  # fmt: skip
def test_a_single_image_that_never_comes_is_a_gap(start: Start, fault: Fault, end: str | None) -> None:
    driver = start(fault, plan=PLAN.model_copy(update={"mode": "mda", "frames": 20}), snap_timeout_ms=300)
    taken = items(driver, lambda taken: isinstance(taken[-1], Ended))
    assert {item.reason for item in taken if isinstance(item, Gap)} == {"snap_failed"}
    assert len(frames_of(taken)) >= 2
    assert (end or "plan complete") in taken[-1].reason


def test_the_same_night_again_is_the_same() -> None:
    night = [
        {"kind": "stage_drift", "um_per_min": [30, 10]},
        {"kind": "lamp_flicker"},
        {"kind": "debris", "per_min": 60},
        {"kind": "hot_pixels"},
    ]
    one, other = shots(microscope(*night), 6), shots(microscope(*night), 6)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[5], shots(microscope(*night, seed=6), 6)[5])
