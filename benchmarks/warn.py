"""Early warnings over every threshold: ``python -m benchmarks.warn MODEL=SEQUENCE [MODEL=SEQUENCE ...]``.

Follows sequences with truth (``NN`` beside ``NN_GT``) as an evaluation does, then warns once for each threshold, and
prints for each what :mod:`stream.score.mitosis` says: the precision-recall curve, false alarms and lead. ``shipped``
are the constants as they are; ``halves`` are constants fitted on one half of the fields and tried on the other, pooled
over both; ``strip`` is the part of the field that no network learned from, with shipped constants. ``--picture`` draws
the curves. Last come the constants of :data:`models.divide.signs.ANNOUNCED` that fit these sequences, each of which
weighs the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit_divisions import regression
from benchmarks.fit_lives import fit, stated
from benchmarks.lives import Cells, Lives, cells_of, follow, measured
from models.divide import history
from models.divide.rule import RuleDivider
from models.divide.signs import SIGNS, TOLD, coming, coming_at, told
from models.divide.telling import Now
from models.divide.warning import Warnings
from models.train.split import SHARE
from stream.cells import Kind
from stream.event import Event
from stream.score import mitosis
from stream.score.divisions import divisions_of
from stream.score.overlap import Overlap, overlap
from stream.score.truth import read_mask

Floats = NDArray[np.float64]
Probability = Callable[[history.History, Kind], Floats]
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
STIFFNESS = 2.0


def warnings_of(lives: Lives, threshold: float | None, probability: Probability = coming) -> list[mitosis.Warned]:
    """Return what is announced in a sequence."""
    rule, warnings, past = RuleDivider({}), Warnings(threshold, probability), history.begin()
    kind, events = lives.kind, list[Event]()
    for tracked in lives.tracked:
        found = measured(tracked)
        past = history.remember(past, tracked, found)
        events += warnings.step(past, kind, rule.step(tracked), Now.of(tracked))
    events += warnings.finish(rule.finish(), Now.of(lives.tracked[-1]).after())
    return mitosis.warned(event.as_json() for event in events)


def curve(
    lives: Lives, overlaps: Mapping[int, Overlap], probability: Callable[[bool], Probability] | None = None
) -> dict[float, dict[str, Any]]:
    """Return the figures by threshold.

    Parameters
    ----------
    overlaps
        Of the part of the field that counts; divisions and warnings elsewhere do not.
    probability
        By half: constants for the left half of the field (True) and for the right one; None: the shipped ones.
    """
    divisions = [one for one in divisions_of(lives.truth.rows) if _is_there(one.mother, one.frame, overlaps)]
    made = {}
    for threshold in THRESHOLDS:
        said = warnings_of(lives, threshold, coming if probability is None else _by_half(lives, probability))
        here = [one for one in said if one.frame in overlaps and one.cell in overlaps[one.frame].found]
        made[threshold] = mitosis.report(overlaps, divisions, here)
    return made


def sureness(kind: Kind, everyone: Sequence[Lives]) -> tuple[float, float]:
    """Return slope and bias of :data:`models.divide.signs.ANNOUNCED` that fit what is announced of a kind."""
    said = [mitosis.outcomes(one.overlaps, divisions_of(one.truth.rows), warnings_of(one, None)) for one in everyone]
    stated, came_true = (np.concatenate(column) for column in zip(*said, strict=True))
    raw = np.array([coming_at(float(p), kind) for p in stated])
    counts = np.concatenate([np.full(len(column), 1000 / max(len(column), 1)) for column, _ in said])
    bias, slope = regression(np.log(raw / (1 - raw))[:, None], came_true, counts, 0.0)
    return float(slope), float(bias)


def strip_of(lives: Lives) -> dict[int, Overlap]:
    """Return the overlaps in the right edge of the field, which training leaves out."""
    made = {}
    for tracked in lives.tracked:
        number, labels = tracked.moment.frame.frame, tracked.segmentation.labels.astype(np.int64)
        first = round((1 - SHARE) * labels.shape[1])
        made[number] = overlap(read_mask(lives.truth.markers[number])[:, first:], labels[:, first:])
    return made


def halves(everyone: Sequence[Cells]) -> Callable[[bool], Probability]:
    """Return probabilities for the left half of the field (True), fitted on the right halves, and vice versa."""

    def fitted(left: bool) -> Probability:
        parts = [one.take((one.across < 0.5) != left) for one in everyone]
        plain = fit(parts, len(SIGNS), STIFFNESS)
        heard = any(np.isfinite(one.signs).all(axis=1).any() for one in parts)
        full = fit(parts, len(TOLD), STIFFNESS) if heard else plain

        def probability(rows: history.History, kind: Kind) -> Floats:
            signs = told(rows)
            return np.where(np.isfinite(signs).all(axis=1), stated(np.nan_to_num(signs), full), stated(signs, plain))

        return probability

    made = {left: fitted(left) for left in (True, False)}
    return made.__getitem__


def _by_half(lives: Lives, probability: Callable[[bool], Probability]) -> Probability:
    width = lives.tracked[0].moment.frame.pixels.shape[1]

    def either(rows: history.History, kind: Kind) -> Floats:
        left = rows["yx_px"][:, 1] < width / 2
        return np.where(left, probability(True)(rows, kind), probability(False)(rows, kind))

    return either


def _is_there(mother: int, split: int, overlaps: Mapping[int, Overlap]) -> bool:
    return any(
        frame < split and mother in overlaps[frame].truth for frame in range(split - 3, split) if frame in overlaps
    )


def _table(curve: Mapping[float, Mapping[str, Any]]) -> None:
    print("    threshold  announced  precision  false/1000  lead  ECE   Brier")
    for threshold, one in curve.items():
        row = (one[name] for name in ("announced", "precision", "false_per_1000", "lead_frames", "ece", "brier"))
        print(f"    {threshold:9.2f}", *(f"{np.nan if v is None else v:9.3f}" for v in row))


def draw(curves: Mapping[str, Mapping[float, Mapping[str, Any]]], path: Path) -> None:
    """Draw precision and false alarms over the share that is announced; the target is marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name, label in zip(
        figure.subplots(1, 2),
        ("precision", "false_per_1000"),
        ("came true", "false alarms per 1,000 cells"),
        strict=True,
    ):
        for title, curve in curves.items():
            points = [
                (one["announced"], one[name]) for one in curve.values() if None not in (one["announced"], one[name])
            ]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.2, label=title)
        axes.set(xlim=(0, 1), xlabel="divisions announced at least one frame ahead", ylabel=label)
        axes.set_ylim(0, 1 if name == "precision" else 20)
    axes.plot((0.8, 0.8, 1), (0, 5, 5), color="0.6", linewidth=1, linestyle="--")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", fontsize=7, frameon=False, ncols=2)
    figure.savefig(path, metadata={"Software": None})


def show(lives: Sequence[Lives], picture: Path | None) -> None:
    """Print the curves of every sequence and draw them."""
    cells = [cells_of(one) for one in lives]
    curves = {}
    for one in lives:
        kin = [seen for other, seen in zip(lives, cells, strict=True) if other.kind == one.kind]
        variants = {
            "shipped": curve(one, one.overlaps),
            "halves": curve(one, one.overlaps, halves(kin)),
            "strip": curve(one, strip_of(one)),
        }
        for name, made in variants.items():
            print(f"{one.name}, {name}")
            _table(made)
        title = "/".join(Path(one.name).parts[-2:])
        curves.update({f"{title}, {name}": variants[name] for name in ("shipped", "halves")})
    for kind in sorted({one.kind for one in lives}):
        slope, bias = sureness(kind, [one for one in lives if one.kind == kind])
        print(f"{kind}: announced = ({slope:.2f}, {bias:.2f})")
    if picture is not None:
        draw(curves, picture)


def main() -> None:
    """Print the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="MODEL=SEQUENCE")
    parser.add_argument("--picture", type=Path, help="write the curves as a PNG")
    asked = parser.parse_args()
    parts = [named.rpartition("=") for named in asked.sets]
    show([follow(Path(place), model) for model, _, place in parts], asked.picture)


if __name__ == "__main__":
    main()
