"""How fast is the virtual microscope drawn? 512², 100 cells in view, all noise included, on one core.

::

    python benchmarks/virtual.py --frames 300

prints one JSON object per channel: frames per second of processor time (the rest of the machine does not matter) and of
wall time, both also as a ratio to the 60 frames/s that are asked for. Exits with 1 below that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from drivers.virtual.microscope import Microscope, View
from drivers.virtual.options import VirtualOptions

ASKED_FPS = 60.0


def draw(channel: str, frames: int) -> dict[str, Any]:
    """Draw and age for ``frames`` frames in the calling thread."""
    microscope = Microscope(VirtualOptions(seed=1))
    view = View((0.0, 0.0, 0.0), (0, 0, 512, 512), 1, 20.0, 100.0, 0.5, channel, "16bit")
    cells = len(microscope.expose(view).lobes)
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    drawing_s = 0.0
    for _ in range(frames):
        begun_s = time.thread_time()
        microscope.expose(view)
        drawing_s += time.thread_time() - begun_s
        microscope.pass_by(view)
        microscope.rest()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.thread_time() - cpu_s
    return {
        "channel": channel,
        "frames": frames,
        "cells_in_reach": cells,
        "fps_cpu": round(frames / cpu_s, 1),
        "fps_wall": round(frames / wall_s, 1),
        "ratio_cpu": round(frames / cpu_s / ASKED_FPS, 2),
        "ratio_wall": round(frames / wall_s / ASKED_FPS, 2),
        "draw_ms": round(1e3 * drawing_s / frames, 2),
        "age_ms": round(1e3 * (cpu_s - drawing_s) / frames, 2),
    }


def main() -> int:
    """Print the figures; the channel of the nuclei decides."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=300)
    frames = parser.parse_args().frames
    results = [draw(channel, frames) for channel in ("nuclei", "cytoplasm", "phase")]
    for result in results:
        print(json.dumps(result))
    return int(results[0]["ratio_cpu"] < 1)


if __name__ == "__main__":
    sys.exit(main())
