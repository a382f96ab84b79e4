"""Noisy movies for the denoiser's training, in photoelectrons, and how one is split into two independent ones.

No clean image is kept: every movie of the pool was noisy when it was recorded, or was made noisy exactly once. What
network and loss see are two halves of it. A Poisson count thinned by a coin has independent Poisson halves; a Gaussian
one plus and minus a fresh Gaussian of the same variance has independent Gaussian halves (data thinning: Neufeld et al.,
JMLR 2024; recorrupted-to-recorrupted: Pang et al., CVPR 2021; Monroy et al., CVPR 2025). One half is denoised, the
other is the target: its noise averages out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from models.denoise.noise import estimate

Image = NDArray[np.float32]
Rng = np.random.Generator

FRAMES = 3
SIDE_PX = 192
"""Side of the movies that are kept."""
COIN_MOST = 40.0
"""Counts from which a normal distribution stands in for the coin's."""
CTC = ("Fluo-N2DL-HeLa/02", "PhC-C2DL-PSC/01", "DIC-C2DH-HeLa/01")
SIMULATED = (  # modality, brightness, size of a nucleus in px of 0.65 um: about 5 to 600 photons in a young nucleus
    ("fluorescence", 0.008), ("fluorescence", 0.03), ("fluorescence", 0.15), ("fluorescence", 1.0), ("phase", 0.05),
)  # fmt: skip

SIMULATE = """
import sys
from pathlib import Path
from stream.config import load
from stream.simulate import simulate
simulate(load(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
"""
"""What ``cytoloop simulate`` does, in a process of its own: models do not know drivers."""


@dataclass(frozen=True, slots=True, eq=False)
class Movie:
    """Three consecutive noisy frames ``(3, y, x)``: electrons whose variance is their mean, or ``gaussian`` with 1."""

    frames: Image
    gaussian: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The two halves ``(2, 3, y, x)`` of a movie."""

    frames: Image
    gaussian: bool


def halves(movie: Image, gaussian: bool, rng: Rng) -> tuple[Image, Image]:
    """Split noisy values into two with independent noise and half of the light each (Gaussian: variance 2 each)."""
    if gaussian:
        fresh = rng.standard_normal(movie.shape, np.float32)
        return movie + fresh, movie - fresh
    bounded = np.maximum(movie, 0)
    whole = np.floor(bounded)
    whole += rng.random(movie.shape, np.float32) >= 1 - (bounded - whole)  # rounded by chance: same mean
    first = whole / 2 + np.sqrt(whole) / 2 * rng.standard_normal(movie.shape, np.float32)
    few = whole <= COIN_MOST
    first[few] = rng.binomial(whole[few].astype(np.int64), 0.5)
    return first.astype(np.float32), (whole - first).astype(np.float32)


def stabilised(half: Image, gaussian: bool, gain: float, shift: float) -> Image:
    """Bring one half to noise of 1, as a live denoiser would that misjudges the gain and the zero by so much."""
    if gaussian:
        return np.asarray(half / np.float32(np.sqrt(2) * gain), np.float32)
    return np.asarray(2 * np.sqrt(np.maximum(half / gain + shift + 0.375, 0)), np.float32)


def pool(data: Path, seed: int) -> list[Split]:
    """Return every noisy movie, split once, in an order that the seed shuffles."""
    rng = np.random.default_rng(seed)
    splits = []
    for movie in (*_fluorescence_images(data, rng), *_recordings(data, rng), *_simulated(seed, rng)):
        splits.append(Split(np.stack(halves(movie.frames, movie.gaussian, rng)), movie.gaussian))
    return [splits[k] for k in rng.permutation(len(splits))]


def _fluorescence_images(data: Path, rng: Rng) -> Iterator[Movie]:
    """CC0 images, each seen three times by a made-up camera, still or gliding by."""
    files = sorted((data / "dsb2018_fluo" / "images").glob("*.tif"))
    for k in rng.permutation(len(files))[:180]:
        image = tifffile.imread(files[k]).astype(np.float32)
        low, high = np.percentile(image, [1, 99.8])
        bright = np.clip((image - low) / max(high - low, 1), 0, 2)
        step = rng.normal(0, 1.2, 2) * (rng.random() < 0.6)
        shots = [_moved(bright, step * t) for t in range(FRAMES)]
        yield _noisy(_crop(np.stack(shots), rng), rng, background=float(rng.uniform(0.02, 0.4)))


def _recordings(data: Path, rng: Rng) -> Iterator[Movie]:
    """The second halves of recordings: made noisier, and as they are where their noise is known."""
    for sequence in CTC:
        files = sorted((data / "ctc" / sequence).glob("t*.tif"))
        files = files[len(files) // 2 :]
        phase = not sequence.startswith("Fluo")
        for k in range(48 if files else 0):
            at = int(rng.integers(0, len(files) - FRAMES + 1))
            counts = np.stack([tifffile.imread(file) for file in files[at : at + FRAMES]])
            noise = estimate(counts[-1])
            movie = _crop(counts.astype(np.float32), rng)
            if k % 4 == 0 and noise.gain > 0:
                yield Movie((movie - np.float32(noise.zero)) / np.float32(noise.gain))
                continue
            low, high = (0.0, 255.0) if phase else np.percentile(counts[-1], [1, 99.8])
            yield _noisy(
                (movie - np.float32(low)) / np.float32(high - low), rng, 0.0 if phase else float(rng.uniform(0.02, 0.3))
            )


def _simulated(seed: int, rng: Rng) -> Iterator[Movie]:
    """Movies of the virtual microscope, by the command that anyone has; its camera's figures are known."""
    gain, offset, read_e = 2.0, 100.0, 1.6
    for modality, brightness in SIMULATED:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "movie.toml"
            config.write_text(
                f'[camera]\ndriver = "virtual"\n[camera.options]\nsize_px = [384, 384]\ncells = 55\n'
                f'fields = 1\nmodality = "{modality}"\nbrightness = {brightness}\nminutes_per_second = 15.0\n'
                "[plan]\nexposure_ms = 20.0\ninterval_ms = 100.0\nlight_power = 0.5\n"
            )
            order = [sys.executable, "-c", SIMULATE, str(config), f"{folder}/out", "30", str(seed + 100)]
            subprocess.run(order, check=True, capture_output=True)
            counts = np.stack([tifffile.imread(file) for file in sorted(Path(folder, "out", "01").glob("t*.tif"))])
        electrons = (counts.astype(np.float32) - np.float32(offset)) / np.float32(gain) + np.float32(read_e**2)
        for at in range(0, len(electrons) - FRAMES + 1, FRAMES - 1):
            yield Movie(_crop(electrons[at : at + FRAMES], rng))


def _noisy(bright: Image, rng: Rng, background: float) -> Movie:
    """Record once what is given relative to its peak, with a camera of this moment's mood."""
    if rng.random() < 0.15:
        contrast = np.exp(rng.uniform(np.log(3), np.log(100)))
        return Movie((bright * contrast + rng.standard_normal(bright.shape)).astype(np.float32), gaussian=True)
    peak, read = np.exp(rng.uniform(np.log(3), np.log(400))), rng.uniform(0, 2.5)
    electrons = rng.poisson(np.maximum(bright + background, 0) * peak) + rng.normal(0, read, bright.shape)
    return Movie((electrons + read**2).astype(np.float32))


def _moved(image: Image, by_px: NDArray[np.float64]) -> Image:
    matrix = np.array([[1, 0, by_px[1]], [0, 1, by_px[0]]])
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REFLECT_101), np.float32)


def _crop(movie: Image, rng: Rng) -> Image:
    y, x = (int(rng.integers(0, max(side - SIDE_PX, 0) + 1)) for side in movie.shape[1:])
    return np.ascontiguousarray(movie[:, y : y + SIDE_PX, x : x + SIDE_PX])
