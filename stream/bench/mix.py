"""Which commands are sent to measure the loop: a seeded mix of every kind that a rig takes while it runs."""

from __future__ import annotations

import random
from collections.abc import Callable

from stream.command import (
    Action,
    MoveStage,
    Recentre,
    SetChannel,
    SetExposure,
    SetInterval,
    SetLight,
    SetRoi,
)

SLOW = ("set_roi",)
"""Kinds that stop the camera and begin a new epoch; they are counted apart."""
_CHANNELS = {"democam": ("FITC", "DAPI", "Cy5"), "virtual": ("nuclei", "cytoplasm")}
_SLOW_SHARE = 40


def draw(commands: int, seed: int, mode: str, rig: str) -> list[Action]:
    """Return ``commands`` actions in a random order, then one slow one for every 40 of them."""
    chance = random.Random(seed)
    kinds = _kinds(chance, mode, rig)
    mixed = [chance.choice(kinds)() for _ in range(commands)]
    slow: list[Action] = [
        SetRoi(roi_px=(chance.randrange(0, 65, 16), chance.randrange(0, 65, 16), 384, 384))
        for _ in range(max(1, commands // _SLOW_SHARE))
    ]
    return mixed + slow


def _kinds(chance: random.Random, mode: str, rig: str) -> list[Callable[[], Action]]:
    def place() -> tuple[float, float]:
        return (round(chance.uniform(-20, 20), 1), round(chance.uniform(-20, 20), 1))

    def move() -> Action:
        x_um, y_um = place()
        return MoveStage(x_um=x_um, y_um=y_um)

    kinds: list[Callable[[], Action]] = [
        lambda: SetExposure(exposure_ms=round(chance.uniform(10, 20), 1)),
        lambda: Recentre(target_um=place()),
        move,
        lambda: MoveStage(z_um=round(chance.uniform(-5, 5), 1)),
        lambda: SetChannel(channel=chance.choice(_CHANNELS[rig])),
        _light(chance, rig),
    ]
    if mode == "mda" or rig == "virtual":  # DemoCamera has no property that paces it
        kinds.append(lambda: SetInterval(interval_ms=round(chance.uniform(40, 60), 1)))
    return kinds


def _light(chance: random.Random, rig: str) -> Callable[[], Action]:
    if rig == "virtual":
        return lambda: SetLight(power=round(chance.uniform(0.1, 0.9), 2))
    return lambda: SetLight(on=chance.random() < 0.5)
