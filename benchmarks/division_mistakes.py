"""Why divisions were missed, or told where the truth has none: ``python -m benchmarks.division_mistakes RES GT``.

``RES`` is a folder that ``cytoloop evaluate`` wrote, ``GT`` the sequence's ``NN_GT``. What counts as found is what
:mod:`stream.score.divisions` says; each mistake has the first cause of the lists below that fits.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.score import ctc
from stream.score.divisions import TOLERANCE_FRAMES, Division, Judge, divisions_of, pair
from stream.score.overlap import Overlap, overlap
from stream.score.truth import Rows, numbered_masks, read_mask, read_rows, read_truth

MISSED = (
    "the daughters are not both cells of their own by the next frame",
    "told at another time or of another mother",
    "told of one daughter, with another partner",
    "not told",
)
FALSE = (
    "a daughter that is no single cell of the truth",
    "a true division at another time or of another mother",
    "two cells that begin as the truth's cell ends, which names no mother for both",
    "one true daughter, with another partner",
    "no division there",
)


@dataclass(frozen=True, slots=True)
class _Life:
    """A true track: its first and last frame, and its mother or 0."""

    first: int
    last: int
    parent: int


class Mistakes:
    """Compares what was found with the truth.

    Parameters
    ----------
    overlaps
        By frame.
    true_rows, found_rows
        Track rows of both.
    """

    def __init__(self, overlaps: Mapping[int, Overlap], true_rows: Rows, found_rows: Rows) -> None:
        self._true = {frame: one.matches() for frame, one in overlaps.items()}
        self._found = {frame: {true: found for found, true in one.items()} for frame, one in self._true.items()}
        self._lives = {label: _Life(first, last, parent) for label, first, last, parent in true_rows.tolist()}
        self.truth, self.told = divisions_of(true_rows), divisions_of(found_rows)
        judge = Judge(overlaps, self.truth)
        self._pairs = pair([judge.hits(one) for one in self.told])

    def missed(self) -> Counter[str]:
        """Return how many true divisions were missed by which cause."""
        hit = set(self._pairs.values())
        return Counter(MISSED[self._why_missed(one)] for i, one in enumerate(self.truth) if i not in hit)

    def false(self) -> Counter[str]:
        """Return how many divisions were told falsely by which cause."""
        return Counter(FALSE[self._why_false(one)] for i, one in enumerate(self.told) if i not in self._pairs)

    def _why_missed(self, true: Division) -> int:
        frames = [frame for frame in self._found if true.frame <= frame <= true.frame + TOLERANCE_FRAMES]
        if not any(all(d in self._found[frame] for d in true.daughters[:2]) for frame in frames):
            return 0
        cells = {found[d] for found in self._found.values() for d in true.daughters if d in found}
        shared = max((len(cells & set(one.daughters)) for one in self.told), default=0)
        return {2: 1, 1: 2}.get(min(shared, 2), 3)

    def _why_false(self, told: Division) -> int:
        daughters = [self._is(one, told.frame) for one in told.daughters[:2]]
        lives = [self._lives.get(one) for one in daughters]
        known = [life for life in lives if life is not None]
        if len(known) < 2 or daughters[0] == daughters[1]:
            return 0
        if known[0].parent and known[0].parent == known[1].parent:
            return 1
        near = [abs(life.first - told.frame) <= TOLERANCE_FRAMES for life in known]
        if all(near) and self._ends(told):
            return 2
        return 3 if any(ok and life.parent for ok, life in zip(near, known, strict=True)) else 4

    def _is(self, found: int, from_frame: int) -> int:
        """Return the true cell that a track is when it is first matched; 0: none, in the frames that count."""
        frames = range(from_frame, from_frame + 2)
        return next((self._true[f][found] for f in frames if found in self._true.get(f, {})), 0)

    def _ends(self, told: Division) -> bool:
        """Whether the truth's cell that the mother was ends where she divides."""
        frames = range(told.frame - 1, told.frame - 4, -1)
        was = next((self._true[f][told.mother] for f in frames if told.mother in self._true.get(f, {})), 0)
        return was in self._lives and abs(self._lives[was].last + 1 - told.frame) <= TOLERANCE_FRAMES


def mistakes_in(res: Path, gt: Path) -> Mistakes:
    """Read a result folder and its truth. Raises SourceError."""
    masks, truth = numbered_masks(res), read_truth(gt, None)
    within = {frame: path for frame, path in truth.markers.items() if min(masks) <= frame <= max(masks)}
    overlaps = {f: overlap(read_mask(path), read_mask(masks[f]) if f in masks else None) for f, path in within.items()}
    return Mistakes(overlaps, ctc.crop(truth.rows, min(within), max(within)), read_rows(res / "res_track.txt"))


def table(title: str, causes: Sequence[str], counted: Mapping[str, int]) -> str:
    """Return Markdown, in the order of the causes."""
    rows = [f"| {cause} | {counted[cause]} |" for cause in causes if counted.get(cause)]
    return "\n".join([f"| {title} | {sum(counted.values())} |", "|---|---|", *rows])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("res", type=Path)
    parser.add_argument("gt", type=Path)
    parser.add_argument("--json", action="store_true", help="one object last")
    asked = parser.parse_args()
    found = mistakes_in(asked.res, asked.gt)
    missed, false = found.missed(), found.false()
    print(table("missed", MISSED, missed), table("false", FALSE, false), sep="\n\n")
    if asked.json:
        print(json.dumps({"missed": missed, "false": false}))


if __name__ == "__main__":
    main()
