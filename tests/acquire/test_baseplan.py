"""The way back to the plan: what feedback changed, and no more."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from stream import command as c
from stream.acquire.baseplan import BasePlan
from stream.config import PlanSettings
from stream.frame import Frame, Index, field_name

PROTOCOL = {
    "channels": [{"config": "DAPI", "exposure": 20}, {"config": "FITC", "exposure": 50}],
    "stage_positions": [[0, 0, 5], [100, 0, 6], [200, 0, 7]],
    "time_plan": {"interval": 60, "loops": 100},
}


def command(action: c.Action, origin: str = "policy", **target: Any) -> c.Command:
    cause = c.Cause(origin=origin)
    return c.Command(command_id="x", action=action, issued_wall_ns=0, cause=cause, target=c.Target(**target))


def base_of(plan: dict[str, Any] | None = None) -> BasePlan:
    base = BasePlan(PlanSettings.model_validate({"protocol": PROTOCOL} if plan is None else plan))
    pixels = np.zeros((4, 4), np.uint16)
    for p in range(3):
        base.took(
            Frame("r", "Cam", "s", 0, p, field_name("Cam", p), 0, pixels, Index(p=p), stage_um=(1.0, float(p), 5.5))
        )
    return base


def step(action: c.Action, **target: Any) -> tuple[c.Action, c.Target]:
    return action, c.Target(**target)


CHANGES: dict[str, tuple[list[tuple[c.Action, dict[str, Any], dict[str, Any]]], list[tuple[c.Action, c.Target]]]] = {
    "a position's own schedule": (
        [(c.SetInterval(interval_ms=100), {"position": 1}, {})],
        [step(c.SetInterval(), position=1)],
    ),
    "the plan's interval": ([(c.SetInterval(interval_ms=100), {}, {})], [step(c.SetInterval())]),
    "a channel's exposure": (
        [(c.SetExposure(exposure_ms=1), {"channel": "FITC"}, {})],
        [step(c.SetExposure(exposure_ms=50), channel="FITC")],
    ),
    "a position's exposure": (
        [(c.SetExposure(exposure_ms=1), {"position": 2}, {})],
        [
            step(c.SetExposure(exposure_ms=20), position=2, channel="DAPI"),
            step(c.SetExposure(exposure_ms=50), position=2, channel="FITC"),
        ],
    ),
    "every exposure": (
        [(c.SetExposure(exposure_ms=1), {}, {})],
        [step(c.SetExposure(exposure_ms=20), channel="DAPI"), step(c.SetExposure(exposure_ms=50), channel="FITC")],
    ),
    "a position that follows a cell": (
        [(c.Recentre(target_um=(3, 4)), {"position": 2}, {})],
        [step(c.MoveStage(x_um=200, y_um=0), position=2)],
    ),
    "a position that was focused": (
        [(c.MoveStage(z_um=9), {"position": 1}, {}), (c.MoveStage(x_um=9), {"position": 1}, {})],
        [step(c.MoveStage(x_um=100, y_um=0, z_um=6), position=1)],
    ),
    "a position more": ([(c.AddPosition(x_um=1, y_um=2), {}, {"position": 3})], [step(c.DropPosition(), position=3)]),
    "a position more that moved": (
        [
            (c.AddPosition(x_um=1, y_um=2), {}, {"position": 3}),
            (c.MoveStage(x_um=9), {"position": 3}, {}),
        ],
        [step(c.DropPosition(), position=3)],
    ),
    "a position more that went again": (
        [(c.AddPosition(x_um=1, y_um=2), {}, {"position": 3}), (c.DropPosition(), {"position": 3}, {"position": 3})],
        [],
    ),
    "a position less": (
        [(c.DropPosition(), {"position": 1}, {"position": 1})],
        [step(c.AddPosition(x_um=100, y_um=0, z_um=6), position=1)],
    ),
    "a position less that came back": (
        [
            (c.DropPosition(), {"position": 1}, {"position": 1}),
            (c.AddPosition(x_um=100, y_um=0), {"position": 1}, {"position": 1}),
        ],
        [],
    ),
    "what waits beside the plan goes first, frames come last": (
        [
            (c.Pause(), {}, {}),
            (c.SetInterval(interval_ms=9), {"position": 0}, {}),
            (c.Acquire.model_validate({"sequence": {"time_plan": {"interval": 0, "loops": 3}}}), {}, {}),
        ],
        [step(c.Cancel()), step(c.SetInterval(), position=0), step(c.Resume())],
    ),
}


@pytest.mark.parametrize(("changes", "back"), CHANGES.values(), ids=CHANGES)
def test_what_feedback_changed_is_undone_once(changes: Any, back: Any) -> None:
    base = base_of()
    for action, target, values in changes:
        base.changed(command(action, **target), values)
    assert [tuple(way) for way in base.way_back()] == back
    for action, target in back:
        base.restored(command(action, origin="rig", **target.model_dump()))
    assert base.way_back() == []


def test_an_operators_word_is_the_plan() -> None:
    base = base_of()
    base.changed(command(c.SetInterval(interval_ms=5), position=1))
    base.ordered(command(c.SetInterval(interval_ms=7), "operator", position=1))
    base.changed(command(c.DropPosition(), position=2), {"position": 2})
    base.ordered(command(c.AddPosition(x_um=0, y_um=0), "operator", position=2), {"position": 2})
    base.ordered(command(c.DropPosition(), "operator", position=0), {"position": 0})
    assert base.way_back() == []
    base.changed(command(c.SetInterval(interval_ms=5), position=1))
    assert base.way_back() == [(c.SetInterval(interval_ms=7), c.Target(position=1))]


def test_without_places_in_the_plan_the_first_frames_say_where_it_was() -> None:
    base = base_of({"mode": "mda", "interval_ms": 500})
    base.changed(command(c.MoveStage(x_um=50)))
    base.changed(command(c.SetInterval(interval_ms=5)))
    assert [way.action for way in base.way_back()] == [
        c.SetInterval(interval_ms=500),
        c.MoveStage(x_um=1, y_um=0),
    ]


def test_a_pause_of_feedback_is_undone_though_an_operator_paused_before() -> None:
    base = base_of()
    for action in (c.Pause(), c.Resume()):
        base.ordered(command(action, "operator"))
    base.changed(command(c.Pause()))
    assert [way.action for way in base.way_back()] == [c.Resume()]


def test_the_pixels_of_first_frames_are_not_kept() -> None:
    base, pixels = base_of(), np.zeros((4, 4), np.uint16)
    frame = Frame("r", "Cam", "s", 0, 9, field_name("Cam", 9), 0, pixels, Index(p=9))
    base.took(frame)
    kept = weakref.ref(frame.pixels)
    del frame, pixels
    gc.collect()
    assert kept() is None
