"""How near each denoiser comes to what was there: the virtual camera's exact mean, and averages of real exposures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from drivers.virtual.microscope import Microscope, View
from drivers.virtual.optics import YOUNG_PHOTONS, in_reach
from drivers.virtual.options import VirtualOptions
from drivers.virtual.shapes import lobes
from stream import plugins
from stream.frame import Frame
from stream.stages import Moment

DENOISERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "none": ("none", {}),
    "recursive": ("recursive", {}),
    "wavelet": ("wavelet", {}),
    "wavelet, no time": ("wavelet", {"time": False}),
    "network": ("network", {}),
}
PHOTONS = (5, 20, 100)
WARM_UP = 4
"""Frames of a movie before the first that is scored."""
W2S_RANGE = 255.0


class Known(Microscope):
    """The virtual microscope, when asked, says what it would show without noise."""

    def __init__(self, options: VirtualOptions) -> None:
        super().__init__(options)
        self._settings = options

    def truth(self, view: View) -> NDArray[np.float64]:
        """Return the mean counts ``(y, x)`` of the next exposure."""
        self.rest()
        area, asked, cells = self._area(view), self._settings, self.specimen.cells
        seen = lobes(cells[in_reach(cells["x"], cells["y"], area)], asked.nucleus_um)
        photons = self._optics.photons(seen, area, view.channel, view.stage_um[2], view.exposure_ms * view.power)
        electrons = photons.astype(np.float64) * asked.quantum_efficiency + asked.dark_e_s * view.exposure_ms * 1e-3
        return np.asarray(electrons / asked.gain_e_adu + asked.offset_adu)


def movie(
    modality: str, photons: float, frames: int, side: int
) -> tuple[list[NDArray[Any]], list[NDArray[np.float64]]]:
    """Return what the camera reads and what it would read without noise; 1.2 minutes of the cells' life a frame."""
    options = VirtualOptions(
        seed=7, size_px=(side, side), cells=100 * side**2 // 512**2, brightness=photons / YOUNG_PHOTONS,
        modality="phase" if modality == "phase" else "fluorescence",
    )  # fmt: skip
    channel = options.channel_names[0]
    view = View((0.0, 0.0, 0.0), (0, 0, side, side), 1, 20.0, 100.0, 0.5, channel, "16bit")
    microscope, shots, truths = Known(options), [], []
    for _ in range(frames):
        truths.append(microscope.truth(view))
        shots.append(microscope.expose(view).pixels)
        microscope.pass_by(view)
    return shots, truths


def made(name: str) -> Any:
    """Return a fresh denoiser, None for ``none``."""
    entry, options = DENOISERS[name]
    return None if entry == "none" else plugins.load("denoisers", entry)(options)


def run(name: str, shots: list[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """Denoise a movie as live."""
    stage, seen = made(name), []
    for number, pixels in enumerate(shots):
        out = None
        if stage is not None:
            out = stage.step(Moment(Frame("b", "c", "s", 0, number, "c:p0", number, pixels.copy()))).denoised
        seen.append(np.asarray(pixels if out is None else out, np.float64))
    return seen


def psnr_db(image: NDArray[np.float64], truth: NDArray[np.float64], peak: float) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(peak**2 / np.mean((image - truth) ** 2)))


def simulated(frames: int, side: int, names: list[str]) -> list[dict[str, Any]]:
    """Return one row for each modality and light: PSNR in dB by denoiser, peak being the range of the truth."""
    rows = []
    for modality in ("fluorescence", "phase"):
        for photons in PHOTONS:
            shots, truths = movie(modality, photons, frames, side)
            row: dict[str, Any] = {"movie": modality, "photons": photons}
            for name in names:
                pairs = list(zip(run(name, shots), truths, strict=True))[WARM_UP:]
                row[name] = float(np.mean([psnr_db(one, t, float(np.ptp(t))) for one, t in pairs]))
            rows.append(row)
    return rows


def w2s(folder: Path, names: list[str], limit: int) -> list[dict[str, Any]]:
    """Return one row for each channel of w2s: single frames against the mean of 400, gain and offset fitted."""
    rows = []
    for channel in range(3):
        files = sorted((folder / "avg1").glob(f"*_{channel}.tif"))[:limit]
        row: dict[str, Any] = {"images": f"w2s channel {channel}", "count": len(files)}
        for name in names:
            scores = []
            for file in files:
                (out,) = run(name, [tifffile.imread(file)])
                truth = tifffile.imread(folder / "avg400" / file.name).astype(np.float64)
                slope, base = np.polyfit(out.ravel(), truth.ravel(), 1)
                scores.append(psnr_db(slope * out + base, truth, W2S_RANGE))
            row[name] = float(np.mean(scores))
        rows.append(row)
    return rows
