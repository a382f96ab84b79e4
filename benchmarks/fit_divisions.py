"""Fits the score of a division: ``python -m benchmarks.fit_divisions MODEL=SEQUENCE [MODEL=SEQUENCE ...]``.

Runs segmenter and tracker over sequences with truth (``NN`` beside ``NN_GT``), labels every hypothesis that the tracker
weighs, and prints the constants of :mod:`models.divide.evidence` by kind, and how well they do on blocks of time that
they were not fitted on. Every sequence weighs the same. ``MODEL@D`` looks for cells of D px. A network is too good on
what it was trained on: ``--strip`` fits on mothers in the part of the field that training never learned from alone.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.detections import detections
from models.divide.evidence import (
    BIAS,
    DEPTH,
    FEATURES,
    LATE,
    SHARPEST,
    VOTED,
    VOTED_BIAS,
    VOTED_WEIGHTS,
    WEIGHTS,
    Mothers,
    described,
)
from models.track.assignment import AssignmentTracker, Linked
from models.track.measure import Bodies, daughters
from models.track.memory import Rows
from models.track.options import TrackOptions
from models.track.splits import Weighed, owners
from models.train.movie import BORDER_PX
from models.train.split import SHARE
from stream.cells import Kind
from stream.score.overlap import overlap
from stream.score.truth import Truth, read_mask, read_truth
from stream.stages import Segmented

Floats = NDArray[np.float64]
TOLERANCE_FRAMES = 1
PLAIN = np.array([BIAS, *WEIGHTS])
BLOCKS = 5
"""The movie is cut into so many parts, each of which is left out once."""
PROPOSED = TrackOptions().split_threshold


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Hypotheses of one sequence: :func:`models.divide.evidence.described` of each ``(n, DEPTH, len(VOTED))``, whether
    it was true, whether it lay in the strip that training never learned from, and in which block of time ``(n,)``."""

    name: str
    kind: Kind
    described: Floats
    true: NDArray[np.bool_]
    strip: NDArray[np.bool_]
    block: NDArray[np.int64]

    def only(self, rows: NDArray[np.bool_]) -> Candidates:
        """Return some of them."""
        columns = (getattr(self, name)[rows] for name in ("described", "true", "strip", "block"))
        return Candidates(self.name, self.kind, *columns)


class Watching(AssignmentTracker):
    """The tracker, and what it weighed in its last step."""

    weighed: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats] | None = None
    centre_px: Floats
    tracks: NDArray[np.int64]

    def _weigh(
        self, rows: Rows, mothers: Mothers, linked: Linked, stray: NDArray[np.bool_], within: NDArray[np.bool_]
    ) -> Weighed:
        of, found = super()._weigh(rows, mothers, linked, stray, within), linked.found
        by, mine, doubted = owners(of.row, of.one, of.two, linked.cell_of, stray)
        taken = ((by >= 0) & ~mine & ~doubted).any(axis=1)
        pairs = daughters(found, of.one, of.two, mine.any(axis=1), taken)
        told = described(mothers.take(of.row), pairs, found.typical_px)
        self.weighed, self.centre_px, self.tracks = (of.row, of.one, of.two, told), found.centre_px, rows["id"]
        return of


def watch(shots: Iterable[Segmented], truth: Truth, name: str) -> Candidates:
    """Track a sequence, and say of every hypothesis whether it was true.

    Left out is what the truth cannot judge: unmarked cells near the border.
    """
    tracker = Watching({})
    born = {int(label): int(first) for label, first, _, _ in truth.rows}
    parent = {int(label): int(mother) for label, _, _, mother in truth.rows}
    was: deque[Mapping[int, int]] = deque(maxlen=DEPTH + 1)
    features, true, strip, frames = [], [], [], []
    kind: Kind = "nuclei"
    for shot in shots:
        tracked = tracker.step(shot)
        frame, shape = tracked.moment.frame.frame, tracked.segmentation.labels.shape
        matches = overlap(read_mask(truth.markers[frame]), tracked.segmentation.labels.astype(np.int64)).matches()
        if tracker.weighed is not None:
            assert isinstance(tracked.measured, Bodies)
            places = zip(*tracked.measured.centre_px.T.tolist(), strict=True)
            label_at = dict(zip(places, tracked.segmentation.cells.label.tolist(), strict=True))
            real = [matches.get(label_at.get((y, x), 0), 0) for y, x in tracker.centre_px.tolist()]
            for row, one, two, told in zip(*tracker.weighed, strict=True):
                a, b, mother = real[one], real[two], parent.get(real[one], 0)
                if not (a and b) and _at_border(tracker.centre_px[[one, two]], shape).any():
                    continue
                sisters = a != b and mother != 0 and parent.get(b, 0) == mother
                new = sisters and abs(max(born[a], born[b]) - frame) <= TOLERANCE_FRAMES
                true.append(new and any(past.get(int(tracker.tracks[row])) == mother for past in was))
                strip.append(tracker.centre_px[[one, two], 1].mean() >= (1 - SHARE) * shape[1])
                features.append(told)
                frames.append(frame)
        kind = tracked.segmentation.kind or kind
        was.append(matches)
    described = np.array(features).reshape(-1, DEPTH, len(VOTED))
    block = blocks(np.array(frames, np.int64))
    return Candidates(name, kind, described, np.array(true, np.bool_), np.array(strip, np.bool_), block)


def blocks(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return in which of :data:`BLOCKS` parts of the movie each frame lies."""
    first, last = frames.min(initial=0), frames.max(initial=0)
    return (frames - first) * BLOCKS // (last + 1 - first)


def _at_border(centre_px: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say which cells reach so near to the border that they may lack a marker in the truth."""
    inside = np.minimum(centre_px, np.array(shape[:2]) - 1 - centre_px).min(axis=1)
    near: NDArray[np.bool_] = inside < 1.5 * BORDER_PX
    return near


def chosen(described: Floats, weights: Floats) -> Floats:
    """Return the evidence ``(n, columns)`` of each hypothesis' likeliest lag under ``weights`` (bias first)."""
    told = described[..., : len(weights) - 1]
    logit = np.where(np.isfinite(told).all(axis=-1), told @ weights[1:] + weights[0], -np.inf)
    best = np.nan_to_num(logit + np.log(LATE) * np.arange(DEPTH), neginf=-1e9).argmax(axis=1)
    features: Floats = np.take_along_axis(told, best[:, None, None], axis=1)[:, 0]
    return features


def fit(sets: Sequence[Candidates], start: Floats, stiffness: float) -> Floats:
    """Return bias and weights by penalised likelihood; the lag that counts is chosen anew in each of three rounds.

    Parameters
    ----------
    stiffness
        Weight of the squared standardised coefficients; every set counts as 300 hypotheses.
    """
    weights = start
    for _ in range(3):
        features = [chosen(one.described, weights) for one in sets]
        known = [np.isfinite(rows).all(axis=1) for rows in features]
        x = np.concatenate([rows[ok] for rows, ok in zip(features, known, strict=True)])
        y = np.concatenate([one.true[ok] for one, ok in zip(sets, known, strict=True)]).astype(np.float64)
        counts = np.concatenate([np.full(ok.sum(), 300 / max(ok.sum(), 1)) for ok in known])
        weights = regression(x, y, counts, stiffness)
    return weights


def left_out(sets: Sequence[Candidates], start: Floats, stiffness: float) -> str:
    """Return how well weights do on blocks of time that they were not fitted on, and how well ``start`` does there."""
    logit, before, true = [], [], []
    for block in range(BLOCKS):
        weights = fit([one.only(one.block != block) for one in sets], start, stiffness)
        for one in sets:
            mine = one.only(one.block == block)
            for told, by in ((logit, weights), (before, start)):
                features = chosen(mine.described, by)
                told.append(np.nan_to_num(features @ by[1:] + by[0], nan=-SHARPEST))
            true.append(mine.true)
    y = np.concatenate(true)
    return ", before ".join(_loss(np.concatenate(told), y) for told in (logit, before))


def _loss(logit: Floats, y: NDArray[np.bool_]) -> str:
    proposed = logit >= np.log(PROPOSED / (1 - PROPOSED))
    f1 = 2 * (proposed & y).sum() / max(proposed.sum() + y.sum(), 1)
    return f"log loss {float((np.logaddexp(0, logit) - y * logit).mean()):.4f}, F1 from {PROPOSED} {f1:.3f}"


def regression(x: Floats, y: Floats, counts: Floats, stiffness: float) -> Floats:
    """Return bias and weights by penalised likelihood; ``stiffness`` weighs the squared standardised coefficients."""
    mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = np.column_stack([np.ones(len(x)), (x - mean) / spread])

    def loss(b: Floats) -> tuple[float, Floats]:
        logit = z @ b
        value = (counts * (np.logaddexp(0, logit) - y * logit)).sum() + stiffness * (b[1:] ** 2).sum() / 2
        return float(value), z.T @ (counts * (1 / (1 + np.exp(-logit)) - y)) + stiffness * np.r_[0, b[1:]]

    found: Floats = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    weights: Floats = np.r_[found[0] - (found[1:] * mean / spread).sum(), found[1:] / spread]
    return weights


def figures(one: Candidates, weights: Floats) -> str:
    """Return how well the weights tell true from false on one set."""
    features = chosen(one.described, weights)
    known = np.isfinite(features).all(axis=1)
    y = one.true[known].astype(np.float64)
    p = 1 / (1 + np.exp(-np.clip(features[known] @ weights[1:] + weights[0], -30, 30)))
    loss = float(-np.log(np.where(y > 0, p, 1 - p)).mean()) if len(y) else np.nan
    above = (p[y > 0][:, None] > p[y == 0][None]).mean() if 0 < y.sum() < len(y) else np.nan
    f1 = 2 * y[p >= 0.5].sum() / max((p >= 0.5).sum() + y.sum(), 1)
    return f"{int(y.sum())} true of {len(y)}: log loss {loss:.4f}, AUC {above:.4f}, F1 at one half {f1:.3f}"


def main() -> None:
    """Print the constants and how well they do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="MODEL[@D]=SEQUENCE")
    parser.add_argument("--kept", type=Path, required=True, help="folder for the cells that were found")
    parser.add_argument("--strip", action="store_true", help="fit on mothers that training never saw")
    parser.add_argument("--plain", action="store_true", help="fit the score that needs no network")
    parser.add_argument("--stiffness", type=float, default=5.0)
    asked = parser.parse_args()
    found = []
    for named in asked.sets:
        told, _, place = named.rpartition("=")
        model, _, size = told.partition("@")
        sequence = Path(place)
        truth = read_truth(sequence.with_name(sequence.name + "_GT"), None)
        found.append(watch(detections(sequence, model, asked.kept, float(size) if size else None), truth, named))
    for kind in dict.fromkeys(one.kind for one in found):
        sets = [one for one in found if one.kind == kind]
        names, start = (FEATURES, PLAIN) if asked.plain else (VOTED, with_votes(kind))
        parts = [one.only(one.strip) for one in sets] if asked.strip else sets
        weights = fit(parts, start, asked.stiffness)
        print(
            f"{kind}: bias {weights[0]:.2f}",
            *(f"{n} {w:.2f}" for n, w in zip(names, weights[1:], strict=True)),
            sep="\n",
        )
        print("on time left out:", left_out(parts, start, asked.stiffness))
        for i, one in enumerate(sets):
            others = [part for k, part in enumerate(parts) if k != i]
            print(one.name, "all:", figures(one, weights), "strip:", figures(one.only(one.strip), weights), sep="\n  ")
            if others:
                print("  without it:", figures(one, fit(others, start, asked.stiffness)))


def with_votes(kind: Kind) -> Floats:
    """Return bias and weights as they are."""
    return np.array([VOTED_BIAS[kind], *VOTED_WEIGHTS[kind]])


if __name__ == "__main__":
    main()
