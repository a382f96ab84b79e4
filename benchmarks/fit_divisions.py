"""Fits the score of a division: ``python -m benchmarks.fit_divisions MODEL=SEQUENCE [MODEL=SEQUENCE ...]``.

Runs segmenter and tracker over sequences with truth (``NN`` beside ``NN_GT``), labels every hypothesis that the tracker
weighs, and prints the constants of :mod:`models.divide.evidence`. Every sequence weighs the same. A network is too good
on what it was trained on: ``--strip`` fits on mothers in the part of the field that training never learned from alone.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.detections import detections, moments
from models.divide.evidence import (
    BIAS,
    DEPTH,
    FEATURES,
    LATE,
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
from models.track.splits import Weighed
from models.train.movie import BORDER_PX
from models.train.split import SHARE
from stream import plugins
from stream.score.overlap import overlap
from stream.score.truth import Truth, read_mask, read_truth
from stream.stages import Segmented

Floats = NDArray[np.float64]
TOLERANCE_FRAMES = 1
PLAIN, WITH_VOTES = np.array([BIAS, *WEIGHTS]), np.array([VOTED_BIAS, *VOTED_WEIGHTS])


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Hypotheses of one sequence: :func:`models.divide.evidence.described` of each ``(n, DEPTH, len(VOTED))``, whether
    it was true and whether it lay in the strip that training never learned from ``(n,)``."""

    name: str
    described: Floats
    true: NDArray[np.bool_]
    strip: NDArray[np.bool_]

    def within(self) -> Candidates:
        """Return those of the strip alone."""
        return Candidates(self.name, self.described[self.strip], self.true[self.strip], self.strip[self.strip])


class Watching(AssignmentTracker):
    """The tracker, and what it weighed in its last step."""

    weighed: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats] | None = None
    centre_px: Floats
    tracks: NDArray[np.int64]

    def _weigh(
        self, rows: Rows, mothers: Mothers, linked: Linked, stray: NDArray[np.bool_], within: NDArray[np.bool_]
    ) -> Weighed:
        of, found = super()._weigh(rows, mothers, linked, stray, within), linked.found
        told = described(mothers.take(of.row), daughters(found, of.one, of.two), found.typical_px)
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
    features, true, strip = [], [], []
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
        was.append(matches)
    described = np.array(features).reshape(-1, DEPTH, len(VOTED))
    return Candidates(name, described, np.array(true, np.bool_), np.array(strip, np.bool_))


def _at_border(centre_px: Floats, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say which cells reach so near to the border that they may lack a marker in the truth."""
    inside = np.minimum(centre_px, np.array(shape[:2]) - 1 - centre_px).min(axis=1)
    near: NDArray[np.bool_] = inside < 1.5 * BORDER_PX
    return near


def shots(sequence: Path, model: str) -> Iterator[Segmented]:
    """Segment a sequence frame by frame; ``model`` is a segmenter's name or the path of a network."""
    is_file = model.endswith(".onnx")
    options = {"model": model} if is_file else {}
    segmenter = plugins.load("segmenters", "network" if is_file else model)(options)
    for moment in moments(sequence):
        yield Segmented(moment, segmenter.step(moment))


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
    parser.add_argument("sets", nargs="+", metavar="MODEL=SEQUENCE")
    parser.add_argument("--strip", action="store_true", help="fit on mothers that training never saw")
    parser.add_argument("--plain", action="store_true", help="fit the score that needs no network")
    parser.add_argument("--stiffness", type=float, default=5.0)
    parser.add_argument("--kept", type=Path, help="folder for the cells that were found, so that they are found once")
    asked = parser.parse_args()
    sets = []
    for named in asked.sets:
        model, _, place = named.rpartition("=")
        sequence = Path(place)
        truth = read_truth(sequence.with_name(sequence.name + "_GT"), None)
        found = shots(sequence, model) if asked.kept is None else detections(sequence, model, asked.kept)
        sets.append(watch(found, truth, named))
    names, start = (FEATURES, PLAIN) if asked.plain else (VOTED, WITH_VOTES)
    parts = [one.within() if asked.strip else one for one in sets]
    weights = fit(parts, start, asked.stiffness)
    print(f"bias {weights[0]:.2f}", *(f"{n} {w:.2f}" for n, w in zip(names, weights[1:], strict=True)), sep="\n")
    for i, one in enumerate(sets):
        others = [part for k, part in enumerate(parts) if k != i]
        print(one.name, "all:", figures(one, weights), "strip:", figures(one.within(), weights), sep="\n  ")
        if others:
            print("  without it:", figures(one, fit(others, start, asked.stiffness)))


if __name__ == "__main__":
    main()
