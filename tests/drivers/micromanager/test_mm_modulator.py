"""A light modulator in Micro-Manager's core: masks, calibration, and what happens when it fails."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SLMDevice, UniMMCore

from drivers.micromanager.modulator import Modulator, filled
from drivers.micromanager.options import MicroManagerOptions
from stream.command import Stimulate
from stream.errors import DriverError, Refused

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SQUARE = np.array([(2.0, 3.0), (6.0, 3.0), (6.0, 8.0), (2.0, 8.0)])


class Panel(SLMDevice):
    """A modulator of 20 x 12 pixels that remembers what it showed."""

    stuck = False
    broken = False

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[NDArray[np.uint8]] = []
        self.exposure_ms = 0.0
        self._image = np.zeros((12, 20), np.uint8)

    def shape(self) -> tuple[int, ...]:
        return 12, 20

    def dtype(self) -> DTypeLike:
        return np.uint8

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        if not (self.stuck and self.shown):
            self._image = pixels.copy()

    def get_image(self) -> NDArray[np.uint8]:
        return self._image

    def display_image(self) -> None:
        if self.broken and not self.shown:
            self.shown.append(self._image)
            raise RuntimeError("the panel's lamp does not answer")
        self.shown.append(self._image)

    def set_exposure(self, interval_ms: float) -> None:
        self.exposure_ms = interval_ms

    def get_exposure(self) -> float:
        return self.exposure_ms


class Blinded(Panel):
    """Shows another mask than it is given."""

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        self._image = np.roll(pixels, 1)


@pytest.fixture
def panel_in() -> Callable[..., tuple[Panel, Modulator]]:
    """Put a panel into a core, and drive it."""

    def make(panel: Panel, **options: Any) -> tuple[Panel, Modulator]:
        core = UniMMCore()
        core.loadPyDevice("Panel", panel)
        core.initializeDevice("Panel")
        return panel, Modulator(core, MicroManagerOptions(**{"slm": "Panel", "slm_affine": IDENTITY, **options}))

    return make


Make = Callable[..., tuple[Panel, Modulator]]


def test_the_mask_is_shown_for_its_time_and_cleared(panel_in: Make) -> None:
    panel, modulator = panel_in(Panel())
    values = modulator.shine([SQUARE], 5.0)
    assert values == {"lit_px": 20, "duration_ms": 5.0, "slm": "Panel"}
    lit, dark = panel.shown
    assert {(x, y) for y, x in np.argwhere(lit)} == {(x, y) for x in range(2, 6) for y in range(3, 8)}
    assert not dark.any()
    assert panel.exposure_ms == 5.0


def test_the_calibration_turns_and_scales(panel_in: Make) -> None:
    # Sensor (x, y) lies on panel pixel (19 - y, x / 2).
    panel, modulator = panel_in(Panel(), slm_affine=(0.0, -1.0, 19.0, 0.5, 0.0, 0.0))
    assert modulator.shine([SQUARE], 1.0)["lit_px"] == 5 * 2
    rows, columns = np.nonzero(panel.shown[0])
    assert (rows.min(), rows.max()) == (1, 2)
    assert (columns.min(), columns.max()) == (11, 15)


@pytest.mark.parametrize(
    ("outlines", "duration_ms", "options", "words"),
    [
        ([SQUARE + 15.0], 1.0, {}, "reaches from .17, 18. to .21, 23. on 'Panel', which has 20 x 12"),
        ([SQUARE], 3000.0, {}, "longer than stimulate_limit_ms = 2000"),
        ([SQUARE], 30.0, {"stimulate_limit_ms": 20.0}, "longer than stimulate_limit_ms = 20"),
        ([SQUARE * 0.01 + 0.2], 1.0, {}, "encloses no pixel"),
        ([SQUARE], 1.0, {"slm_affine": None}, "'Panel' is not calibrated"),
    ],
    ids=["outside", "too long", "longer than the rig allows", "nothing", "not calibrated"],
)
def test_light_that_cannot_be_meant_is_refused(
    panel_in: Make, outlines: Any, duration_ms: float, options: dict[str, Any], words: str
) -> None:
    panel, modulator = panel_in(Panel(), **options)
    with pytest.raises(Refused, match=words):
        modulator.shine(outlines, duration_ms)
    assert not panel.shown


def test_a_panel_that_fails_under_light_is_cleared(panel_in: Make) -> None:
    panel = Panel()
    panel.broken = True
    panel, modulator = panel_in(panel)
    with pytest.raises(DriverError, match="lamp does not answer"):
        modulator.shine([SQUARE], 1.0)
    assert not panel.shown[-1].any()


def test_a_panel_that_stays_lit_is_told_and_cleared_again_later(panel_in: Make) -> None:
    panel = Panel()
    panel.stuck = True
    panel, modulator = panel_in(panel)
    with pytest.raises(DriverError, match="was to be cleared and shows 20 pixels"):
        modulator.shine([SQUARE], 1.0)
    panel.stuck = False
    modulator.clear()
    assert not panel.shown[-1].any()


def test_a_panel_with_another_mask_is_never_lit(panel_in: Make) -> None:
    panel, modulator = panel_in(Blinded())
    with pytest.raises(DriverError, match="holds another mask"):
        modulator.shine([SQUARE], 1.0)
    assert not panel.shown


def test_a_rig_without_a_modulator_says_so(bench: Any) -> None:
    bench.start()
    assert bench.driver.describe()["refused"]["stimulate"] == "this rig has no light modulator"
    with pytest.raises(Refused, match="no light modulator"):
        bench.apply(Stimulate(mask_yx_px=(((1, 1), (1, 9), (9, 9)),), duration_ms=5.0))


def test_a_modulator_that_is_not_there_is_named(bench_of: Any) -> None:
    with pytest.raises(DriverError, match="modulator 'DMD'"):
        bench_of(slm="DMD")


def test_outlines_are_filled_whatever_their_shape() -> None:
    angles = np.linspace(0.0, 2 * np.pi, 400, endpoint=False)
    disc = np.stack([50 + 30 * np.cos(angles), 40 + 30 * np.sin(angles)], axis=1)
    assert np.count_nonzero(filled([disc], (80, 100))) == pytest.approx(np.pi * 30**2, rel=0.01)
    assert np.array_equal(filled([disc, disc[::-1]], (80, 100)), filled([disc], (80, 100)))
    hook = np.array([(0, 0), (9, 0), (9, 9), (6, 9), (6, 3), (0, 3)]) + 0.5
    assert np.count_nonzero(filled([hook], (20, 20))) == 9 * 3 + 3 * 6
    # What reaches beyond the border is cut off there.
    assert np.count_nonzero(filled([hook + 15.0], (20, 20))) == 4 * 3
