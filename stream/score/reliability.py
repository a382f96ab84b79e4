"""Draws stated confidence against what came true: the reliability diagram of division events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stream.score.asof import calibration, expected_calibration_error

Outcomes = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""The confidence that each event first stated ``(n,)``, and 1.0 where it came true, else 0.0 ``(n,)``."""
_INCHES, _DPI = (4.2, 4.2), 100
_Z = 1.96


def draw(outcomes: Mapping[str, Outcomes], path: Path) -> None:
    """Write a reliability diagram with one line for each sequence.

    Five bins of equal count, as in the figure ``ece``; the bars are Wilson's 95 % intervals of the hit rate. The same
    outcomes give the same bytes with the same matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
    for name, (stated, came_true) in outcomes.items():
        bins = calibration(stated, came_true)
        if not bins:
            continue
        said, true, counts = (np.array(column, np.float64) for column in zip(*bins, strict=True))
        bars = np.clip([true - _wilson(true, counts)[0], _wilson(true, counts)[1] - true], 0.0, 1.0)
        error = expected_calibration_error(stated, came_true)
        label = f"{name}: {len(stated)} events, ECE {error:.2f}"
        axes.errorbar(said, true, yerr=bars, marker="o", markersize=4, linewidth=1.2, capsize=2, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence when first said", ylabel="came true")
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside upper center", fontsize=7, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _wilson(rate: np.ndarray[Any, Any], count: np.ndarray[Any, Any]) -> Outcomes:
    """Return the limits of the 95 % interval of a rate (E. B. Wilson, 1927)."""
    middle = (rate + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(rate * (1 - rate) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return middle - half, middle + half
