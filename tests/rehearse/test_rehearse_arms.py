"""The arms of a rehearsal: what changes between them, and for a rig that is not virtual."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.config import Configuration, load
from stream.errors import ConfigError
from stream.rehearse.arms import ARMS, arm, interval_of_same_dose, on_the_virtual_microscope
from stream.settings import parse

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


def test_arms_differ_in_policies_and_interval_only() -> None:
    config = load(EXAMPLES / "catch_mitosis.toml")
    made = {name: arm(config, name, 3, Path("out"), 700.0 if name == "fixed" else None) for name in ARMS}
    assert {name: one.feedback.policies for name, one in made.items()} == {
        "policy": config.feedback.policies, "without": (), "fixed": (),
    }  # fmt: skip
    assert [made[name].plan.interval_ms for name in ARMS] == [1500.0, 1500.0, 700.0]
    assert {one.camera.options["seed"] for one in made.values()} == {3}
    for one in made.values():
        assert (one.limits, one.dose, one.chain) == (config.limits, config.dose, config.chain)


def test_another_rig_keeps_its_plan_limits_and_policies_and_says_what_changed() -> None:
    config = load(EXAMPLES / "rig.toml")
    moved, changes = on_the_virtual_microscope(config)
    assert moved.camera.driver == "virtual"
    assert (moved.limits, moved.dose, moved.feedback) == (config.limits, config.dose, config.feedback)
    assert moved.plan.interval_ms == config.plan.interval_ms
    assert any("rehearsed on the virtual microscope" in change for change in changes)


def test_channels_of_another_rig_are_the_virtual_ones_in_order() -> None:
    data = {
        "camera": {"driver": "micromanager"},
        "plan": {"mode": "mda", "channels": ["DAPI", "FITC", "Cy5"]},
        "chain": {"segment_channel": "FITC", "measure_channels": ["DAPI", "Cy5"]},
        "rehearse": {"options": {"cells": 5}},
    }
    moved, changes = on_the_virtual_microscope(parse(Configuration, data, "c"))
    assert moved.plan.channels == ("nuclei", "cytoplasm")
    assert (moved.chain.segment_channel, moved.chain.measure_channels) == ("cytoplasm", ("nuclei",))
    assert moved.camera.options == {"cells": 5}
    assert "DAPI as nuclei, FITC as cytoplasm, Cy5 as nothing" in changes[-1]


def test_positions_beyond_the_specimen_are_named() -> None:
    data = {"camera": {"options": {"fields": 1, "size_px": [100, 100], "pixel_um": 1.0}},
            "plan": {"mode": "mda", "positions_um": [[0, 0, 0], [60, 0, 0]]}}  # fmt: skip
    _, changes = on_the_virtual_microscope(parse(Configuration, data, "c"))
    assert len(changes) == 1
    assert "(± 50 x 50 µm) ends: [(60.0, 0.0)]" in changes[0]


def test_a_protocol_keeps_everything_but_its_pace() -> None:
    protocol = {
        "stage_positions": [[0, 0, 0], [100, 0, 0]],
        "z_plan": {"range": 2, "step": 1},
        "time_plan": {"interval": 2, "loops": 30},
    }
    config = parse(Configuration, {"plan": {"protocol": protocol}}, "c")
    plan = arm(config, "fixed", 0, Path("out"), 500.0).plan
    assert plan.protocol is not None
    assert (plan.interval_ms, plan.positions_um) == (500.0, config.plan.positions_um)
    times = sorted({event.min_start_time for event in plan.protocol})
    assert times[:3] == [0.0, 0.5, 1.0]
    assert times[-1] >= 58.0
    assert len(list(plan.protocol)) == 2 * 3 * len(times)


def test_a_virtual_rig_is_rehearsed_as_it_is() -> None:
    config = load(EXAMPLES / "virtual.toml")
    assert on_the_virtual_microscope(config) == (config, [])


def test_the_same_dose_is_spent_at_a_steady_interval() -> None:
    policy, without = {"light_ms": 300.0}, {"light_ms": 100.0, "points": 10}
    assert interval_of_same_dose(policy, without, 15.0) == pytest.approx(500.0)  # 30 time points in 15 s


def test_no_light_has_no_interval() -> None:
    with pytest.raises(ConfigError, match="spent no light"):
        interval_of_same_dose({"light_ms": 0.0}, {"light_ms": 1.0, "points": 1}, 1.0)
