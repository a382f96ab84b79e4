"""Small recordings, and a way to play them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from drivers.replay.driver import ReplayDriver
from stream.config import CameraSettings, PlanSettings
from stream.frame import Ended, Frame, Gap

WAIT_S = 20.0


def image(value: int, dtype: Any = np.uint16) -> np.ndarray:
    """An image that says its number in every pixel, 6 by 8."""
    return np.full((6, 8), value, dtype)


def folder(path: Path, names: dict[str, int], dtype: Any = np.uint16) -> Path:
    path.mkdir(exist_ok=True)
    for name, value in names.items():
        tifffile.imwrite(path / name, image(value, dtype))
    return path


@contextmanager
def playing(source: Path, plan: PlanSettings | None = None, **options: Any) -> Iterator[ReplayDriver]:
    driver = ReplayDriver()
    options = {"speed": "max", **options, "source": str(source)}
    driver.open(CameraSettings(driver="replay", options=options), run="r", session="s", first_epoch=3)
    driver.start(plan or PlanSettings())
    try:
        yield driver
    finally:
        driver.stop()


def take(driver: ReplayDriver) -> Frame | Gap | Ended:
    item = driver.next(WAIT_S)
    assert item is not None, "nothing came in time"
    return item


def play(source: Path, plan: PlanSettings | None = None, **options: Any) -> list[Frame | Gap]:
    items: list[Frame | Gap] = []
    with playing(source, plan, **options) as driver:
        while not isinstance(item := take(driver), Ended):
            items.append(item)
    return items


def short(items: list[Frame | Gap]) -> list[Any]:
    """Frames as (number, value of the first pixel), gaps as (reason, missing)."""
    return [(i.frame, int(i.pixels[0, 0])) if isinstance(i, Frame) else (i.reason, i.missing) for i in items]
