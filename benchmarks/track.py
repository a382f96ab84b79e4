"""What following cells costs per frame: ``python -m benchmarks.track [--frames N | --soak N] [--json]``.

The tracker and the divider that ship, on cells that wander, divide and die, with the votes and the heads' word that a
network gives. Times are those of one core (of the thread, so that other programs on the machine count little), compared
with the limits of the design and with a dense ``scipy.optimize.linear_sum_assignment`` of as many cells in the same
run; and once the stage jumps without saying so. ``--soak`` follows 300 cells and then 4,000, N frames each: the time
per frame and the memory at the end against those at the start. Exits 1 where a limit is missed or something grows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.culture import Culture
from models.divide.lives import LifeDivider
from models.track.assignment import AssignmentTracker
from stream.event import Event
from stream.stages import Segmented, Tracked

CASES = ((100, 512, 5.0), (500, 1024, 5.0), (3000, 2048, 30.0))
"""Cells, side of the image in px, limit in ms for the tracker in half of the frames; the divider is beside it."""
SOAKS = ((300, 512), (4000, 2048))
"""Cells, side of the image in px."""
COLD = 3
"""Frames that are not counted: the first ones have no past."""
JUMPS = (4.0, 8.0)
"""How far the stage jumps, in diameters of a cell."""
JUMP_AFTER = 20
"""Frames before the jump."""
MORE_MEMORY, MORE_TIME = 1.05, 1.25
"""Growth: mean RSS, and median time per frame, of the last tenth of the frames over those of the second tenth."""
SAVES = 200
"""How often the state is saved, to see how large it is."""


@dataclass(slots=True)
class Chain:
    """The tracker and the divider as the chain has them, and what each step cost in ms."""

    tracker: AssignmentTracker = field(default_factory=lambda: AssignmentTracker({}))
    divider: LifeDivider = field(default_factory=lambda: LifeDivider({}))
    track_ms: list[float] = field(default_factory=list)
    divide_ms: list[float] = field(default_factory=list)
    divisions: int = 0
    """How many were confirmed."""

    def step(self, shot: Segmented) -> Tracked:
        """Follow the cells of one frame."""
        begin = time.thread_time_ns()
        tracked = self.tracker.step(shot)
        middle = time.thread_time_ns()
        events = self.divider.step(tracked)
        self.divide_ms.append((time.thread_time_ns() - middle) / 1e6)
        self.track_ms.append((middle - begin) / 1e6)
        self.divisions += confirmed(events)
        return tracked

    @property
    def frame_ms(self) -> NDArray[np.float64]:
        """Both together, frame by frame."""
        both: NDArray[np.float64] = np.array(self.track_ms) + np.array(self.divide_ms)
        return both

    def state_kb(self) -> float:
        """Return how large the saved state is."""
        return (len(self.tracker.save()) + len(self.divider.save())) / 1024


def confirmed(events: Iterable[Event]) -> int:
    """Count divisions that are confirmed now."""
    return sum(one.kind == "division" and one.status == "confirmed" for one in events)


def dense_ms(count: int) -> float:
    """Time a dense assignment of as many cells."""
    points = np.random.default_rng(0).random((2, count, 2))
    cost = np.hypot(*(points[0][:, None] - points[1]).transpose(2, 0, 1))
    begin = time.thread_time_ns()
    linear_sum_assignment(cost)
    return (time.thread_time_ns() - begin) / 1e6


def measure(count: int, side: int, limit_ms: float, frames: int) -> dict[str, float]:
    """Return milliseconds per frame, and ratios."""
    chain, culture = Chain(), Culture(count, side)
    for _ in range(frames):
        chain.step(culture.shoot())
    track, divide, frame = (np.array(one[COLD:]) for one in (chain.track_ms, chain.divide_ms, chain.frame_ms))
    dense, p50 = dense_ms(count), float(np.median(track))
    return {
        "cells": count,
        "side_px": side,
        "track_ms_least": float(track.min()),
        "track_ms_p50": p50,
        "track_ms_p95": float(np.percentile(track, 95)),
        "divide_ms_p50": float(np.median(divide)),
        "divide_ms_p95": float(np.percentile(divide, 95)),
        "frame_ms_p50": float(np.median(frame)),
        "frame_ms_p99": float(np.percentile(frame, 99)),
        "limit_ms": limit_ms,
        "of_limit": p50 / limit_ms,
        "dense_assignment_ms": dense,
        "of_dense": p50 / dense,
        "divisions": chain.divisions,
    }


def jump(count: int, side: int, diameters: float) -> dict[str, float]:
    """Let the stage jump without saying so: what that frame costs, and how many tracks go on."""
    far_px = diameters * Culture(count, side).diameter_px
    chain, culture = Chain(), Culture(count, side, margin_px=far_px)
    for _ in range(JUMP_AFTER):
        before = tracks_of(chain, culture, culture.shoot())
    after = tracks_of(chain, culture, culture.shoot((0.6 * far_px, 0.8 * far_px)))
    at_jump = chain.frame_ms[-1]
    for _ in range(5):
        chain.step(culture.shoot())
    both = before.keys() & after.keys()
    return {
        "cells": count,
        "jump_diameters": diameters,
        "ms_before": float(np.median(chain.frame_ms[COLD:JUMP_AFTER])),
        "ms_at_jump": float(at_jump),
        "ms_after_most": float(chain.frame_ms[JUMP_AFTER + 1 :].max()),
        "of_before": float(at_jump / np.median(chain.frame_ms[COLD:JUMP_AFTER])),
        "tracks_kept": sum(before[name] == after[name] for name in both) / len(both),
    }


def tracks_of(chain: Chain, culture: Culture, shot: Segmented) -> dict[int, int]:
    """Follow one frame, and return the track of every cell of the culture that has one."""
    shown = chain.step(shot).segmentation.labels
    y, x = np.round(shot.segmentation.cells.centroid_px).astype(int).T
    return {name: track for name, track in zip(culture.names.tolist(), shown[y, x].tolist(), strict=True) if track}


def soak(count: int, side: int, frames: int) -> dict[str, float]:
    """Follow cells for a long time."""
    chain, culture = Chain(), Culture(count, side)
    memory_mb, state_kb = [], []
    for number in range(frames):
        chain.step(culture.shoot())
        memory_mb.append(resident_mb())
        if number % max(1, frames // SAVES) == 0:
            state_kb.append(chain.state_kb())
        if number % max(1, frames // 10) == 0:
            print(f"{count} cells: frame {number} of {frames}, {memory_mb[-1]:.0f} MB", file=sys.stderr, flush=True)
    (early_ms, late_ms), (early_mb, late_mb), (early_kb, late_kb) = map(
        ends, (chain.frame_ms, np.array(memory_mb), np.array(state_kb))
    )
    return {
        "cells": count,
        "frames": frames,
        "ms_p50_early": float(np.median(early_ms)),
        "ms_p99_early": float(np.percentile(early_ms, 99)),
        "ms_p50_late": float(np.median(late_ms)),
        "ms_p99_late": float(np.percentile(late_ms, 99)),
        "memory_mb_start": memory_mb[0],
        "memory_mb_early": float(np.mean(early_mb)),
        "memory_mb_late": float(np.mean(late_mb)),
        "memory_mb_end": memory_mb[-1],
        "state_kb_early": float(np.median(early_kb)),
        "state_kb_late": float(np.median(late_kb)),
        "divisions": chain.divisions,
    }


def ends(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the second tenth and the last tenth; in the first one code is compiled and caches fill."""
    tenth = max(1, len(values) // 10)
    return values[tenth : 2 * tenth], values[-tenth:]


def resident_mb() -> float:
    """Return the memory that this process holds now (Linux), or at its most (elsewhere)."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def too_slow(results: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the limits that are missed, in words."""
    return [
        f"{one['cells']:.0f} cells: the tracker's {one['track_ms_p50']:.1f} ms a frame are more than "
        f"{one['limit_ms']:g} ms"
        for one in results
        if one["of_limit"] > 1
    ]


def grown(results: Sequence[Mapping[str, float]]) -> list[str]:
    """Return what grew in a soak, in words."""
    found = []
    for what, unit, most in (("memory", "mb", MORE_MEMORY), ("ms", "p50", MORE_TIME)):
        for one in results:
            early, late = one[f"{what}_{unit}_early"], one[f"{what}_{unit}_late"]
            if late > most * early:
                name = "mean RSS in MB" if what == "memory" else "median ms per frame"
                share = f"more than {100 * (most - 1):.0f} % above the second tenth's {early:.1f}"
                found.append(f"{one['cells']:.0f} cells: {name} {late:.1f} in the last tenth of the frames is {share}")
    return found


def main() -> int:
    """Print one line for each size, and with ``--json`` one object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--soak", type=int, metavar="N", help="follow 300 and 4,000 cells for N frames each instead")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    measure(*CASES[0], frames=JUMP_AFTER)  # compiles
    said: dict[str, Any]
    if asked.soak:
        results = [soak(*case, asked.soak) for case in SOAKS]
        failures, said = grown(results), {"soak": results}
    else:
        results = [measure(*case, asked.frames) for case in CASES]
        jumps = [jump(*CASES[-1][:2], diameters) for diameters in JUMPS]
        failures, said = too_slow(results), {"track": results, "jump": jumps}
        results = [*results, *jumps]
    for one in results:
        print("  ".join(f"{name} {value:.4g}" for name, value in one.items()))
    for failure in failures:
        print(failure, file=sys.stderr)
    if asked.json:
        print(json.dumps({**said, "missed": failures}))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
