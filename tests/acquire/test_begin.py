"""Tests of the camera's start: a stop that comes first keeps the light off."""

from __future__ import annotations

import pytest

from drivers.virtual.driver import VirtualDriver
from stream.acquire.begin import Beginning
from stream.command import Action, Command, Pause, Stop
from stream.config import CameraSettings, PlanSettings
from stream.errors import Refused
from stream.frame import Ended


def command(action: Action) -> Command:
    return Command(command_id=f"{action.kind}/1", action=action, issued_wall_ns=1)


@pytest.fixture
def driver() -> VirtualDriver:
    return VirtualDriver()


def test_a_stop_before_the_start_calls_it_off(driver: VirtualDriver) -> None:
    driver.open(CameraSettings(options={"size_px": [64, 64], "cells": 2}), run="r", session="s")
    try:
        beginning = Beginning(driver)
        with pytest.raises(Refused, match="has not begun"):
            beginning.apply(command(Pause()))
        assert not beginning.called_off.is_set()
        assert not beginning.apply(command(Stop())).takes_frame
        assert not beginning.begin(PlanSettings())
        assert driver.next(0.0) is None
    finally:
        driver.stop()


def test_a_stop_after_the_start_is_the_drivers(driver: VirtualDriver) -> None:
    driver.open(CameraSettings(options={"size_px": [64, 64], "cells": 2}), run="r", session="s")
    try:
        beginning = Beginning(driver)
        assert beginning.begin(PlanSettings(interval_ms=20))
        beginning.apply(command(Stop()))
        item = driver.next(5)
        while not isinstance(item, Ended):
            item = driver.next(5)
        assert not beginning.called_off.is_set()
    finally:
        driver.stop()
