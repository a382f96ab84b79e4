"""Drawn movies of dim cells on a known camera."""

from __future__ import annotations

from typing import Any

import numpy as np

from stream.frame import Frame
from stream.stages import Moment

GAIN, OFFSET, READ = 2.0, 100.0, 3.0
KNOWN = {"gain": GAIN, "offset": OFFSET, "read_noise": READ}
SHAPE = (120, 136)


def moment(number: int, pixels: np.ndarray, missed: int = 0, **facts: Any) -> Moment:
    frame = Frame("run", "cam", "ses", 0, number, "cam:p0", number, pixels.copy(), **facts)
    return Moment(frame, missed=missed)


def electrons(photons: float, shift_px: float = 0.0) -> np.ndarray:
    y, x = np.indices(SHAPE)
    image = np.full(SHAPE, photons * 0.1)
    for centre_y, centre_x in ((30, 35), (40, 100), (85, 60), (90, 110)):
        away = np.hypot(y - centre_y - shift_px, x - centre_x - shift_px / 2)
        image += photons / (1 + np.exp((away - 12).clip(-50, 50)))
    return image


def shot(mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    counts = rng.poisson(mean) * GAIN + OFFSET + rng.normal(0, READ, mean.shape)
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)


def gained_db(stage: Any, photons: float, speed_px: float, frames: int = 9) -> tuple[float, float]:
    """Return the PSNR gain and the mean bias in counts over the later frames of a movie."""
    rng, raw, ours, bias = np.random.default_rng(7), 0.0, 0.0, []
    for t in range(frames):
        mean = electrons(photons, speed_px * t)
        pixels, truth = shot(mean, rng), mean * GAIN + OFFSET
        out = stage.step(moment(t, pixels)).denoised
        if t >= 3:
            raw, ours = raw + np.sum((pixels - truth) ** 2), ours + np.sum((out - truth) ** 2)
            bias.append(np.mean(out - truth))
    return 10 * np.log10(raw / ours), float(np.mean(bias))
