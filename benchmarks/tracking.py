"""Trackers on the same cells: ``python -m benchmarks.tracking --kept FOLDER [--virtual FOLDER] MODEL=SEQUENCE ...``.

Three questions, one harness: how the tracker compares with others, what each of its parts brings, and what is lost by
deciding at once instead of in hindsight. Cells are looked for once and kept in a folder; sequences are in the form of
the Cell Tracking Challenge with truth beside them (``NN_GT``). Recorded and virtual movies (those whose folder is named
with ``--virtual``) are never mixed in a table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.detections import detections
from benchmarks.followers import (
    Follower,
    Lineage,
    NotInstalled,
    btrack_with,
    laptrack_with,
    overlap_only,
    vote_only,
    votes_and_heads,
    without,
)
from benchmarks.hindsight import in_hindsight
from models.divide.lives import LifeDivider
from models.track.assignment import AssignmentTracker
from stream.score.ctc_writer import ResultWriter
from stream.score.folder import score_folder
from stream.stages import Segmented

FIGURES = ("DET", "TRA", "LNK", "CHOTA", "CT")
Shots = Sequence[Segmented]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to follow cells. ``run`` writes a result folder and returns ms per frame; ``live`` ones see no future."""

    name: str
    run: Callable[[Shots, Path], float]
    live: bool = True


def ours(last_words: bool = True, **options: Any) -> Callable[[Shots, Path], float]:
    """Return the way of the chain: tracker and divider, frame by frame; masks are final when decided.

    Parameters
    ----------
    last_words
        Whether the lineage follows what is said of a division within three frames; else its first word stands.
    """

    def run(shots: Shots, out: Path) -> float:
        tracker, divider, writer = AssignmentTracker(options), LifeDivider({}), ResultWriter(out)
        spent = []
        for shot in shots:
            begin = time.thread_time_ns()
            tracked = tracker.step(shot)
            events = divider.step(tracked)
            spent.append((time.thread_time_ns() - begin) / 1e6)
            told = [event for event in events if last_words or event.revision == 0]
            writer.decided(shot.moment.frame.frame, tracked.segmentation, tracked.tracks, told)
        writer.said(divider.finish() if last_words else ())
        writer.close()
        return float(np.median(spent))

    return run


def other(follower: Follower) -> Callable[[Shots, Path], float]:
    """Return the way of a baseline."""

    def run(shots: Shots, out: Path) -> float:
        begin = time.thread_time_ns()
        lineage = follower(shots)
        spent = (time.thread_time_ns() - begin) / 1e6 / len(shots)
        write(out, [(one.moment.frame.frame, one.segmentation) for one in shots], lineage)
        return spent

    return run


def blind(*columns: str) -> Callable[[Shots, Path], float]:
    """Return the way of the chain when the network says nothing in some columns."""
    return lambda shots, out: ours()(without(shots, *columns), out)


def hindsight(shots: Shots, out: Path) -> float:
    """Solve the whole movie at once, on the masks that the tracker made."""
    begin = time.thread_time_ns()
    shown, lineage = in_hindsight(shots)
    spent = (time.thread_time_ns() - begin) / 1e6 / len(shots)
    write(out, [(one.moment.frame.frame, one.segmentation) for one in shown], lineage)
    return spent


WAYS = (
    Way("overlap only", other(overlap_only)),
    Way("+ back-offset", other(vote_only)),
    Way("+ division heads", other(votes_and_heads)),
    Way("+ learned score, cells at the edge too", ours(last_words=False, edge=0.0, max_cut=0, stray_threshold=0.999)),
    Way("+ margin", ours(last_words=False, max_cut=0, stray_threshold=0.999)),
    Way("+ merges cut apart", ours(last_words=False, stray_threshold=0.999)),
    Way("+ fixed lag: births weighed again a frame later", ours(last_words=False)),
    Way("+ fixed lag: divisions weighed again for three frames (ours)", ours()),
    Way("ours, cells at the edge too", ours(edge=0.0)),
    Way("ours without back-offset", blind("prev_centre_px")),
    Way("ours without division heads", blind("state_prob")),
    Way("ours without the network's word", blind("prev_centre_px", "state_prob")),
    Way("ours, lineage in hindsight", hindsight, live=False),
    Way("laptrack, reach 0.7 diameters", other(laptrack_with(0.7)), live=False),
    Way("laptrack, reach 1.0 diameters", other(laptrack_with(1.0)), live=False),
    Way("btrack, cells of 20", other(btrack_with(20.0)), live=False),
    Way("btrack, cells of 30", other(btrack_with(30.0)), live=False),
)


def write(out: Path, shown: Sequence[tuple[int, Any]], lineage: Lineage) -> None:
    """Write a result folder without events: its divisions are those of its track file."""
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[int, list[int]] = {}
    for (number, segmentation), ids in zip(shown, lineage.id_of_cell, strict=True):
        lookup = np.zeros(int(segmentation.labels.max()) + 1, np.uint16)
        lookup[segmentation.cells.label] = ids
        tifffile.imwrite(out / f"mask{number:03d}.tif", lookup[segmentation.labels])
        for one in ids.tolist():
            rows.setdefault(one, [number, number])[1] = number
    lines = [f"{one} {a} {b} {lineage.parent.get(one, 0)}\n" for one, (a, b) in sorted(rows.items())]
    (out / "res_track.txt").write_text("".join(lines), encoding="utf-8")


def measure(way: Way, shots: Shots, truth: Path) -> dict[str, Any]:
    """Return what the scoring says of one way on one sequence, and ms per frame on one core.

    Raises
    ------
    NotInstalled
        The way is somebody else's tracker, and that is not here.
    """
    out = Path(tempfile.mkdtemp())
    try:
        spent = way.run(shots, out)
        scored = score_folder(out, truth)
    finally:
        shutil.rmtree(out)
    division = scored["division"]
    return {
        **{name: scored[name] for name in FIGURES},
        "F1": division["f1"],
        "precision": division["precision"],
        "recall": division["recall"],
        "ms": spent,
    }


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return Markdown: a table for each sequence, a row for each way."""
    names = (*FIGURES, "F1", "precision", "recall", "ms")
    lines = []
    for sequence, ways in results.items():
        lines += ["", sequence, "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for way, row in ways.items():
            cells = ["–" if row[name] is None else f"{row[name]:.{1 if name == 'ms' else 3}f}" for name in names]
            lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print one table for every sequence, recorded ones first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="MODEL=SEQUENCE")
    parser.add_argument("--kept", type=Path, required=True, help="folder for the cells that were found")
    parser.add_argument("--virtual", type=Path, help="sequences below this folder are virtual")
    parser.add_argument("--only", default="", help="ways whose name contains this")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    results: dict[bool, dict[str, dict[str, dict[str, Any]]]] = {False: {}, True: {}}
    for named in asked.sets:
        model, _, place = named.partition("=")
        sequence = Path(place)
        shots = list(detections(sequence, model, asked.kept))
        ours()(shots[:3], Path(tempfile.mkdtemp()))  # compiles
        is_virtual = asked.virtual is not None and asked.virtual.resolve() in sequence.resolve().parents
        rows = results[is_virtual].setdefault(f"{sequence.parent.name}/{sequence.name}, {model}", {})
        for way in (one for one in WAYS if asked.only in one.name):
            name = way.name + ("" if way.live else " (offline)")
            try:
                rows[name] = measure(way, shots, sequence.with_name(sequence.name + "_GT"))
                print(named, name, rows[name], file=sys.stderr, flush=True)
            except NotInstalled as missing:
                print(f"{name}: left out; {missing}", flush=True)
    for is_virtual, title in ((False, "Recorded"), (True, "Virtual")):
        if results[is_virtual]:
            print(f"\n## {title}\n{table(results[is_virtual])}")
    if asked.json:
        print(json.dumps({"recorded": results[False], "virtual": results[True]}))


if __name__ == "__main__":
    main()
