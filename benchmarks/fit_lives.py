"""Fits warnings, deaths and exits: ``python -m benchmarks.fit_lives MODEL=SEQUENCE [MODEL=SEQUENCE ...]``.

Runs denoiser, segmenter and tracker over sequences with truth (``NN`` beside ``NN_GT``), and prints the constants of
:mod:`models.divide.signs` and :mod:`models.divide.endings`, ready to be put there. Every sequence weighs the same.
Sequences of a classical segmenter take part in the score without a network alone, those of a network in both.

What is said of unseen cells: each sequence is scored by constants from the left half of all fields on its right half
and the other way round (``halves``), by constants from the other sequences of its kind (``others``), and, where a
network looked, in the strip of the field that its training never learned from (``strip``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit_divisions import regression
from benchmarks.lives import Cells, Lives, cells_of, deaths_of, exits_of, follow
from models.divide.endings import DEATH, EXIT
from models.divide.signs import SIGNS, TOLD
from stream.score.asof import expected_calibration_error

Floats = NDArray[np.float64]
COUNTS_AS = 5000.0
"""Cells in frames, or ends, as which every sequence counts."""


def fit(sets: Sequence[Cells], columns: int, stiffness: float) -> Floats:
    """Return bias and weights of the first so many columns, from the rows in which all of them are known."""
    parts = [one.take(np.asarray(np.isfinite(one.signs[:, :columns]).all(axis=1))) for one in sets]
    parts = [one for one in parts if len(one.true)]
    x = np.concatenate([one.signs[:, :columns] for one in parts])
    y = np.concatenate([one.true for one in parts]).astype(np.float64)
    counts = np.concatenate([np.full(len(one.true), COUNTS_AS / len(one.true)) for one in parts])
    return regression(x, y, counts, stiffness)


def stated(signs: Floats, weights: Floats) -> Floats:
    """Return the probabilities."""
    p: Floats = 1 / (1 + np.exp(-np.clip(signs[:, : len(weights) - 1] @ weights[1:] + weights[0], -30, 30)))
    return p


def figures(p: Floats, true: NDArray[np.bool_]) -> str:
    """Return how well probabilities tell true from false, and whether they mean what they say."""
    known = np.isfinite(p)
    p, true = p[known], true[known]
    if not 0 < true.sum() < len(true):
        return f"{int(true.sum())} true of {len(true)}"
    order = np.argsort(np.argsort(p))
    above = (order[true].mean() - (true.sum() - 1) / 2) / (~true).sum()
    loud = p >= np.sort(p)[-min(len(p), 3 * int(true.sum()))]
    error = expected_calibration_error(p[loud], true[loud].astype(np.float64))
    loss = float(-np.log(np.clip(np.where(true, p, 1 - p), 1e-9, 1)).mean())
    return f"{int(true.sum())} true of {len(true)}: log loss {loss:.4f}, AUC {above:.4f}, ECE of the loud {error:.3f}"


def fit_warnings(lives: Sequence[Lives], cells: Sequence[Cells], stiffness: float) -> None:
    """Print the constants of each kind, with and without a network, and how well they do."""
    for kind in ("nuclei", "phase"):
        of_kind = [(one, seen) for one, seen in zip(lives, cells, strict=True) if one.kind == kind]
        for heard, names in ((False, SIGNS), (True, TOLD)):
            n = len(names)
            sets = [(one, seen) for one, seen in of_kind if np.isfinite(seen.signs[:, :n]).all(axis=1).any()]
            if not sets:
                continue
            weights = fit([seen for _, seen in sets], n, stiffness)
            print(f"\nwarnings, {kind}, {'with' if heard else 'without'} a network: bias {weights[0]:.2f}")
            print("  (" + ", ".join(f"{w:.2f}" for w in weights[1:]) + f")  # {' '.join(names)}")
            for i, (one, seen) in enumerate(sets):
                others = [other for k, (_, other) in enumerate(sets) if k != i]
                _say_how_well(one, seen, [other for _, other in sets], others, lambda s: fit(s, n, stiffness))  # noqa: B023


def _say_how_well(
    one: Lives, seen: Cells, everyone: Sequence[Cells], others: Sequence[Cells], fitted: Callable[..., Floats]
) -> None:
    weights = fitted(everyone)
    print(" ", one.name)
    print("    all    ", figures(stated(seen.signs, weights), seen.true))
    left = seen.across < 0.5
    p = np.empty(len(left))
    for half, other in ((left, False), (~left, True)):
        learned = [part.take((part.across < 0.5) == other) for part in everyone]
        p[half] = stated(seen.signs[half], fitted(learned))
    print("    halves ", figures(p, seen.true))
    strip = seen.strip()
    print("    strip  ", figures(stated(strip.signs, weights), strip.true))
    if others:
        print("    others ", figures(stated(seen.signs, fitted(others)), seen.true))


def fit_ends(
    what: str, lives: Sequence[Lives], names: Sequence[str], ends: Callable[[Lives], tuple[Floats, NDArray[np.bool_]]]
) -> None:
    """Print the constants of deaths or exits, and how well they do, on each sequence by those of the others too."""
    sets = [Cells(*ends(one), np.zeros(0)) for one in lives]
    sets = [Cells(one.signs, one.true, np.zeros(len(one.true))) for one in sets]
    if not sum(len(one.true) for one in sets):
        return
    x, y = np.concatenate([one.signs for one in sets]), np.concatenate([one.true for one in sets]).astype(np.float64)
    weights = regression(x, y, np.ones(len(y)), 2.0)
    print(f"\n{what}: bias {weights[0]:.2f}")
    print("  (" + ", ".join(f"{w:.2f}" for w in weights[1:]) + f")  # {' '.join(names)}")
    for i, (one, seen) in enumerate(zip(lives, sets, strict=True)):
        rest = [k for k in range(len(sets)) if k != i and len(sets[k].true)]
        print(" ", one.name, "all:", figures(stated(seen.signs, weights), seen.true))
        if rest and len(seen.true):
            x, y = np.concatenate([sets[k].signs for k in rest]), np.concatenate([sets[k].true for k in rest])
            p = stated(seen.signs, regression(x, y.astype(np.float64), np.ones(len(y)), 2.0))
            said = p >= 0.5
            print(
                f"    others: {figures(p, seen.true)}; {int((said & seen.true).sum())} of {int(said.sum())} said true"
            )


def main() -> None:
    """Print the constants and how well they do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="MODEL=SEQUENCE")
    parser.add_argument("--stiffness", type=float, default=2.0)
    asked = parser.parse_args()
    lives = []
    for named in asked.sets:
        model, _, place = named.rpartition("=")
        lives.append(follow(Path(place), model))
    fit_all(lives, asked.stiffness)


def fit_all(lives: Sequence[Lives], stiffness: float) -> None:
    """Print the constants of everything."""
    fit_warnings(lives, [cells_of(one) for one in lives], stiffness)
    fit_ends("exits", lives, EXIT, exits_of)
    fit_ends("deaths", [one for one in lives if one.kind == "nuclei"], DEATH, deaths_of)


if __name__ == "__main__":
    main()
