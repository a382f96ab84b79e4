"""Protocols: what of a file is used is said, and what is not is an error in one line that names the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stream.config import Configuration, PlanSettings, load
from stream.errors import ConfigError
from stream.examples import folder
from stream.protocol import as_protocol, read_protocol, times_ms
from stream.settings import parse

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt plan": ({"z_plann": {"range": 1}}, "unknown key 'z_plann'; did you mean 'z_plan'?"),
    "a misspelt key": ({"time_plan": {"interval": 1, "loopss": 2}}, "unknown key 'time_plan.loopss'; did you mean"),
    "a misspelt key in a list": (
        {"stage_positions": [{"x": 0, "y": 0, "sequence": {"z_plan": {"rang": 1, "step": 1}}}]},
        "unknown key 'stage_positions.0.sequence.z_plan.rang'; did you mean 'range'?",
    ),
    "a plan that useq would take for another": ({"grid_plan": {"rows": 2}}, "'grid_plan.rows' does not go with"),
    "two plans in one": ({"time_plan": {"interval": 1, "duration": 9, "loops": 2}}, "'time_plan.loops' does not go"),
    "a time that is none": ({"time_plan": {"interval": "x", "loops": 2}}, "'time_plan.interval' input should be"),
    "a key less": ({"z_plan": {"range": 3}}, "'z_plan.step' field required"),
    "no channel": ({"channels": [{"exposure": 1}]}, "'channels.config' field required"),
    "no exposure": ({"channels": [{"config": "a", "exposure": -1}]}, "'channels.exposure' input should be greater"),
    "one time point that lasts": ({"time_plan": {"duration": 1, "loops": 1}}, "'time_plan' cannot be laid out"),
    "time within channels": (
        {"axis_order": "cpt", "channels": ["a"], "time_plan": {"interval": 1, "loops": 2}},
        "'axis_order' cpt: time must come before c",
    ),
    "an axis left out": (
        {"axis_order": "tpc", "z_plan": {"range": 2, "step": 1}},
        "'axis_order' tpc leaves out z, which the protocol plans",
    ),
    "half a place": ({"stage_positions": [{"x": 1}]}, "'stage_positions.0' must name both x and y"),
    "time of a position's own": (
        {"stage_positions": [{"x": 0, "y": 0, "sequence": {"time_plan": {"interval": 1, "loops": 2}}}]},
        "'stage_positions.0.sequence' may have channels, z_plan, grid_plan and autofocus_plan only",
    ),
    "light between time points": ({"keep_shutter_open_across": ["t"]}, "'keep_shutter_open_across' t: light stays"),
    "a round without end": (
        {"channels": [{"config": n, "acquire_every": k} for n, k in (("a", 7), ("b", 11), ("c", 13))]},
        "repeat only after 1001 time points",
    ),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line_that_names_the_key(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        as_protocol(data, "night")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


FILES = {
    "p.yaml": "time_plan: {interval: 1, loops: 3}\nstage_positions: [[1, 2, 3]]\n",
    "p.json": '{"time_plan": {"interval": 1, "loops": 3}, "stage_positions": [[1, 2, 3]]}',
    "p.toml": "stage_positions = [[1, 2, 3]]\n[time_plan]\ninterval = 1\nloops = 3\n",
}


@pytest.mark.parametrize(("name", "text"), FILES.items(), ids=list(FILES))
def test_a_configuration_names_its_protocol_beside_it(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "run.toml").write_text(f'[plan]\nprotocol = "{name}"\n')
    config = load(tmp_path / "run.toml")
    plan = config.plan
    assert plan.protocol is not None
    assert plan.protocol.metadata == {"file": name}
    assert (plan.mode, plan.frames, plan.interval_ms, plan.positions_um) == ("mda", 3, 1000.0, ((1.0, 2.0, 3.0),))
    # What a run writes down holds the protocol itself, and reads as it was.
    assert parse(Configuration, json.loads(config.model_dump_json()), "again") == config


NO_FILE = {
    "missing.yaml": (None, "no such file"),
    "p.yaml": ("a: [", "not YAML"),
    "p.json": ("{", "not JSON"),
    "p.txt": ("", "must end in .yaml, .json or .toml"),
    "list.yaml": ("- 1", "holds list, not the keys"),
}


@pytest.mark.parametrize(("name", "case"), NO_FILE.items(), ids=list(NO_FILE))
def test_a_file_that_is_none_says_so(tmp_path: Path, name: str, case: tuple[str | None, str]) -> None:
    text, said = case
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_protocol(tmp_path / name)


def test_phases_exposures_and_channels_become_the_plan() -> None:
    sequence = {
        "channels": [{"config": "a", "exposure": 5}, "b"],
        "time_plan": [{"interval": 2, "loops": 3}, {"interval": 0, "loops": 3}],
    }
    plan = PlanSettings.model_validate({"protocol": sequence})
    assert plan.protocol is not None
    assert times_ms(plan.protocol) == (0, 2000, 4000, 4000, 4000)
    assert (plan.frames, plan.interval_ms, plan.exposure_ms, plan.channels) == (5, 2000, 5, ("a", "b"))


CONTRADICTIONS = {"frames": 7, "interval_ms": 5.0, "channels": ["b"], "mode": "stream", "exposure_ms": 9.0}


@pytest.mark.parametrize(("key", "value"), CONTRADICTIONS.items(), ids=list(CONTRADICTIONS))
def test_a_plan_that_contradicts_its_protocol_is_an_error(key: str, value: object) -> None:
    protocol = {"channels": [{"config": "a", "exposure": 5}], "time_plan": {"interval": 1, "loops": 3}}
    with pytest.raises(ConfigError, match=f"{key} = .* contradicts the protocol"):
        parse(Configuration, {"plan": {"protocol": protocol, key: value}}, "run.toml")


@pytest.mark.parametrize("path", sorted((folder() / "protocols").glob("*")), ids=lambda path: path.name)
def test_every_shipped_protocol_is_read(path: Path) -> None:
    assert read_protocol(path).time_plan is not None
