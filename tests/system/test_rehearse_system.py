"""A whole rehearsal through the command line: three runs of the real nodes, scored, drawn and told."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner

from stream.cli import app

POLICY = """
[[rule]]
name = "go fast"
on = "frame"
count = {min = 1}
[[rule.do]]
kind = "set_interval"
interval_ms = 150.0
position = "event"
[[rule]]
name = "beside the plan"
on = "frame"
count = {min = 1}
[[rule.do]]
kind = "acquire"
at_um = "event.position_um"
sequence = {z_plan = {range = 2.0, step = 1.0}}
[[rule]]
name = "too bright"
on = "frame"
quiet_s = {min = 0.1}
[[rule.do]]
kind = "set_exposure"
exposure_ms = 500.0
"""
CONFIG = """
[camera]
driver = "virtual"
options = {cells = 20, fields = 1, size_px = [128, 128], minutes_per_second = 12, mitosis_pace = 2, cycle_min = 300}
[plan]
mode = "mda"
exposure_ms = 10.0
interval_ms = 500.0
light_power = 0.5
positions_um = [[0.0, 0.0, 0.0]]
[limits]
exposure_ms = [1.0, 100.0]
max_age_ms = 60000.0
alive_timeout_s = 60.0
[chain]
denoise = "none"
segment = "classical-nuclei"
divide_options = {exit = false}
[feedback]
policies = ["fast.toml"]
budget_ms = 20000.0
max_age_ms = 60000.0
[watch]
metrics = false
"""


def test_a_rehearsal_compares_three_arms_on_the_same_specimen(tmp_path: Path) -> None:
    (tmp_path / "fast.toml").write_text(POLICY)
    config = tmp_path / "rehearsed.toml"
    config.write_text(CONFIG)
    done = CliRunner().invoke(
        app, ["rehearse", str(config), "--seeds", "1", "--seconds", "3", "--out", str(tmp_path / "out"), "--json"]
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    policy, without, fixed = (result["arms"][name] for name in ("policy", "without", "fixed"))
    assert policy["frames"] > without["frames"] > 0
    assert policy["commands"]["applied"] >= 1
    assert without["commands"].get("refused", 0) == fixed["commands"].get("refused", 0) == 0
    assert any(name.startswith("set_exposure refused") for name in policy["limits"])
    assert (policy["aside"], policy["images"]) == (1, policy["frames"] + 3)
    assert policy["light_ms"] == 5.0 * policy["images"]
    assert fixed["frames"] > without["frames"]
    assert result["compared"]["dose_ratio"] is not None
    assert without["mitoses_shown"] >= 1
    run_dir = Path(result["runs"][0]["run_dir"])
    assert '"kind":"frame"' not in (run_dir / "events.jsonl").read_text()  # the clock of policies leaves no trace
    with closing(sqlite3.connect(run_dir / "analysis.sqlite")) as facts:
        assert facts.execute("SELECT DISTINCT field FROM frames").fetchall() == [("Camera:p0",)]  # no chain follows it
    folder = Path(result["picture"]).parent
    assert Path(result["picture"]).stat().st_size > 5_000
    assert json.loads((folder / "rehearsal.json").read_text()) == result
