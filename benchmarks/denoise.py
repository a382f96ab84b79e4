"""What the denoiser costs per frame, and a Gaussian blur of cv2 beside it: ``python -m benchmarks.denoise``."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import cv2
import numpy as np

from models.denoise.recursive import RecursiveDenoiser
from stream.frame import Frame
from stream.stages import Moment

CASES: tuple[tuple[tuple[int, int], Any, float], ...] = (
    ((512, 512), np.uint16, 5.0),
    ((700, 1100), np.uint16, 12.0),
    ((576, 720), np.uint8, 8.0),
)
"""Shape, type, limit in ms."""


def measure(shape: tuple[int, int], dtype: Any, limit_ms: float, frames: int) -> dict[str, Any]:
    """Return milliseconds per frame, and ratios to the limit and to the blur."""
    rng = np.random.default_rng(0)
    movie = [(rng.poisson(60, shape) + 20).astype(dtype) for _ in range(8)]
    stage, ours, blur = RecursiveDenoiser({}), [], []
    for number in range(frames):
        pixels = movie[number % len(movie)]
        moment = Moment(Frame("b", "c", "s", 0, number, "c:p0", number, pixels))
        begin = time.perf_counter_ns()
        stage.step(moment)
        ours.append((time.perf_counter_ns() - begin) / 1e6)
        image = pixels.astype(np.float32)
        begin = time.perf_counter_ns()
        cv2.GaussianBlur(image, (0, 0), 1.5)
        blur.append((time.perf_counter_ns() - begin) / 1e6)
    p50 = float(np.median(ours[3:]))
    return {
        "shape": shape,
        "type": np.dtype(dtype).name,
        "denoise_ms_p50": p50,
        "denoise_ms_p95": float(np.percentile(ours[3:], 95)),
        "first_ms": ours[0],
        "limit_ms": limit_ms,
        "of_limit": p50 / limit_ms,
        "of_blur": p50 / float(np.median(blur[3:])),
    }


def main() -> None:
    """Print one line for each case, and with ``--json`` one object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    results = [measure(*case, asked.frames) for case in CASES]
    for one in results:
        print(
            "  ".join(
                f"{name} {value if not isinstance(value, float) else f'{value:.3g}'}" for name, value in one.items()
            )
        )
    if asked.json:
        print(json.dumps({"denoise": results}))


if __name__ == "__main__":
    main()
