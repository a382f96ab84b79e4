"""Run folders: never used twice, with the configuration and versions in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stream.config import Configuration
from stream.errors import ConfigError, StoreError
from stream.facts.run_folder import create, read_configuration


def settings(out: Path, name: str = "run") -> Configuration:
    return Configuration.model_validate(
        {"run": {"out": out, "name": name}, "camera": {"options": {"cells": 3}}, "feedback": {"policies": ("p.toml",)}}
    )


@pytest.mark.parametrize(
    ("name", "stem"), [("night 3", "night-3"), ("../../etc", "etc"), ("Ünï", "n"), ("", "run"), ("a/b\\c:d", "a-b-c-d")]
)
def test_a_folder_is_named_by_time_and_a_safe_name(tmp_path: Path, name: str, stem: str) -> None:
    run_dir = create(settings(tmp_path / "runs", name))
    assert run_dir.parent == tmp_path / "runs"
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z-{stem}", run_dir.name)


def test_runs_of_one_second_do_not_meet(tmp_path: Path) -> None:
    assert len({create(settings(tmp_path)) for _ in range(5)}) == 5


def test_the_configuration_comes_back_as_it_was(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    assert read_configuration(create(asked)) == asked


def test_versions_are_kept(tmp_path: Path) -> None:
    told = json.loads((create(settings(tmp_path)) / "versions.json").read_text())
    assert set(told["packages"]) >= {"cytoloop", "numpy", "pyzmq"}
    assert told["python"].startswith("3.")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file: no run folder can be made there"):
        create(settings(tmp_path / "file"))


def test_a_spoilt_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"config\.json: cannot be read"):
        read_configuration(tmp_path)
    (tmp_path / "config.json").write_text('{"rnu": {}}')
    with pytest.raises(ConfigError, match="did you mean 'run'"):
        read_configuration(tmp_path)
