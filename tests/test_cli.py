"""The command line as a user meets it: help that teaches, one JSON object, one clear line when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.examples import folder
from tests.cases.command_line import cytoloop

COMMANDS = (
    "demo", "run", "acquire", "analyse", "watch", "replay", "simulate", "evaluate", "stop", "pause", "resume",
    "lineage", "export", "why", "doctor", "models", "bench",
)  # fmt: skip


def test_help_names_every_command() -> None:
    done = cytoloop("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS[:-2])
def test_every_command_explains_itself_and_takes_json(command: str) -> None:
    done = cytoloop(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


FAILURES = {
    "no configuration": (("run", "nowhere.toml"), "nowhere.toml: no such file"),
    "no recording": (("evaluate", "nowhere", "--out", "res", "--model", "classical"), "nowhere"),
    "no run to stop": (("stop",), "there is no run in ./runs"),
    "no such speed": (("replay", ".", "--speed", "fast"), "give real, max or a number"),
    "a speed that is no number": (("replay", ".", "--speed", "nan"), "give real, max or a number"),
    "a speed without end": (("replay", ".", "--speed", "inf"), "give real, max or a number"),
    "no speed at all": (("replay", ".", "--speed", "0"), "give real, max or a number"),
    "nodes apart need a port": (("acquire", str(folder() / "democam.toml")), "fixed port"),
    "an analysis apart needs a port for its results": (("analyse", "apart.toml"), "results = 'tcp://127.0.0.1:0'"),
    "a page apart needs a port for the results": (("watch", "apart.toml"), "results = 'tcp://127.0.0.1:0'"),
}
APART = '[camera]\ndriver = "virtual"\n[wire]\nframes = "tcp://127.0.0.1:47001"\ncontrol = "tcp://127.0.0.1:47002"\n'
"""Nodes that start apart, with nothing said of where the results are."""


@pytest.mark.parametrize(("arguments", "said"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "apart.toml").write_text(APART)
    done = cytoloop(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failure_with_json_ends_with_an_object(tmp_path: Path) -> None:
    done = cytoloop("run", "nowhere.toml", "--json", cwd=tmp_path)
    assert done.returncode != 0
    assert "nowhere.toml: no such file" in json.loads(done.stdout.splitlines()[-1])["error"]


def test_a_stop_that_nobody_hears_has_failed(tmp_path: Path) -> None:
    done = cytoloop("stop", "tcp://127.0.0.1:9", "--json", cwd=tmp_path)
    assert done.returncode != 0
    assert "is the rig running?" in json.loads(done.stdout.splitlines()[-1])["answer"]


def test_models_are_listed_as_one_json_object() -> None:
    done = cytoloop("models", "list", "--json")
    listed = json.loads(done.stdout.splitlines()[-1])
    assert {"classical", "classical-nuclei", "classical-phase"} <= set(listed["segmenters"])
    assert not [said for said in listed["segmenters"].values() if said.startswith("not usable")]
    assert ":class:" not in done.stdout


@pytest.mark.parametrize("name", ["virtual.toml", "virtual_night.toml", "democam.toml", "rig.toml"])
def test_doctor_finds_the_examples_well(name: str) -> None:
    done = cytoloop("doctor", str(folder() / name), "--json")
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["problems"] == [], done.stderr
    assert done.returncode == 0
    assert found["chain"]["divide"] == "LifeDivider"


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[camera]\ndriver = "micromanagr"\n[chain]\nsegment = "clasical"\n')
    done = cytoloop("doctor", str(path), "--json")
    problems = " ".join(json.loads(done.stdout.splitlines()[-1])["problems"])
    assert done.returncode == 1
    assert "did you mean 'micromanager'?" in problems
    assert "did you mean 'classical'?" in problems
