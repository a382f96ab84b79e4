"""The denoisers against each other: time, decibels, and what they do to the cells that are found.

``python -m benchmarks.denoise [--json] [--only speed simulated real cells] [--segment nuclei=NAME phase=NAME]``. Movies
of the virtual microscope and real recordings never share a table. Real ones are looked for in ``$CYTOLOOP_DATA``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.denoise_cells import cells
from benchmarks.denoise_quality import DENOISERS, made, simulated, w2s
from models import zoo
from stream.frame import Frame
from stream.stages import Moment

DATA = Path(os.environ.get("CYTOLOOP_DATA", Path(__file__).parents[2] / "shared" / "data"))
PARTS = ("speed", "simulated", "real", "cells")
CASES: tuple[tuple[tuple[int, int], Any, float], ...] = (
    ((512, 512), np.uint16, 5.0),
    ((1024, 1024), np.uint16, 20.0),
    ((700, 1100), np.uint16, 12.0),
    ((576, 720), np.uint8, 8.0),
)
"""Shape, type, and the limit in ms of the recursive denoiser."""


def speed(name: str, shape: tuple[int, int], dtype: Any, limit_ms: float, frames: int) -> dict[str, Any]:
    """Return milliseconds per frame (``cpu``: of all cores together), and a ratio to a blur of cv2 in the same run."""
    rng = np.random.default_rng(0)
    movie = [(rng.poisson(60, shape) + 20).astype(dtype) for _ in range(8)]
    stage, ours, busy, blur = made(name), [], [], []
    for number in range(frames):
        pixels = movie[number % len(movie)]
        moment = Moment(Frame("b", "c", "s", 0, number, "c:p0", number, pixels))
        begin, worked = time.perf_counter_ns(), time.process_time_ns()
        stage.step(moment)
        ours.append((time.perf_counter_ns() - begin) / 1e6)
        busy.append((time.process_time_ns() - worked) / 1e6)
        image = pixels.astype(np.float32)
        begin = time.perf_counter_ns()
        cv2.GaussianBlur(image, (0, 0), 1.5)
        blur.append((time.perf_counter_ns() - begin) / 1e6)
    p50 = float(np.median(ours[3:]))
    row = {
        "denoise": name, "shape": f"{shape[0]}x{shape[1]}", "type": np.dtype(dtype).name, "ms_min": min(ours[3:]),
        "ms_p50": p50, "ms_p95": float(np.percentile(ours[3:], 95)), "first_ms": ours[0], "cpu_ms_min": min(busy[3:]),
        "of_blur": p50 / float(np.median(blur[3:])),
    }  # fmt: skip
    return row | ({"limit_ms": limit_ms, "of_limit": p50 / limit_ms} if name == "recursive" else {})


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    Console(width=160).print(table)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 2 else f"{value:.2f}"
    return "" if value is None else str(value)


def measured(asked: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each part that is asked for."""
    names, found = list(asked.denoise), {}
    if "speed" in asked.only:
        stages = [name for name in names if name != "none"]
        found["speed"] = [speed(name, *case, asked.repeat) for name in stages for case in CASES]
    if "simulated" in asked.only:
        found["simulated"] = simulated(asked.movie_frames, asked.side, names)
    if "real" in asked.only:
        found["real"] = w2s(DATA / "w2s", names, asked.images)
    if "cells" in asked.only:
        segment = dict(pair.split("=", 1) for pair in asked.segment)
        found["cells"] = cells(DATA, {name: DENOISERS[name] for name in names}, segment, asked.frames)
    return found


TITLES = {
    "speed": "Milliseconds a frame",
    "simulated": "Virtual camera: PSNR in dB against the exact mean",
    "real": "w2s: PSNR in dB of single frames against the mean of 400, gain and offset fitted",
    "cells": "Recordings: cells and divisions found",
}


def figures(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the decibels on real recordings as rows of a model card, whose one table simulated ones do not share."""
    return [
        {
            "sequence": f"{row['images']}, {row['count']} images", "role": "PSNR in dB; trained on none of it",
            **{name: row[name] for name in DENOISERS if name in row},
        }
        for row in found.get("real", [])
    ]  # fmt: skip


def main() -> None:
    """Print one table for each part, and with ``--json`` one object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--denoise", nargs="+", choices=tuple(DENOISERS), default=tuple(DENOISERS))
    parser.add_argument("--segment", nargs="+", default=["nuclei=classical-nuclei", "phase=classical-phase"])
    parser.add_argument("--frames", type=int, default=1000, help="of each recording")
    parser.add_argument("--movie-frames", type=int, default=12, help="of each movie of the virtual microscope")
    parser.add_argument("--side", type=int, default=512, help="of the virtual sensor")
    parser.add_argument("--images", type=int, default=1000, help="of each channel of w2s")
    parser.add_argument("--repeat", type=int, default=100, help="frames that are timed")
    parser.add_argument("--card", action="store_true", help="write the decibels on real ones into the network's card")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    found = measured(asked)
    for part, rows in found.items():
        show(TITLES[part], rows)
    if asked.card:
        zoo.card("denoise").model_copy(update={"figures": tuple(figures(found))}).write(zoo.HERE)
    if asked.json:
        print(json.dumps({"denoise": found}))


if __name__ == "__main__":
    main()
