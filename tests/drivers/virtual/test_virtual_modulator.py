"""Chosen cells are lit through the virtual microscope's modulator: those, no others, and where they were seen."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.virtual.driver import VirtualDriver
from stream.command import Action, Cause, Command, MoveStage, SetRoi, Stimulate
from stream.config import CameraSettings, PlanSettings
from stream.errors import Refused
from stream.frame import Frame

OPTIONS: dict[str, Any] = {"cells": 30, "fields": 2, "size_px": [256, 256], "seed": 11, "activation_s": 0.03}
PLAN = PlanSettings(mode="stream", interval_ms=40.0, exposure_ms=10.0, channels=("cytoplasm",))
BOX = ((60, 50), (60, 150), (160, 150), (160, 50))
Start = Callable[..., VirtualDriver]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Open and start a driver; its truth is in ``tmp_path``."""
    running = []

    def begin(plan: PlanSettings = PLAN, **options: Any) -> VirtualDriver:
        driver = VirtualDriver()
        running.append(driver)
        merged = {**OPTIONS, "truth_dir": str(tmp_path), **options}
        driver.open(CameraSettings(driver="virtual", options=merged), run="r", session="s")
        driver.start(plan)
        return driver

    yield begin
    for driver in running:
        driver.stop()


def until(driver: VirtualDriver, wanted: Callable[[Frame], bool]) -> Frame:
    for _ in range(200):
        item = driver.next(20.0)
        assert isinstance(item, Frame), item
        if wanted(item):
            return item
    raise AssertionError("the frame never came")


def command(action: Action, frame: Frame | None) -> Command:
    return Command(
        command_id=action.kind, action=action, cause=Cause(frame=frame.ref if frame else None), issued_wall_ns=0
    )


def told(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "specimen.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def in_box(frame: Frame, lines: list[dict[str, Any]], box: Any = BOX) -> list[bool]:
    places = frame.to_image_px(np.array([(line["x_um"], line["y_um"]) for line in lines]))
    low, high = np.min(box, axis=0) - 2.0, np.max(box, axis=0) + 2.0
    inside: list[bool] = ((places > low) & (places < high)).all(axis=1).tolist()
    return inside


def test_lit_cells_shine_for_a_while_and_the_camera_goes_on(start: Start, tmp_path: Path) -> None:
    driver = start()
    before = until(driver, lambda frame: frame.frame == 2)
    readback = driver.apply(command(Stimulate(mask_yx_px=(BOX,), duration_ms=90.0), before))
    assert dict(readback.values) == {"lit_px": 100 * 100, "duration_ms": 90.0, "slm": "Modulator"}
    after = until(driver, lambda frame: "stimulate" in frame.commands)
    assert after.epoch == 0
    assert after.frame > before.frame + 1
    driver.stop()
    lines = told(tmp_path, "stimulated")
    assert lines
    assert all(in_box(before, lines))
    doses = {line["cell"]: line["dose_s"] for line in lines}
    # Beside the modulator's 90 ms there are the camera's own 5 ms for each frame so far.
    assert max(doses.values()) == pytest.approx(0.09, abs=0.005 * 6)
    box = np.s_[60:160, 50:150]
    gained = after.pixels[box].astype(float) - before.pixels[box]
    assert gained.mean() > 0.3 * (before.pixels[box].mean() - 100.0)
    assert abs(after.pixels[:, 175:].astype(float) - before.pixels[:, 175:]).mean() < 0.2 * gained.mean()


def test_nuclei_do_not_show_it(start: Start) -> None:
    driver = start(PLAN.model_copy(update={"channels": ("nuclei",)}))
    before = until(driver, lambda frame: frame.frame == 1)
    driver.apply(command(Stimulate(mask_yx_px=(BOX,), duration_ms=90.0), before))
    after = until(driver, lambda frame: "stimulate" in frame.commands)
    assert after.pixels.mean() == pytest.approx(before.pixels.mean(), rel=0.02)


def test_in_mda_mode_the_light_falls_where_the_frame_was_taken(start: Start, tmp_path: Path) -> None:
    places = ((-80.0, 0.0, 0.0), (80.0, 40.0, 0.0))
    driver = start(PLAN.model_copy(update={"mode": "mda", "positions_um": places, "interval_ms": 200.0}))
    seen = until(driver, lambda frame: frame.index.p == 0)
    until(driver, lambda frame: frame.index.p == 1)
    driver.apply(command(Stimulate(mask_yx_px=(BOX,), duration_ms=50.0), seen))
    after = until(driver, lambda frame: "stimulate" in frame.commands)
    assert after.stage_um[:2] in [place[:2] for place in places]
    driver.stop()
    lines = told(tmp_path, "stimulated")
    assert lines
    assert all(in_box(seen, lines))


def test_a_mask_is_in_pixels_of_its_roi(start: Start, tmp_path: Path) -> None:
    driver = start()
    driver.apply(command(SetRoi(roi_px=(96, 80, 128, 128)), None))
    seen = until(driver, lambda frame: frame.epoch == 1)
    box = ((20, 10), (20, 100), (110, 100), (110, 10))
    driver.apply(command(Stimulate(mask_yx_px=(box,), duration_ms=50.0), seen))
    until(driver, lambda frame: "stimulate" in frame.commands)
    driver.stop()
    lines = told(tmp_path, "stimulated")
    assert lines
    assert all(in_box(seen, lines, box))


@pytest.mark.parametrize(
    ("mask", "between", "words"),
    [
        ((BOX,), SetRoi(roi_px=(0, 0, 200, 200)), r"drawn on ROI \(0, 0, 256, 256\)"),
        ((BOX,), MoveStage(x_um=30.0), r"drawn at \(0.0, 0.0\) µm; the stage is at \(30.0, 0.0\) µm by now"),
        ((((10, 10), (10, 300), (50, 50)),), None, "outside the image of 256 x 256 pixels"),
        ((((10, 10), (10, 20)),), None, "at least 3 vertices"),
        ((), None, "no polygon"),
    ],
    ids=["another roi", "another place", "outside", "a line", "nothing"],
)
def test_a_mask_that_no_longer_fits_is_refused(
    start: Start, tmp_path: Path, mask: Any, between: Any, words: str
) -> None:
    driver = start()
    seen = until(driver, lambda frame: frame.frame == 1)
    if between is not None:
        driver.apply(command(between, None))
    with pytest.raises(Refused, match=words):
        driver.apply(command(Stimulate(mask_yx_px=mask, duration_ms=50.0), seen))
    driver.stop()
    assert not told(tmp_path, "stimulated")


def test_a_frame_of_another_start_is_refused(start: Start) -> None:
    driver = start()
    seen = until(driver, lambda frame: frame.frame == 1)
    foreign = command(Stimulate(mask_yx_px=(BOX,), duration_ms=50.0), seen).model_dump()
    foreign["cause"]["frame"]["session"] = "another"
    with pytest.raises(Refused, match="is not known here any more"):
        driver.apply(Command.model_validate(foreign))
