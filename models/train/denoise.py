"""Trains the live denoiser without a clean image: ``python -m models.train.denoise --out models/zoo/denoise.onnx``."""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models.denoise.planes import planes
from models.denoise.spec import PLANES, DenoiseSpec
from models.nets.denoisenet import DenoiseNet, export
from models.train.denoise_data import Split, pool, stabilised
from models.train.precision import mixed
from models.zoo.card import Data, Training
from models.zoo.pack import pack

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[3] / "shared" / "data"))
CROP_PX, BATCH = 64, 16
RATE, AVERAGING = 2e-3, 0.998
HELD_OUT = 12
"""One movie of so many is only looked at to say how well it goes."""
DATA_USED = (
    Data(name="dsb2018_fluo, 180 images made noisy", terms="CC0", use="training"),
    Data(
        name="Cell Tracking Challenge Fluo-N2DL-HeLa/02, PhC-C2DL-PSC/01, DIC-C2DH-HeLa/01",
        terms="its terms: cite, no redistribution of the recordings",
        use="training: second halves, as recorded and made noisier; no truth of theirs",
    ),
    Data(name="five movies of the virtual microscope", terms="own", use="training"),
)

Floats = NDArray[np.float32]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Gain:
    """Decibels by which the held-out movies come nearer to what they show, judged by their other halves alone."""

    gain_db: float
    steps: int


def batch(movies: list[Split], rng: np.random.Generator) -> Batch:
    """Return planes, which past frames are known, the newest frame, and its other half; all stabilised."""
    seen, known = np.zeros((BATCH, PLANES, CROP_PX, CROP_PX), np.float32), np.ones((BATCH, 2), np.float32)
    newest, target = (np.empty((BATCH, 1, CROP_PX, CROP_PX), np.float32) for _ in range(2))
    for k in range(BATCH):
        movie = movies[int(rng.integers(len(movies)))]
        first, second = _crop(movie.frames, rng)
        wrong = float(np.exp(rng.normal(0, 0.1))), float(rng.normal(0, 0.3))
        half, other = (stabilised(part, movie.gaussian, *wrong) for part in (first, second[-1]))
        memory = int(rng.choice(3, p=(0.2, 0.15, 0.65)))
        past = [np.ascontiguousarray(half[-2 - back]) for back in range(memory)]
        known[k, memory:] = 0
        planes(np.ascontiguousarray(half[-1]), past, seen[k])
        newest[k, 0], target[k, 0] = half[-1], other
    return torch.from_numpy(seen), torch.from_numpy(known), torch.from_numpy(newest), torch.from_numpy(target)


def _crop(frames: Floats, rng: np.random.Generator) -> Floats:
    """Cut, turn and mirror, swap the halves, and let time run backwards half of the time."""
    y, x = (int(rng.integers(0, side - CROP_PX + 1)) for side in frames.shape[2:])
    halves, times, mirror = (int(rng.choice((1, -1))) for _ in range(3))
    cut = frames[::halves, ::times, y : y + CROP_PX, x : x + CROP_PX]
    return np.ascontiguousarray(np.rot90(cut, int(rng.integers(4)), (2, 3))[..., ::mirror])


def loss_of(net: DenoiseNet, shown: Batch) -> torch.Tensor:
    """Return the mean squared distance of the denoised half from the other half."""
    seen, known, newest, target = shown
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed("cpu")):
        excess = net(seen.contiguous(memory_format=torch.channels_last), known)
    return torch.mean((newest - excess.float() - target) ** 2)


@torch.no_grad()
def judge(net: DenoiseNet, shown: list[Batch], steps: int) -> Gain:
    """Take the noise of the other half out of the distance: what is left is the error."""
    raw = float(np.mean([float(torch.mean((one[2] - one[3]) ** 2)) for one in shown])) / 2
    left = float(np.mean([float(loss_of(net, one)) for one in shown])) - raw
    return Gain(round(10 * float(np.log10(raw / max(left, 1e-6))), 2), steps)


def fit(movies: list[Split], seed: int, minutes: float, most_steps: int) -> tuple[DenoiseNet, list[Gain]]:
    """Train until the time or the steps are used up, and return the averaged network with its progress."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = DenoiseNet(DenoiseSpec())
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    trained, held = movies[len(movies) // HELD_OUT :], movies[: len(movies) // HELD_OUT]
    exam = [batch(held, np.random.default_rng(k)) for k in range(8)]
    began, step, gains, share = time.process_time(), 0, [], 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("denoiser", total=1.0)
        while share < 1:
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * share))
            loss = loss_of(net, batch(trained, rng))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            step += 1
            if torch.isfinite(norm):  # else one bad crop would be the end of all weights
                optimiser.step()
                _average(averaged, net, min(AVERAGING, step / (step + 10)))
            share = max(step / most_steps, (time.process_time() - began) / (60 * minutes))
            if step % 500 == 0 or share >= 1:
                gains.append(judge(averaged, exam, step))
                bar.print(f"step {step}: {gains[-1].gain_db:.2f} dB")
            bar.update(task, completed=min(share, 1.0))
    return averaged, gains


@torch.no_grad()
def _average(averaged: DenoiseNet, net: DenoiseNet, keep: float) -> None:
    for slow, fast in zip(averaged.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


def keep(net: DenoiseNet, path: Path, gains: list[Gain], seed: int, minutes: float) -> None:
    """Write both precisions, outputs for the self-check (of drawn frames) and the card.

    The benchmark adds its decibels to it.
    """
    export(net, path)
    export(net, path.with_suffix(".fp16.onnx"), half=True)
    steps, best = gains[-1].steps, gains[-1].gain_db
    pack(
        path,
        data=DATA_USED,
        terms="BSD-3-Clause for the weights; the Cell Tracking Challenge asks to be cited",
        seed=seed,
        command=f"python -m models.train.denoise --out models/zoo/denoise.onnx --seed {seed} --steps {steps}",
        training=Training(
            steps=steps,
            minutes=round(minutes, 1),
            validation="No clean image was used. On every twelfth noisy movie, held out, the error fell by "
            f"{best:.1f} dB, judged by the other half of its photons.",
        ),
        failures=(
            "At about 5 photons, and in dim phase contrast, the wavelet denoiser comes nearer to the truth.",
            "Noise that neighbouring pixels share (compression, interpolation, fixed patterns) is taken for structure.",
            "Single bright pixels (cosmic rays, hot pixels) stay.",
            "Where the noise is read too large from one frame of dense texture, faint texture is smoothed.",
        ),
        intended_use="Denoises live frames of fluorescence and phase contrast after a variance-stabilising transform, "
        "for people to look at and for segmentation where that measured better. Not for measuring intensities.",
        folder=path.parent,
    )


def main() -> None:
    """Train, and write what ships."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="NAME.onnx; everything else comes beside it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=6.0, help="of one core, at most")
    parser.add_argument("--steps", type=int, default=6000, help="at most")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    movies = pool(asked.data, asked.seed)
    print(f"{len(movies)} noisy movies after {time.process_time() - began:.0f} s", flush=True)
    net, gains = fit(movies, asked.seed, asked.minutes, asked.steps)
    keep(net, asked.out, gains, asked.seed, (time.process_time() - began) / 60)


if __name__ == "__main__":
    main()
