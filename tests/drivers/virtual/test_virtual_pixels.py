"""What the camera shows answers to every setting, with a real sensor's statistics."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.virtual.microscope import Microscope, View
from drivers.virtual.optics import Area, Optics
from drivers.virtual.options import VirtualOptions
from drivers.virtual.sensor import Sensor
from drivers.virtual.shapes import lobes

SMALL = VirtualOptions(cells=20, fields=3, size_px=(200, 160), seed=5)
VIEW = View((0.0, 0.0, 0.0), (0, 0, 200, 160), 1, 20.0, 100.0, 0.5, "nuclei", "16bit")
QUIET = SMALL.model_copy(update={"vignette": 0.0})


@pytest.fixture(scope="module")
def microscope() -> Microscope:
    """Stands at its first moment: expose changes nothing."""
    return Microscope(SMALL)


def counts(microscope: Microscope, **changes: object) -> NDArray[np.float64]:
    shown = microscope.expose(replace(VIEW, **changes)).pixels  # type: ignore[arg-type]
    return shown.astype(np.float64)


def test_same_seed_same_pixels_whatever_the_wall_clock_says() -> None:
    def movie() -> list[bytes]:
        microscope, shown = Microscope(SMALL), []
        for number in range(8):
            view = replace(VIEW, stage_um=(3.0 * (number > 4), 0.0, 0.0), exposure_ms=10.0 + number)
            shown.append(microscope.expose(view).pixels.tobytes())
            microscope.pass_by(view)
        return shown

    one, other = movie(), movie()
    assert one == other
    assert len(set(one)) == 8


@pytest.mark.parametrize(
    ("changes", "factor"),
    [({"exposure_ms": 40.0}, 2.0), ({"power": 1.0}, 2.0), ({"power": 0.0}, 0.0), ({"exposure_ms": 5.0}, 0.25)],
    ids=["longer", "brighter", "dark", "shorter"],
)
def test_signal_goes_with_exposure_and_light(microscope: Microscope, changes: dict[str, object], factor: float) -> None:
    plain = counts(microscope).mean() - SMALL.offset_adu
    assert counts(microscope, **changes).mean() - SMALL.offset_adu == pytest.approx(factor * plain, rel=0.01, abs=0.1)


def test_focus_blurs_and_keeps_the_light(microscope: Microscope) -> None:
    steps = [counts(microscope, stage_um=(0.0, 0.0, z)) for z in (0.0, 8.0, -8.0, 25.0)]
    sharpness = [np.abs(np.diff(image, axis=1)).mean() for image in steps]
    assert sharpness[0] > sharpness[1] > sharpness[3]
    assert sharpness[1] == pytest.approx(sharpness[2], rel=0.02)
    assert steps[3].mean() == pytest.approx(steps[0].mean(), rel=0.06)


def test_channels_show_different_things(microscope: Microscope) -> None:
    nuclei, cytoplasm, phase = (counts(microscope, channel=name) for name in ("nuclei", "cytoplasm", "phase"))
    assert (cytoplasm > cytoplasm.min() + 200).mean() > 1.5 * (nuclei > nuclei.min() + 200).mean()
    assert np.corrcoef(phase.ravel(), cytoplasm.ravel())[0, 1] < -0.3


@pytest.mark.parametrize("shift_px", [(40, 0), (0, -25), (7, 13)], ids=["x", "y", "both"])
def test_the_stage_shifts_the_image_by_exactly_its_way(shift_px: tuple[int, int]) -> None:
    optics = Optics(QUIET)
    seen = lobes(Microscope(QUIET).specimen.cells, QUIET.nucleus_um)

    def at(x_px: int, y_px: int) -> NDArray[np.float32]:
        pixel = QUIET.pixel_um
        return optics.photons(seen, Area(x_px * pixel, y_px * pixel, 0, 0, 200, 160, pixel), "nuclei", 0.0, 10.0)

    dx, dy = shift_px
    here, there = at(0, 0), at(dx, dy)
    rows = slice(max(dy, 0), 160 + min(dy, 0)), slice(max(-dy, 0), 160 - max(dy, 0))
    columns = slice(max(dx, 0), 200 + min(dx, 0)), slice(max(-dx, 0), 200 - max(dx, 0))
    np.testing.assert_allclose(here[rows[0], columns[0]], there[rows[1], columns[1]], rtol=2e-4, atol=0.05)


def test_an_roi_is_a_part_of_the_whole_image(microscope: Microscope) -> None:
    whole = counts(microscope)
    part = counts(microscope, roi_px=(30, 20, 64, 48))
    assert part.shape == (48, 64)
    expected = whole[20:68, 30:94]
    # Same photons, other noise.
    noise = np.sqrt(expected.clip(1.0) * 2 / SMALL.gain_e_adu)
    assert np.abs((part - expected) / noise).mean() < 1.0


def test_binning_sums_photons_and_keeps_the_field(microscope: Microscope) -> None:
    whole = counts(microscope) - SMALL.offset_adu
    binned = counts(microscope, binning=2, roi_px=(0, 0, 100, 80)) - SMALL.offset_adu
    summed = whole.reshape(80, 2, 100, 2).sum(axis=(1, 3))
    assert binned.shape == (80, 100)
    assert binned.mean() == pytest.approx(summed.mean(), rel=0.01)
    assert np.corrcoef(binned.ravel(), summed.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("pixel_type", "top"), [("8bit", 255), ("12bit", 4095), ("16bit", 65535)])
def test_pixel_types_saturate_at_their_top(microscope: Microscope, pixel_type: str, top: int) -> None:
    shown = microscope.expose(replace(VIEW, pixel_type=pixel_type, exposure_ms=8000.0)).pixels
    assert shown.max() == top
    assert shown.dtype == (np.uint8 if pixel_type == "8bit" else np.uint16)


@pytest.mark.parametrize("mean_e", [0.0, 0.3, 2.0, 7.9, 29.9, 31.0, 400.0])
def test_noise_has_the_statistics_of_photons_and_reading(mean_e: float) -> None:
    options = VirtualOptions(gain_e_adu=0.1, read_noise_e=1.0, dark_e_s=0.0)
    photons = np.full((512, 512), mean_e / options.quantum_efficiency, np.float32)
    electrons = (Sensor(options).read(photons, 20.0, 1, "16bit") - options.offset_adu) * options.gain_e_adu
    standard_error = np.sqrt((mean_e + 1.0) / photons.size)
    assert electrons.mean() == pytest.approx(mean_e, abs=6 * standard_error + 0.01)
    # Quantisation adds a twelfth of a count squared.
    expected = mean_e + 1.0 + 0.1**2 / 12
    assert electrons.var() == pytest.approx(expected, rel=0.03)


def test_photon_transfer_gives_the_gain() -> None:
    options = VirtualOptions()
    levels = np.linspace(5.0, 2000.0, 12)
    sensor = Sensor(options)
    pairs = [
        [sensor.read(np.full((256, 256), level, np.float32), 20.0, k, "16bit").astype(float) for k in (1, 2)]
        for level in levels
    ]
    mean = [np.mean(pair) for pair in pairs]
    variance = [np.var(pair[0] - pair[1]) / 2 for pair in pairs]
    slope, at_zero = np.polyfit(mean, variance, 1)
    assert 1 / slope == pytest.approx(options.gain_e_adu, rel=0.02)
    assert at_zero + slope * options.offset_adu == pytest.approx(
        (options.read_noise_e / options.gain_e_adu) ** 2, abs=30
    )
