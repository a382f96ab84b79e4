"""What the doctor says of a configuration: what would stop it, what is missing, what feedback may."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stream.config import Configuration
from stream.doctor import advice, permissions, schedule
from stream.doctor.policies import describe
from stream.doctor.words import in_words
from stream.settings import parse
from stream.wire.ports import outgoing

CAMERA: dict[str, Any] = {
    "commands": ("set_exposure", "move_stage", "recentre", "set_channel", "set_light", "set_interval", "pause", "stop"),
    "refused": {"set_binning": "the camera cannot bin"},
    "stages": {"xy": "XY", "z": "Z"},
    "light": {"shutter": "S", "auto": True, "power": ""},
    "channels": ("DAPI", "FITC"),
    "interval": {"mda": "kept by the driver", "stream": "the camera's own: no interval_property is named"},
    "pixel_calibrated": True,
}
SAFE: dict[str, Any] = {
    "plan": {"mode": "mda", "interval_ms": 500.0},
    "limits": {"x_um": [-10, 10], "y_um": [-10, 10], "z_um": [-1, 1]},
    "dose": {"mw_per_mm2": 10.0, "budget_j_per_cm2": 5.0},
}
OPEN = "counted as open between frames too"
DARK = {"budget_j_per_cm2": None, "budget_full_power_s": 50}


def config(**tables: dict[str, Any]) -> Configuration:
    data = {name: {**SAFE.get(name, {}), **tables.get(name, {})} for name in {*SAFE, *tables}}
    return parse(Configuration, data, "test")


def warnings(settings: Configuration, sends: Any = (), camera: Any = CAMERA, measures: Any = ()) -> list[str]:
    policy = {"name": "p", "rules": [], "sends": sends, "measures": measures}
    return advice.warnings(settings, camera, permissions.table(settings, camera), [policy])


def test_a_safe_configuration_has_no_warnings() -> None:
    assert warnings(config()) == []
    assert advice.problems(config(), CAMERA) == []


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"limits": {"x_um": None}}, r"feedback may move the stage .* \[limits\] has no x_um"),
        ({"limits": {"z_um": None}}, r"\[limits\] has no z_um"),
        ({"dose": {"mw_per_mm2": None, "budget_j_per_cm2": None}}, "the light dose has no unit"),
        ({"dose": {"budget_j_per_cm2": None}}, "no light budget"),
        ({"plan": {"frames": 1000, "exposure_ms": 100}, "dose": DARK}, "costs 2 times .* 250 s"),
        ({"plan": {"interval_ms": 5000}}, r"alive_timeout_s = 2 is shorter than the interval of 5 s"),
        ({"plan": {"mode": "stream", "interval_ms": 100}}, "interval_ms = 100 is not kept"),
        ({"limits": {"shadow": True}}, "shadow is on"),
        ({"limits": {"approve": ["recentre"]}}, "set .limits. approved_max_age_ms"),
        ({"run": {"wait_for": []}}, "the dead-man waits for it"),
        ({"watch": {"page": "0.0.0.0:8600"}}, "anyone on that network"),
        ({"wire": {"frames": f"tcp://127.0.0.1:{outgoing()[0]}"}}, "outgoing connections of this machine borrow"),
    ],
)
def test_what_is_missing_is_said(tables: dict[str, dict[str, Any]], said: str) -> None:
    found = warnings(config(**tables))
    assert len([one for one in found if re.search(said, one)]) == 1, found
    assert advice.problems(config(**tables), CAMERA) == []


def test_a_light_without_power_is_a_shutter_alone() -> None:
    dims = CAMERA | {"light": {"shutter": "S", "auto": True, "power": "LED.Power"}}
    sends = [{"kind": "set_light", "rule": "r", "fixed": {"power": 0.5}, "position": None}]
    assert permissions.table(config(), CAMERA)["set_light"]["within"][0].startswith("the shutter alone")
    assert permissions.table(config(), dims)["set_light"]["within"] == ["0 to 1 of full power"]
    (warning,) = warnings(config(), sends)
    assert "rule 'r' sets the light's power, which will be refused" in warning
    assert warnings(config(), sends, dims) == []
    sends[0]["fixed"] = {"on": False}
    assert warnings(config(), sends) == []


@pytest.mark.parametrize(
    ("rig", "said"),
    [
        ({"light": {"shutter": "Lamp", "open": True}}, "the shutter 'Lamp' stands open"),
        ({"pixel_calibrated": False}, "the pixel size is not calibrated"),
        ({"stages": {"xy": "", "z": ""}}, None),
    ],
)
def test_what_the_devices_lack_is_said(rig: dict[str, Any], said: str | None) -> None:
    found = warnings(config(limits={} if said else {"x_um": None, "z_um": None}), camera=CAMERA | rig)
    assert [said in one for one in found if said] == ([True] if said else [])


def test_a_recording_needs_no_light_budget() -> None:
    dark = config(dose={"mw_per_mm2": None, "budget_j_per_cm2": None})
    assert len(warnings(dark)) == 2
    assert warnings(dark, camera={name: said for name, said in CAMERA.items() if name != "light"}) == []


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"plan": {"mode": "stream", "channels": ["DAPI", "FITC"]}}, "takes one channel and one position"),
        ({"plan": {"channels": ["GFP"]}}, "no channel 'GFP'; it has DAPI, FITC"),
        ({"plan": {"light_power": 0.5}}, "the light has no power setting"),
        ({"wire": {"control": "tcp://0.0.0.0:5555"}}, r"\[wire\] control: .*not on this host"),
        ({"plan": {"positions_um": [[50, 0, 0]]}}, r"\[plan\] leads where \[limits\] lets nothing go: x 50"),
        ({"plan": {"positions_um": [[5, 5, 0]]}, "limits": {"forbidden_um": [[4, 6, 4, 6]]}}, "lets nothing go"),
    ],
)
def test_what_would_stop_the_run_is_a_problem(tables: dict[str, dict[str, Any]], said: str) -> None:
    (problem,) = advice.problems(config(**tables), CAMERA)
    assert re.search(said, problem), problem


@pytest.mark.parametrize(
    ("limits", "kind", "may", "why"),
    [
        ({}, "move_stage", "yes", ""),
        ({"allow": ["recentre"]}, "move_stage", "no", "[limits] allow does not name it"),
        ({"allow": ["recentre"]}, "stop", "yes", ""),
        ({"approve": ["recentre"]}, "recentre", "with an operator's word", ""),
        ({"approve": ["all"]}, "move_stage", "with an operator's word", ""),
        ({"approve": ["all"]}, "stop", "yes", ""),
        ({"approve": ["all"]}, "set_binning", "no", "the rig: the camera cannot bin"),
        ({}, "acquire", "no", "the rig does not take it"),
    ],
)
def test_what_feedback_may(limits: dict[str, Any], kind: str, may: str, why: str) -> None:
    row = permissions.table(config(limits=limits), CAMERA)[kind]
    assert (row["may"], row["why"]) == (may, why)


def test_an_interval_is_refused_where_the_camera_keeps_its_own() -> None:
    streaming = config(plan={"mode": "stream"})
    assert permissions.table(streaming, CAMERA)["set_interval"]["may"] == "no"
    assert permissions.table(config(), CAMERA)["set_interval"]["may"] == "yes"


def test_the_limits_of_a_kind_are_told_together() -> None:
    limits = {
        "max_move_um": 5,
        "forbidden_um": [[0, 1, 2, 3]],
        "cooldown_s": {"recentre": 3},
        "rates_per_s": {"recentre": 0.5},
    }
    within = permissions.table(config(limits=limits), CAMERA)["recentre"]["within"]
    assert within == [
        "x -10 to 10 µm", "y -10 to 10 µm", "z -1 to 1 µm", "not x 0 to 1, y 2 to 3 µm", "steps up to 5 µm",
        "one in 2 s", "3 s between two",
    ]  # fmt: skip


POLICY = """
[[rule]]
name = "look"
on = ["division.confirmed", "mitosis"]
where = {x_um = [-100, 100]}
confidence = {min = 0.7}
cooldown_s = 10
[[rule.do]]
kind = "set_exposure"
exposure_ms = 200.0
[[rule.do]]
kind = "set_binning"
binning = 2
"""


def test_rules_are_told_in_words_and_held_against_the_limits(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(POLICY)
    told = describe("p.toml", tmp_path)
    assert told["rules"] == [
        "'look': on confirmed division or mitosis, where x_um -100.0 to 100.0; confidence ≥ 0.7, "
        "at most every 10 s: set_exposure exposure_ms 200.0; set_binning binning 2"
    ]
    found = warnings(config(limits={"exposure_ms": [1, 100]}), told["sends"])
    assert found == [
        "policy p, rule 'look': exposure_ms 200 is outside [limits] exposure_ms 1 to 100",
        "policy p, rule 'look' wishes for set_binning, which will be refused: the rig: the camera cannot bin",
    ]


FOR_ONE_POSITION = """
[[rule]]
name = "elsewhere"
on = "division.confirmed"
do = [{{kind = "set_exposure", exposure_ms = 20.0, position = {position}}}]
"""


@pytest.mark.parametrize(("position", "warned"), [("1", False), ("2", True), ("-1", True), ('"event"', False)])
def test_a_wish_for_a_position_that_is_not_planned_is_said(tmp_path: Path, position: str, warned: bool) -> None:
    (tmp_path / "p.toml").write_text(FOR_ONE_POSITION.format(position=position))
    settings = config(plan={"positions_um": [[0, 0, 0], [5, 5, 0]]})
    said = f"policy p, rule 'elsewhere': set_exposure is for position {position}; [plan] has 2, counted from 0"
    assert warnings(settings, describe("p.toml", tmp_path)["sends"]) == ([said] if warned else [])


FOR_ONE_CHANNEL = """
[[rule]]
name = "dim"
on = "frame"
intensity = {intensity}
do = [{{kind = "set_exposure", exposure_ms = 20.0}}]
"""


@pytest.mark.parametrize(
    ("intensity", "measured", "warned"),
    [
        ("{max = 400, channel = 1}", ["DAPI"], True),
        ("{max = 400, channel = 1}", ["DAPI", "FITC"], False),
        ("{max = 400}", [], False),
        ("{max = 400, channel = 1}", [], True),
        ("{channel = 1}", [], False),
    ],
)
def test_an_intensity_of_a_channel_that_is_not_measured_is_said(
    tmp_path: Path, intensity: str, measured: list[str], warned: bool
) -> None:
    (tmp_path / "p.toml").write_text(FOR_ONE_CHANNEL.format(intensity=intensity))
    found = warnings(config(chain={"measure_channels": measured}), measures=describe("p.toml", tmp_path)["measures"])
    assert ["rule 'dim' never fires" in one for one in found] == [True] * warned


@pytest.fixture
def _only_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"tensorrt": "no NVIDIA GPU", "openvino": ""}
    monkeypatch.setattr("models.runtime.available", lambda: reasons)


ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "by any network": ({"segment": "nuclei-open", "segment_options": {"runtime": "tensorrt"}}, "no NVIDIA GPU"),
    "by the one that is chosen": ({"segment_options": {"runtime": "tensorrt"}}, "segment = 'auto': .* no NVIDIA GPU"),
    "by a denoiser": ({"denoise": "network", "denoise_options": {"runtime": "tensorrt"}}, "denoise = 'network'"),
    "under a wrong name": ({"segment": "phase", "segment_options": {"runtime": "cuda"}}, "known: auto, tensorrt, open"),
}


@pytest.mark.usefixtures("_only_openvino")
@pytest.mark.parametrize(("chain", "said"), ASKED.values(), ids=ASKED)
def test_a_runtime_that_cannot_be_had_here_would_stop_the_run(chain: dict[str, Any], said: str) -> None:
    (problem,) = advice.problems(config(chain=chain), CAMERA)
    assert re.search(said, problem), problem


@pytest.mark.usefixtures("_only_openvino")
@pytest.mark.parametrize(
    "chain",
    [
        {"segment": "nuclei-open", "segment_options": {"runtime": "openvino"}},
        {"segment": "classical", "segment_options": {"runtime": "tensorrt"}},
        {"denoise": "network"},
    ],
)
def test_what_can_be_run_here_is_no_problem(chain: dict[str, Any]) -> None:
    assert advice.problems(config(chain=chain), CAMERA) == []


@pytest.mark.parametrize(("segment", "stops"), [("auto", False), ("nuclei-open", True), ("classical", None)])
def test_where_nothing_runs_networks_only_auto_does_without(
    monkeypatch: pytest.MonkeyPatch, segment: str, stops: bool | None
) -> None:
    monkeypatch.setattr("models.runtime.available", lambda: {"openvino": "not installed"})
    settings = config(chain={"segment": segment})
    said = [
        ["nothing here runs networks" in one for one in found]
        for found in (advice.problems(settings, CAMERA), warnings(settings))
    ]
    assert said == [[True] * (stops is True), [True] * (stops is False)]


PYTHON = """
class Mine:
    '''Waits.'''
    def start(self):
        return None
    def decide(self, state, event):
        return state, ()
"""


def test_a_policy_of_python_may_send_anything(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PYTHON)
    told = describe("mine.py:Mine", tmp_path)
    assert told == {"name": "Mine", "rules": ["Mine: Waits."], "sends": None, "measures": []}


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({"frames": 100, "channels": ["a", "b"], "light_power": 0.5}, {"full_power_s": 2.0, "per": "plan"}),
        ({"interval_ms": 1000, "light_power": 0.5}, {"full_power_s": 36.0, "per": "hour", "spent_after_s": 500.0}),
        ({"mode": "stream", "interval_ms": 100, "frames": 600}, {"full_power_s": 60.0, "shutter": OPEN}),
        ({"frames": 100}, {"power": "unknown: counted as full", "full_power_s": 2.0}),
    ],
)
def test_light_is_counted(plan: dict[str, Any], expected: dict[str, Any]) -> None:
    light = schedule.describe(config(plan=plan | {"exposure_ms": 20}))["light"]
    assert light.items() >= expected.items()
    assert light["j_per_cm2"] == pytest.approx(light["full_power_s"] * 1.0)  # 10 mW/mm² is 1 W/cm²


@pytest.mark.parametrize(
    ("mode", "between", "light", "open_between"),
    [
        ("stream", "auto", {}, True),
        ("stream", "dark", {}, False),
        ("mda", "auto", {}, False),
        ("mda", "auto", {"auto": False}, True),
        ("mda", "lit", {}, True),
    ],
)
def test_light_between_frames_counts_where_the_shutter_stays_open(
    mode: str, between: str, light: dict[str, Any], open_between: bool
) -> None:
    asked = config(plan={"mode": mode, "frames": 10, "exposure_ms": 20}, dose={"between_frames": between})
    found = schedule.describe(asked, {"light": CAMERA["light"] | light})["light"]
    assert (found.get("shutter"), found["full_power_s"]) == ((OPEN, 5.0) if open_between else (None, 0.2))


def test_a_recording_has_no_shutter_that_could_stay_open() -> None:
    streaming = config(plan={"mode": "stream", "frames": 10, "exposure_ms": 20})
    dark = {name: said for name, said in CAMERA.items() if name != "light"}
    assert "shutter" not in schedule.describe(streaming, dark)["light"]
    assert schedule.describe(streaming)["light"]["shutter"] == OPEN  # nobody has looked


def test_a_protocol_is_counted_event_by_event() -> None:
    protocol = {
        "axis_order": "tpcz",
        "time_plan": {"interval": {"seconds": 10}, "loops": 4},
        "stage_positions": [[0, 0, 0], [5, 5, 0]],
        "channels": [{"config": "DAPI", "exposure": 10}, {"config": "FITC", "exposure": 30, "acquire_every": 2}],
        "z_plan": {"range": 2, "step": 1},
    }
    plan = {"protocol": protocol, "light_power": 0.5}
    found = schedule.describe(parse(Configuration, {"plan": plan}, "test"))
    assert (found["positions"], found["channels"], found["frames"]) == (2, ["DAPI", "FITC"], 2 * 3 * (4 + 2))
    assert found["duration_s"] == 30.0
    assert found["light"]["full_power_s"] == pytest.approx(3 * (4 * 10 + 2 * 30) / 1e3 * 0.5)


def test_problems_are_said_last() -> None:
    found = {"versions": {"packages": {}, "platform": "here"}, "extras": {}, "warnings": ["w"], "problems": ["p"]}
    assert in_words(found).splitlines()[-2:] == ["warning: w", "problem: p"]
