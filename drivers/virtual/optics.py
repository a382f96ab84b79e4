"""From lobes to photons: point spread, defocus, uneven light, stray light; fluorescence or a phase-contrast look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.virtual import kernels
from drivers.virtual.options import VirtualOptions
from drivers.virtual.shapes import COLUMN, Lobes

Floats = NDArray[np.float32]
TEXEL_UM = 0.25
TILE = 512
YOUNG_PHOTONS = 600.0
"""Photons a pixel of 0.65 µm from a young nucleus in 20 ms at half light and brightness 1."""
ACTIVATED = 2.0
"""A fully activated cell body gives so much more light, in units of its own."""
MAX_SIGMA_PX = 24.0
HALO_UM = 4.5
MARGIN_UM = 30.0
"""Cells so far outside the image may still throw light into it."""


@dataclass(frozen=True, slots=True)
class Area:
    """What part of the specimen an image shows: sensor pixels before binning.

    ``x0_um, y0_um`` is where the centre of pixel (0, 0) looks; ``x_px, y_px`` its place on the sensor.
    """

    x0_um: float
    y0_um: float
    x_px: int
    y_px: int
    width: int
    height: int
    pixel_um: float


class Optics:
    """Renders photons per pixel. The same lobes, area and light give the same image.

    Parameters
    ----------
    options
        Aperture, wavelength, vignette, brightness, background, and the seed of the textures.
    """

    def __init__(self, options: VirtualOptions) -> None:
        self._options = options
        rng = np.random.default_rng(np.random.SeedSequence([options.seed, 2]))
        self._calm, self._coarse = _textures(rng)
        self._haze = rng.uniform(0.0, 2 * np.pi, 4)
        # Light of one young nucleus, spread over its own area.
        self._young_um2 = np.pi * (options.nucleus_um / 2) ** 2 * 0.8
        self._field: tuple[Area, Floats] | None = None

    def photons(self, lobes: Lobes, area: Area, channel: str, z_um: float, light_ms: float) -> Floats:
        """Return photons per pixel, (height, width) float32.

        Parameters
        ----------
        lobes
            What may be in view.
        area
            What the sensor sees.
        channel
            ``nuclei``, ``cytoplasm`` or ``phase``.
        z_um
            Distance from the focal plane of the cells.
        light_ms
            Exposure in ms times the light's power, 0 to 1.
        """
        sigma_px = self._sigma_um(z_um) / area.pixel_um
        weights = _gauss(min(sigma_px, MAX_SIGMA_PX))
        image = (
            self._in_phase(lobes, area, weights) if channel == "phase" else self._glow(lobes, area, weights, channel)
        )
        if channel != "phase":
            image += self._stray(area)
        image *= self._vignette(area)
        scale = YOUNG_PHOTONS * self._options.brightness * light_ms / 10.0 * (area.pixel_um / 0.65) ** 2
        image *= np.float32(scale)
        return image

    def _sigma_um(self, z_um: float) -> float:
        aperture = self._options.numerical_aperture
        focused = 0.21 * self._options.wavelength_nm * 1e-3 / aperture
        cone = abs(z_um) * np.tan(np.arcsin(aperture)) / 2
        return float(np.hypot(focused, cone))

    def _glow(self, lobes: Lobes, area: Area, weights: Floats, channel: str) -> Floats:
        canvas, x0, y0 = _canvas(area, len(weights) // 2)
        if channel == "cytoplasm":
            bodies = _with_level(lobes, 0.45)
            bodies[:, COLUMN["true"]] *= 1.0 + ACTIVATED * lobes[:, COLUMN["active"]]
            kernels.draw_bodies(canvas, bodies, x0, y0, area.pixel_um, self._calm, TEXEL_UM, 1.6)
        else:
            lit = lobes.copy()
            lit[:, COLUMN["light"]] *= self._young_um2
            kernels.draw_nuclei(canvas, lit, x0, y0, area.pixel_um, self._calm, self._coarse, TEXEL_UM)
        return kernels.blur(canvas, weights)

    def _in_phase(self, lobes: Lobes, area: Area, weights: Floats) -> Floats:
        """Bodies darken, a halo of what they take stands around them; round cells shine."""
        halo = _gauss(min(HALO_UM / area.pixel_um, MAX_SIGMA_PX))
        pad = len(weights) // 2
        canvas, x0, y0 = _canvas(area, pad + len(halo) // 2)
        kernels.draw_bodies(canvas, _with_level(lobes, 1.0), x0, y0, area.pixel_um, self._calm, TEXEL_UM, -1.4)
        sharp = kernels.blur(canvas, weights)
        wide = kernels.blur(np.abs(sharp), halo)
        inner = len(halo) // 2
        body = sharp[inner : sharp.shape[0] - inner, inner : sharp.shape[1] - inner]
        level = np.float32(0.8) - np.float32(0.45) * body + np.float32(0.35) * wide
        return np.maximum(level, np.float32(0.05))

    def _stray(self, area: Area) -> Floats:
        """Autofluorescence of medium and plastic: fixed to the specimen, uneven over hundreds of µm."""
        x = area.x0_um + area.pixel_um * np.arange(area.width)
        y = area.y0_um + area.pixel_um * np.arange(area.height)
        a, b, c, d = self._haze
        coarse = np.outer(np.cos(y / 83.0 + c), 0.1 * np.sin(x / 97.0 + a))
        fine = np.outer(np.sin(y / 53.0 + d), 0.05 * np.cos(x / 41.0 + b))
        return np.asarray(self._options.background * (1.0 + coarse + fine), np.float32)

    def _vignette(self, area: Area) -> Floats:
        key = Area(0.0, 0.0, area.x_px, area.y_px, area.width, area.height, area.pixel_um)
        if self._field is None or self._field[0] != key:
            full_w, full_h = self._options.size_px
            x = (area.x_px + np.arange(area.width) - (full_w - 1) / 2) / (full_w / 2)
            y = (area.y_px + np.arange(area.height) - (full_h - 1) / 2) / (full_h / 2)
            r2 = (y**2)[:, None] + (x**2)[None, :]
            self._field = key, (1.0 - self._options.vignette * r2 / 2).astype(np.float32)
        return self._field[1]


def in_reach(x_um: NDArray[np.float64], y_um: NDArray[np.float64], area: Area) -> NDArray[np.bool_]:
    """Return which points lie in the area or so near that their light may fall into it."""
    right = area.x0_um + area.width * area.pixel_um + MARGIN_UM
    below = area.y0_um + area.height * area.pixel_um + MARGIN_UM
    inside: NDArray[np.bool_] = (
        (x_um > area.x0_um - MARGIN_UM) & (x_um < right) & (y_um > area.y0_um - MARGIN_UM) & (y_um < below)
    )
    return inside


def _canvas(area: Area, pad: int) -> tuple[Floats, float, float]:
    canvas = np.zeros((area.height + 2 * pad, area.width + 2 * pad), np.float32)
    return canvas, area.x0_um - pad * area.pixel_um, area.y0_um - pad * area.pixel_um


def _with_level(lobes: Lobes, level: float) -> Lobes:
    """Take a body's brightness from how true (not faded) its cell is; sisters share one."""
    bodies = lobes.copy()
    bodies[:, COLUMN["true"]] *= level * np.minimum(2.0 * lobes[:, COLUMN["light"]], 1.0)
    return bodies


def _gauss(sigma_px: float) -> Floats:
    radius = max(1, int(np.ceil(3.0 * sigma_px)))
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (x / max(sigma_px, 1e-3)) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def _textures(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Chromatin: a calm tile with dark nucleoli, and a coarse one of condensed threads; periodic, mean 1."""

    def cloud(scale_um: float) -> NDArray[np.float64]:
        k = np.fft.fftfreq(TILE, TEXEL_UM)
        shape = np.exp(-2.0 * (np.pi * scale_um) ** 2 * (k[:, None] ** 2 + k[None, :] ** 2))
        values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TILE, TILE))) * shape).real
        return np.asarray(values / values.std())

    medium, fine, spots = cloud(1.1), cloud(0.45), cloud(1.0)
    nucleoli = 1.0 / (1.0 + np.exp(-(spots - 1.35) * 6.0))
    calm = (1.0 + 0.09 * medium + 0.07 * fine) * (1.0 - 0.5 * nucleoli)
    coarse = np.maximum(1.0 + 0.3 * cloud(0.6) + 0.12 * fine, 0.2)
    return (calm / calm.mean()).astype(np.float32), (coarse / coarse.mean()).astype(np.float32)
