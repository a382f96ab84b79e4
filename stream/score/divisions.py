"""Strict scoring of divisions: the right mother, the right daughters, at the right time.

A found division is a hit when

- its first frame with two daughters is within one frame of the true one,
- its mother is matched to the true mother in the last frame in which both are there,
- each of its daughters is matched to a different true daughter in the first frame in which both are there (of a
  three-way division two suffice).

An object matches a marker that it covers by more than half when it covers no other marker. So a wrong daughter costs
one false positive and one false negative. A parent with one child is no division.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream.score.overlap import Overlap
from stream.score.tracks import presence
from stream.score.truth import Rows

TOLERANCE_FRAMES = 1


@dataclass(frozen=True, slots=True)
class Division:
    """A mother, her daughters (two or more) and the first frame in which two of them are there."""

    mother: int
    daughters: tuple[int, ...]
    frame: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many divisions were found, wrongly found and missed."""

    hits: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float | None:
        """Hits of all found; None where nothing was found."""
        return _ratio(self.hits, self.hits + self.wrong)

    @property
    def recall(self) -> float | None:
        """Hits of all true; None where there is no true division."""
        return _ratio(self.hits, self.hits + self.missed)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None where there is neither a true nor a found division."""
        return _ratio(2 * self.hits, 2 * self.hits + self.wrong + self.missed)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def divisions_of(rows: Rows) -> list[Division]:
    """Read the divisions from track rows, by frame and mother; one child makes none."""
    children: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for label, first, _, parent in rows.tolist():
        if parent:
            children[parent].append((first, label))
    made = [
        Division(mother, tuple(label for _, label in sorted(born)), sorted(born)[1][0])
        for mother, born in children.items()
        if len(born) > 1
    ]
    return sorted(made, key=lambda one: (one.frame, one.mother))


class Judge:
    """Says which true division a found one hits, from the overlaps of all frames."""

    def __init__(self, overlaps: Mapping[int, Overlap], truth: Sequence[Division]) -> None:
        self.truth = truth
        self._matches = {frame: one.matches() for frame, one in overlaps.items()}
        self._found = presence({frame: one.found for frame, one in overlaps.items()})
        self._true = presence({frame: one.truth for frame, one in overlaps.items()})
        self.cells = sum(len(frames) for frames in self._true.values())
        """True cells, counted in every frame in which they are there."""

    def hits(self, found: Division) -> list[int]:
        """Return the indices of the true divisions that ``found`` hits, the nearest in time first."""
        near = [i for i, true in enumerate(self.truth) if abs(true.frame - found.frame) <= TOLERANCE_FRAMES]
        near.sort(key=lambda i: (abs(self.truth[i].frame - found.frame), i))
        return [
            i for i in near if self._same_mother(found, self.truth[i]) and self._same_daughters(found, self.truth[i])
        ]

    def _same_mother(self, found: Division, true: Division) -> bool:
        theirs = {frame for frame in self._true.get(true.mother, ()) if frame < true.frame}
        common = [frame for frame in self._found.get(found.mother, ()) if frame < found.frame and frame in theirs]
        return bool(common) and self._matches[common[-1]].get(found.mother) == true.mother

    def _same_daughters(self, found: Division, true: Division) -> bool:
        taken: set[int] = set()
        for daughter in found.daughters:
            match = next((one for one in true.daughters if one not in taken and self._same(daughter, one)), None)
            if match is None:
                return False
            taken.add(match)
        return len(taken) > 1

    def _same(self, found: int, true: int) -> bool:
        theirs = set(self._true.get(true, ()))
        common = next((frame for frame in self._found.get(found, ()) if frame in theirs), None)
        return common is not None and self._matches[common].get(found) == true


def pair(candidates: Sequence[Sequence[int]], order: Collection[int] | None = None) -> dict[int, int]:
    """Give each true division to at most one found one: found index → true index, as many as possible.

    ``candidates`` holds for each found division the true ones it hits; ``order`` the found divisions that take part,
    the preferred ones first.
    """
    holder: dict[int, int] = {}

    def place(found: int, tried: set[int]) -> bool:
        for true in candidates[found]:
            if true not in tried:
                tried.add(true)
                if true not in holder or place(holder[true], tried):
                    holder[true] = found
                    return True
        return False

    for found in range(len(candidates)) if order is None else order:
        place(found, set())
    return {found: true for true, found in holder.items()}


def count(candidates: Sequence[Sequence[int]], truths: int) -> Counts:
    """Count hits, wrong and missed divisions."""
    hits = len(pair(candidates))
    return Counts(hits, len(candidates) - hits, truths - hits)


def median_or_none(values: Sequence[float]) -> float | None:
    """Return the median; None of nothing."""
    return float(np.median(values)) if values else None
