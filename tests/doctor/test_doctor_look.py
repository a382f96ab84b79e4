"""The doctor on the real DemoCamera: it looks, and leaves everything as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymmcore_plus import CMMCorePlus

from drivers.micromanager import driver
from drivers.micromanager.bare import Notebook
from drivers.micromanager.load import load_core
from drivers.micromanager.unload import unload
from stream.config import load
from stream.doctor import examine, look
from stream.errors import DriverError

ACTING = (
    "setXYPosition", "setRelativeXYPosition", "setPosition", "setRelativePosition", "home", "setOrigin", "setExposure",
    "setConfig", "setProperty", "setAutoShutter", "setROI", "snapImage", "startSequenceAcquisition", "run_mda",
    "startContinuousSequenceAcquisition", "setSLMImage", "displaySLMImage", "fullFocus",
)  # fmt: skip
CONFIG = """
[camera]
driver = "micromanager"
[camera.options]
properties = {{ "{name}" = "Fluorescent Beads" }}
[plan]
exposure_ms = 33.0
positions_um = [[50.0, 60.0, 5.0]]
channels = ["FITC"]
[chain]
segment = "classical"
"""


def state(core: CMMCorePlus) -> dict[str, Any]:
    return {
        "xy": core.getXYPosition(), "z": core.getPosition(), "exposure": core.getExposure(),
        "shutter": core.getShutterOpen(), "auto": core.getAutoShutter(), "channel": core.getCurrentConfig("Channel"),
        "roi": core.getROI(), "mode": core.getProperty("Camera", "Mode"),
    }  # fmt: skip


def test_looking_moves_sets_and_exposes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of the core's owner is written down, and the state is compared at both ends."""
    notebook, states, told = Notebook(), list[dict[str, Any]](), list[tuple[str, tuple[Any, ...]]]()

    def watched(options: Any) -> CMMCorePlus:
        core = load_core(options)
        core.setShutterOpen(True)
        core.waitForSystem()
        states.append(state(core))
        for signal in (
            "XYStagePositionChanged",
            "stagePositionChanged",
            "exposureChanged",
            "imageSnapped",
            "configSet",
        ):
            getattr(core.events, signal).connect(lambda *args, said=signal: told.append((said, args[1:])))
        notebook.watch(core)
        notebook.open()
        return core

    def ended(core: CMMCorePlus) -> None:
        states.append(state(core))
        unload(core)

    monkeypatch.setattr(driver, "load_core", watched)
    monkeypatch.setattr(driver, "unload", ended)
    path = tmp_path / "demo.toml"
    path.write_text(CONFIG.format(name="Camera.Mode"))
    found = examine(path)
    calls = [name for name, _, _ in notebook.close()]
    assert found["problems"] == []
    assert found["camera"]["stages"] == {"xy": "XY", "z": "Z"}
    assert "getXYPosition" in calls, "the notebook was closed, so this test saw nothing"
    assert not set(calls) & set(ACTING)
    before, after = states
    assert set(told) <= {
        ("XYStagePositionChanged", tuple(before["xy"]))
    }  # a stage that is told to stop says where it is
    assert before == after
    assert (before["shutter"], before["mode"]) == (True, "Artificial Waves")
    assert any("stands open once the devices are loaded" in warning for warning in found["warnings"])


@pytest.mark.parametrize(
    ("name", "said"), [("Camra.Mode", "no device 'Camra'"), ("Camera.Mood", "no property 'Mood'; 'Camera' has ")]
)
def test_a_property_that_a_run_would_set_must_be_there(tmp_path: Path, name: str, said: str) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(CONFIG.format(name=name))
    with pytest.raises(DriverError, match=said):
        look(load(path), tmp_path)
