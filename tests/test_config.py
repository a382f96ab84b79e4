"""Configuration: what is wrong is said with its key, and the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.config import Configuration, load, parse
from stream.errors import ConfigError
from stream.examples import folder

WRONG = {
    "an unknown table": ("[camra]\n", "unknown key 'camra'; did you mean 'camera'?"),
    "an unknown key": ("[plan]\nintervall_ms = 5\n", "unknown key 'plan.intervall_ms'; did you mean 'interval_ms'?"),
    "nothing near": ("[plan]\nxyzzy = 5\n", "unknown key 'plan.xyzzy'; known keys: channels,"),
    "an impossible value": ("[plan]\nexposure_ms = -1\n", "'plan.exposure_ms' input should be greater than 0 (got -1)"),
    "not a number": ("[plan]\nexposure_ms = nan\n", "'plan.exposure_ms'"),
    "a wrong type": ("[chain]\nqueue = 'many'\n", "'chain.queue' input should be a valid integer"),
    "no TOML": ("[plan\n", "not TOML"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_points_to_the_examples(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; see deploy/examples"):
        load(tmp_path / "nowhere.toml")


def test_defaults_are_a_whole_configuration() -> None:
    assert parse(Configuration, {}, "empty") == Configuration()


def test_relative_paths_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "rig.cfg").touch()
    path = tmp_path / "run.toml"
    path.write_text('[camera]\ndriver = "micromanager"\n[camera.options]\ncfg = "rig.cfg"\n')
    assert load(path).camera.options["cfg"] == str(tmp_path / "rig.cfg")


@pytest.mark.parametrize("path", sorted(folder().glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_example_is_read(path: Path) -> None:
    config = load(path)
    assert config.camera.driver in ("virtual", "micromanager", "replay")
    for policy in config.feedback.policies:
        assert (path.parent / policy.partition(":")[0]).is_file()
