"""Does the DemoCamera lose frames? Both modes at 512², with what the hand-over cost.

::

    python benchmarks/democam.py --seconds 60

prints one JSON object: per mode the frames, what was lost by reason, the time from the core's stamp to the pop, and
the share of one core that the whole process used (the simulated camera included). Exits with 1 when a frame was lost.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any

import mm_test_adapters
import numpy as np

from drivers.micromanager.driver import MicroManagerDriver
from stream.config import CameraSettings, PlanSettings
from stream.frame import Ended, Frame, Gap

PLANS = {
    "stream": PlanSettings(mode="stream", exposure_ms=33.0),
    "mda": PlanSettings(mode="mda", exposure_ms=1.0, interval_ms=33.0),
}


def take(plan: PlanSettings, seconds: float) -> dict[str, Any]:
    """Take frames for ``seconds`` from a fresh driver and say what came."""
    driver = MicroManagerDriver()
    options = {"adapters": [mm_test_adapters.device_adapter_path()], "properties": {"Camera.Mode": "Fluorescent Beads"}}
    driver.open(CameraSettings(driver="micromanager", options=options), run="bench", session="0")
    lost: Counter[str] = Counter()
    pop_ms: list[float] = []
    taken_ns: list[int] = []
    driver.start(plan)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - began_s < seconds:
        item = driver.next(1.0)
        if isinstance(item, Frame):
            pop_ms.append((item.stamps.t_pop_ns - item.stamps.t_camera_ns) / 1e6)
            taken_ns.append(item.stamps.t_camera_ns)
        elif isinstance(item, Gap):
            lost[item.reason] += max(item.missing, 1)
        elif isinstance(item, Ended):
            lost[item.reason] += 1
            break
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    driver.stop()
    interval_ms = np.diff(taken_ns) / 1e6
    return {
        "frames": len(pop_ms),
        "lost": lost.total(),
        "lost_by_reason": dict(lost),
        "fps": round(len(pop_ms) / wall_s, 2),
        "interval_ms": _quantiles(interval_ms),
        "core_to_pop_ms": _quantiles(np.asarray(pop_ms)),
        "cpu_share": round(cpu_s / wall_s, 3),
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 95, 99)} | {
        "max": round(float(values.max()), 3)
    }


def main() -> int:
    """Run both modes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    results = {mode: take(plan, seconds) for mode, plan in PLANS.items()}
    print(json.dumps(results))
    return int(any(result["lost"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
