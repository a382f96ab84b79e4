"""What the tracker and the divider cost per frame: ``python -m benchmarks.track [--soak N]``.

Cells of a random walk on a crowded field, some of which divide. Times are those of one core (of the thread, so that
other programs on the machine count little), compared with the limits of the design and with a dense
``scipy.optimize.linear_sum_assignment`` of as many cells in the same run. ``--soak`` follows 300 cells and then 4,000
for N frames: the time per frame and the memory at the end against those at the start.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.divide.rule import RuleDivider
from models.track.assignment import AssignmentTracker
from stream.cells import Cells, Segmentation, make_cells
from stream.frame import Frame
from stream.stages import Moment, Segmented

CASES = ((100, 512, 2.0), (500, 1024, 5.0), (3000, 2048, 30.0))
"""Cells, side of the image in px, limit in ms."""


def scene(places: NDArray[np.float64], side: int, number: int, radius: int) -> Segmented:
    """Draw discs of one size; later ones lie on top."""
    disc = np.argwhere(np.hypot(*(np.indices((2 * radius + 1,) * 2) - radius)) <= radius) - radius
    labels = np.zeros((side, side), np.int32)
    at = np.clip(np.round(places).astype(int)[:, None] + disc, 0, side - 1)
    labels[at[..., 0], at[..., 1]] = np.arange(1, len(places) + 1)[:, None]
    pixels = np.where(labels > 0, 300, 100).astype(np.uint16)
    ys, xs = np.nonzero(labels)
    of = labels[ys, xs]
    count = np.bincount(of, minlength=len(places) + 1)
    seen = np.nonzero(count)[0]
    centre = np.stack([np.bincount(of, v)[seen] / count[seen] for v in (ys, xs)], axis=1).astype(np.float32)
    low, high = np.full((len(places) + 1, 2), side), np.zeros((len(places) + 1, 2), np.int64)
    np.minimum.at(low, of, np.stack([ys, xs], axis=1))
    np.maximum.at(high, of, np.stack([ys, xs], axis=1) + 1)
    box = np.concatenate([low[seen], high[seen]], axis=1).astype(np.int32)
    n = len(seen)
    cells = make_cells(seen.astype(np.int32), centre, box, count[seen].astype(np.float32), np.zeros((n, 1), np.float32))
    frame = Frame(run="b", camera="c", session="s", epoch=0, seq=number, field="c:p0", frame=number, pixels=pixels)
    return Segmented(Moment(frame, elapsed_s=float(number)), Segmentation(labels, cells))


def movie(count: int, side: int, frames: int) -> list[Segmented]:
    """Let cells wander; two in a thousand divide in every frame."""
    rng = np.random.default_rng(count)
    pitch = side / np.ceil(np.sqrt(count))
    steps = np.arange(pitch / 2, side, pitch)
    places = np.array([(y, x) for y in steps for x in steps])[:count]
    shots = []
    for number in range(frames):
        places = np.clip(places + rng.normal(0, pitch / 20, places.shape), 8, side - 8)
        new = places[rng.random(len(places)) < 0.002] + [0.0, pitch / 3]
        places = np.concatenate([places, np.clip(new, 8, side - 8)])
        shots.append(scene(places, side, number, round(pitch / 3)))
    return shots


def dense_ms(count: int) -> float:
    """Time a dense assignment of as many cells."""
    points = np.random.default_rng(0).random((2, count, 2))
    cost = np.hypot(*(points[0][:, None] - points[1]).transpose(2, 0, 1))
    begin = time.thread_time_ns()
    linear_sum_assignment(cost)
    return (time.thread_time_ns() - begin) / 1e6


def measure(count: int, side: int, limit_ms: float, frames: int) -> dict[str, float]:
    """Return milliseconds per frame, and ratios."""
    tracker, divider = AssignmentTracker({}), RuleDivider({})
    track, divide = [], []
    for one in movie(count, side, frames):
        begin = time.thread_time_ns()
        tracked = tracker.step(one)
        middle = time.thread_time_ns()
        divider.step(tracked)
        track.append((middle - begin) / 1e6)
        divide.append((time.thread_time_ns() - middle) / 1e6)
    dense = dense_ms(count)
    p50 = float(np.median(track[3:]))
    return {
        "cells": count,
        "side_px": side,
        "track_ms_least": min(track[3:]),
        "track_ms_p50": p50,
        "track_ms_p95": float(np.percentile(track[3:], 95)),
        "divide_ms_p50": float(np.median(divide[3:])),
        "limit_ms": limit_ms,
        "of_limit": p50 / limit_ms,
        "dense_assignment_ms": dense,
        "of_dense": p50 / dense,
    }


def soak(count: int, side: int, frames: int) -> dict[str, float]:
    """Follow cells that wander about their places, some of which come and go, and say whether anything grows.

    The cells of a few frames are shown again and again, there and back; each time others are left out, so that tracks
    end and begin all the time.
    """
    shots = movie(count, side, 12)
    rng, tracker, divider = np.random.default_rng(0), AssignmentTracker({}), RuleDivider({})
    spent, memory_mb, state_kb = [], [], []
    for number in range(frames):
        at = number % (2 * len(shots) - 2)
        shown = _renumbered(shots[min(at, 2 * len(shots) - 2 - at)], number, rng)
        begin = time.thread_time_ns()
        divider.step(tracker.step(shown))
        spent.append((time.thread_time_ns() - begin) / 1e6)
        if number % max(1, frames // 20) == 0:
            memory_mb.append(resident_mb())
            state_kb.append((len(tracker.save()) + len(divider.save())) / 1024)
    tenth = max(1, frames // 10)
    early, late = spent[tenth : 2 * tenth], spent[-tenth:]
    return {
        "cells": count,
        "frames": frames,
        "ms_p50_early": float(np.median(early)),
        "ms_p50_late": float(np.median(late)),
        "ms_p99_late": float(np.percentile(late, 99)),
        "memory_mb_early": memory_mb[len(memory_mb) // 10 + 1],
        "memory_mb_late": memory_mb[-1],
        "state_kb_early": state_kb[len(state_kb) // 10 + 1],
        "state_kb_late": state_kb[-1],
    }


def _renumbered(shot: Segmented, number: int, rng: np.random.Generator) -> Segmented:
    """Return a shot as frame ``number``, one in two hundred of its cells left out."""
    cells = shot.segmentation.cells
    kept = rng.random(len(cells)) > 0.005
    labels = np.where(np.isin(shot.segmentation.labels, cells.label[kept]), shot.segmentation.labels, 0)
    columns = {column.name: getattr(cells, column.name)[kept] for column in fields(Cells)}
    frame = replace(shot.moment.frame, seq=number, frame=number)
    return Segmented(Moment(frame, elapsed_s=float(number)), Segmentation(labels, Cells(**columns)))


def resident_mb() -> float:
    """Return the memory that this process holds now (Linux), or at its most (elsewhere)."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print one line for each size, and with ``--json`` one object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--soak", type=int, metavar="N", help="follow cells for N frames instead (a tenth of it 4,000)")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.soak:
        results = [soak(300, 512, asked.soak), soak(4000, 2048, max(40, asked.soak // 10))]
    else:
        results = [measure(*case, asked.frames) for case in CASES]
    for one in results:
        print("  ".join(f"{name} {value:.4g}" for name, value in one.items()))
    if asked.json:
        print(json.dumps({"soak" if asked.soak else "track": results}))


if __name__ == "__main__":
    main()
