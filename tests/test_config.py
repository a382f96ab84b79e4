"""Configuration: what is wrong is said with its key, and the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.config import Configuration, WatchSettings, load
from stream.errors import ConfigError
from stream.examples import folder
from stream.settings import parse

WRONG = {
    "an unknown table": ("[camra]\n", "unknown key 'camra'; did you mean 'camera'?"),
    "an unknown key": ("[plan]\nintervall_ms = 5\n", "unknown key 'plan.intervall_ms'; did you mean 'interval_ms'?"),
    "nothing near": ("[plan]\nxyzzy = 5\n", "unknown key 'plan.xyzzy'; known keys: channels,"),
    "an impossible value": ("[plan]\nexposure_ms = -1\n", "'plan.exposure_ms' input should be greater than 0 (got -1)"),
    "not a number": ("[plan]\nexposure_ms = nan\n", "'plan.exposure_ms'"),
    "a wrong type": ("[chain]\nqueue = 'many'\n", "'chain.queue' input should be a valid integer"),
    "an unknown kind": ("[limits]\napprove = ['aquire']\n", "no command is called 'aquire'; did you mean 'acquire'?"),
    "an unknown kind in a table": ("[limits]\nrates_per_s = { recenter = 1 }\n", "did you mean 'recentre'?"),
    "a position without a focus": (
        "[plan]\npositions_um = [[0, 0]]\n",
        "a position is [x, y, z] in µm, the focus included",
    ),
    "a zone inside out": ("[limits]\nforbidden_um = [[5, 1, 0, 1]]\n", "with x0 < x1 and y0 < y1"),
    "limits upside down": ("[limits]\nx_um = [5, 1]\n", "the lower limit 5 is above the upper one 1"),
    "joules without calibration": ("[dose]\nbudget_j_per_cm2 = 5\n", "budgets in J/cm² need mw_per_mm2"),
    "a budget below its warning": (
        "[dose]\nwarn_full_power_s = 9\nbudget_full_power_s = 5\n",
        "warn, throttle and budget must rise",
    ),
    "denoised pixels to record, and none made": (
        "[chain]\ndenoise = 'none'\n[record]\ndenoised = true\n",
        "[record] denoised = true, but [chain] denoise = 'none' makes no denoised pixels; set it to 'recursive'",
    ),
    "denoised pixels to show, and none made": (
        "[chain]\ndenoise = 'none'\n[watch]\ndenoised = true\n",
        "[watch] denoised = true, but [chain] denoise = 'none'",
    ),
    "a page without a port": ("[watch]\npage = 'localhost'\n", "'watch.page' give HOST:PORT"),
    "a page without a host": ("[watch]\npage = ':8600'\n", "(got ':8600')"),
    "a page with no number for a port": ("[watch]\npage = 'localhost:http'\n", "'watch.page' give HOST:PORT"),
    "a page beyond the ports": ("[watch]\npage = '0.0.0.0:99999'\n", "a port of 0 to 65535"),
    "an IPv6 page without brackets": ("[watch]\npage = '::1:8600'\n", "e.g. 127.0.0.1:8600 or [::1]:8600"),
    "metrics beyond the ports": ("[watch]\nwatch_port = 99999\n", "'watch.watch_port' input should be less than"),
    "metrics of nobody": ("[watch]\nhost = ''\n", "'watch.host' string should have at least 1 character"),
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


@pytest.mark.parametrize(
    ("asked", "denoise"),
    [
        ({}, "auto"),
        ({"record": {"denoised": True}}, "recursive"),
        ({"watch": {"denoised": True}}, "recursive"),
        ({"watch": {"denoised": True}, "chain": {"denoise": "wavelet"}}, "wavelet"),
    ],
)
def test_denoised_pixels_that_are_asked_for_are_made(asked: dict[str, dict[str, object]], denoise: str) -> None:
    assert parse(Configuration, asked, "asked").chain.denoise == denoise


@pytest.mark.parametrize(
    ("page", "at"),
    [
        ("127.0.0.1:8600", ("127.0.0.1", 8600)),
        ("rig.lab:0", ("rig.lab", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_a_page_is_a_host_and_a_port(page: str, at: tuple[str, int]) -> None:
    assert WatchSettings(page=page).page_at == at


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
