"""Runs the arms one after the other, each as ``cytoloop run`` would, and compares them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from stream import session
from stream.config import Configuration
from stream.errors import CytoloopError, StoreError
from stream.rehearse.arms import ARMS, arm, interval_of_same_dose, on_the_virtual_microscope
from stream.rehearse.score import Scored, score
from stream.rehearse.table import line

Say = Callable[[str], None]


def rehearse(
    config: Configuration,
    base: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    seconds: float,
    say: Say = lambda line: None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Rehearse a configuration and return what ``cytoloop rehearse --json`` says (docs/decisions/rehearsal.md).

    Parameters
    ----------
    base
        Where relative paths of the configuration start.
    out
        Gets a folder for this rehearsal with the run folders of all arms, ``rehearsal.json`` and ``rehearsal.png``.
    seeds
        One specimen each.
    seconds
        How long each arm images.

    Raises
    ------
    CytoloopError
        A node failed, or a run left no truth.
    """
    from stream.rehearse.picture import draw

    config, changes = on_the_virtual_microscope(config)
    folder = _folder(out, config.run.name)
    for change in changes:
        say(change)
    runs, rows = _run_all(config, base, folder, seeds, seconds, say, stop or threading.Event())
    result: dict[str, Any] = {
        "seeds": list(seeds),
        "seconds": seconds,
        "changes": changes,
        "arms": {name: _sum([one.figures for one in scored]) for name, scored in runs.items()},
        "runs": rows,
    }
    result["compared"] = _compare(result["arms"])
    result["picture"] = str(folder / "rehearsal.png")
    draw(runs, seeds, folder / "rehearsal.png")
    (folder / "rehearsal.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _run_all(
    config: Configuration,
    base: Path,
    folder: Path,
    seeds: Sequence[int],
    seconds: float,
    say: Say,
    stop: threading.Event,
) -> tuple[dict[str, list[Scored]], list[dict[str, Any]]]:
    """Run every arm with every seed; return them by arm, and one row of figures for each run."""
    runs: dict[str, list[Scored]] = {name: [] for name in ARMS}
    rows = []
    for seed in seeds:
        for name in ARMS:
            if stop.is_set():
                raise CytoloopError("the rehearsal was stopped before its last arm")
            interval_ms: float | None = None
            if name == "fixed":
                policy, without = (runs[other][-1].figures for other in ("policy", "without"))
                interval_ms = interval_of_same_dose(policy, without, seconds)
            scored = _one(arm(config, name, seed, folder, interval_ms), base, seconds, stop)
            runs[name].append(scored)
            row = {"seed": seed, "arm": name, "interval_ms": interval_ms, "run_dir": str(scored.run_dir)}
            rows.append({**row, **scored.figures})
            say(line(rows[-1]))
    return runs, rows


def _one(config: Configuration, base: Path, seconds: float, stop: threading.Event) -> Scored:
    report = session.run(config, base, ("acquire", "analyse"), seconds=seconds, stop=stop)
    if report.error:
        raise CytoloopError(f"{config.run.name}: {report.error}")
    return score(report.run_dir, config.dose)


def _folder(out: Path, name: str) -> Path:
    """Make the rehearsal's folder; like a run's it is never used twice."""
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-rehearse-{name}"
    for number in range(1, 1000):
        folder = (out if out.is_absolute() else Path.cwd() / out) / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"{out}: no folder can be made there: {error}") from error
    raise StoreError(f"{out}: holds a thousand rehearsals of this second")


_SUMMED = (
    "divisions", "caught", "missed", "false", "frames", "images", "aside", "in_window", "light_ms", "span_s",
    "mitoses_shown", "by_rig", "killed", "stimulated", "stimulated_daughters",
)  # fmt: skip


def _sum(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the seeds of one arm; delays and times at the right place are medians and means over them."""
    summed: dict[str, Any] = {name: round(sum(one[name] for one in figures), 3) for name in _SUMMED}
    delays = [one["delay_s"] for one in figures if one["delay_s"] is not None]
    summed["delay_s"] = float(median(delays)) if delays else None
    for name in ("at_place", "kept"):
        known = [one[name] for one in figures if one[name] is not None]
        summed[name] = round(fmean(known), 4) if known else None
    budgets = [one["budget_used"] for one in figures if one["budget_used"] is not None]
    summed["budget_used"] = max(budgets) if budgets else None
    for name in ("commands", "limits"):
        summed[name] = dict(sum((Counter(one[name]) for one in figures), Counter()))
    return summed


def _compare(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Set the policies against the steady plan of the same dose."""
    policy, fixed = arms["policy"], arms["fixed"]
    used = policy["budget_used"]
    return {
        "in_window_ratio": _ratio(policy["in_window"], fixed["in_window"]),
        "dose_ratio": _ratio(policy["light_ms"], fixed["light_ms"]),
        "budget_kept": None if used is None else used <= 1.0,
    }


def _ratio(one: float, other: float) -> float | None:
    return round(one / other, 4) if other else None
