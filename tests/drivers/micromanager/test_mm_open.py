"""Loading, options, and what the driver says of itself."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import mm_test_adapters
import pytest

from drivers.micromanager.driver import MicroManagerDriver
from stream.config import CameraSettings, PlanSettings
from stream.errors import ConfigError, CytoloopError, DriverError
from stream.frame import Ended, Frame

ADAPTERS = mm_test_adapters.device_adapter_path()
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "missing cfg": ({"cfg": "nowhere.cfg"}, r"nowhere\.cfg: no such file .*Hardware Configuration Wizard"),
    "missing adapters": ({"adapters": ["/no/such/folder"]}, "no such folder"),
    "unknown key": ({"decimat": 2}, "unknown key 'decimat'; did you mean 'decimate'?"),
    "no property": ({"light_property": "Camera"}, "write it as 'Device.Property'"),
    "unknown device": ({"properties": {"Camara.Gain": 1}}, "no device 'Camara'; the configuration has .*Camera"),
    "unknown property": ({"interval_property": "Camera.Gian"}, "no property 'Gian'; 'Camera' has .*Gain"),
    "impossible value": ({"properties": {"Camera.Mode": "Video"}}, "Camera.Mode = Video: the core says"),
    "unknown camera": ({"camera": "Cam2"}, "camera 'Cam2'"),
    "unknown group": ({"channel_group": "Colour"}, "no config group 'Colour'; the configuration has .*Channel"),
    "colour camera": ({"properties": {"Camera.PixelType": "32bitRGB"}}, "choose a grey type"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_opened_is_said_clearly(options: dict[str, Any], message: str) -> None:
    driver = MicroManagerDriver()
    settings = CameraSettings(driver="micromanager", options={"adapters": [ADAPTERS]} | options)
    with pytest.raises(CytoloopError, match=message):
        driver.open(settings, run="r", session="s")
    with pytest.raises(DriverError, match="is not open"):
        driver.describe()


def test_a_broken_configuration_names_the_file_and_the_adapters(tmp_path: Path) -> None:
    cfg = tmp_path / "broken.cfg"
    cfg.write_text("Device,Camera,NoSuchAdapter,DCam\n", encoding="utf-8")
    settings = CameraSettings(options={"adapters": [ADAPTERS], "cfg": str(cfg)})
    with pytest.raises(DriverError, match=r"broken\.cfg with the device adapters in .*NoSuchAdapter"):
        MicroManagerDriver().open(settings, run="r", session="s")


def test_an_installation_without_a_named_configuration_is_asked_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.micromanager.load.find_micromanager", lambda: str(tmp_path))
    with pytest.raises(ConfigError, match="cfg is missing and Micro-Manager is installed in"):
        MicroManagerDriver().open(CameraSettings(), run="r", session="s")
    monkeypatch.setattr("drivers.micromanager.load.find_micromanager", lambda: None)
    with pytest.raises(DriverError, match="no Micro-Manager was found; run 'mmcore install'"):
        MicroManagerDriver().open(CameraSettings(), run="r", session="s")


def test_the_driver_says_what_it_opened(bench: Any) -> None:
    said = bench.driver.describe()
    assert (said["camera"], said["sensor_px"], said["pixel_calibrated"]) == ("Camera", (512, 512), True)
    assert said["devices"]["XY"] == "DemoCamera.DXYStage"
    assert said["channels"] == ("Cy5", "DAPI", "FITC", "Rhodamine")
    assert "set_roi" in said["commands"]
    assert set(said["refused"]) == {"stimulate"}
    bench.start(mode="stream")
    said = bench.driver.describe()
    assert set(said["refused"]) == {"acquire", "cancel", "stimulate", "add_position", "drop_position"}
    assert said["interval"]["mda"] == "kept by the driver"
    assert "no interval_property" in said["interval"]["stream"]


def test_a_driver_opens_again_after_it_was_stopped() -> None:
    driver = MicroManagerDriver()
    driver.stop()
    for epoch, name in ((0, ""), (5, "left")):
        settings = CameraSettings(name=name, options={"adapters": [ADAPTERS], "affine_um": [0.5, 0, 0, -0.5]})
        driver.open(settings, run="r", session=f"s{epoch}", first_epoch=epoch)
        with pytest.raises(DriverError, match="open already"):
            driver.open(settings, run="r", session="s")
        driver.start(PlanSettings(exposure_ms=5.0))
        frame = driver.next(20.0)
        assert isinstance(frame, Frame)
        assert (frame.epoch, frame.session, frame.field) == (epoch, f"s{epoch}", f"{name or 'Camera'}:p0")
        assert frame.affine_um == ((0.5, 0.0), (0.0, -0.5))
        driver.stop()
        item = frame
        while not isinstance(item, Ended):
            item = driver.next(1.0)
        assert item.reason == "stopped"


def test_a_process_that_forgets_to_stop_ends_cleanly() -> None:
    code = f"""
from drivers.micromanager.driver import MicroManagerDriver
from stream.config import CameraSettings, PlanSettings
driver = MicroManagerDriver()
driver.open(CameraSettings(options={{"adapters": [{ADAPTERS!r}]}}), run="r", session="s")
driver.start(PlanSettings(exposure_ms=5.0))
assert driver.next(20.0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, drivers.micromanager.driver; "
        "print({'numba', 'cv2', 'scipy', 'skimage', 'torch', 'openvino', 'starlette', 'fcntl.foo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "module", ["cadence", "core_clock", "geometry", "options", "popper", "restarts", "timeline", "schedule"]
)
def test_the_examples_in_the_documentation_hold(module: str) -> None:
    failed, tried = doctest.testmod(import_module(f"drivers.micromanager.{module}"))
    assert failed == 0
    assert tried > 0
