"""Draws stated confidence against what came true: the reliability diagrams of events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stream.score.asof import Outcomes, calibration, expected_calibration_error
from stream.score.folder import Words

TITLES: dict[Words, str] = {
    "first word": "divisions, first word",
    "confirmed": "divisions, as confirmed",
    "warning": "warnings of divisions",
    "exit": "exits",
    "death": "deaths",
}
"""What states a confidence, and what stands above its diagram."""
_SIDE_INCHES, _LINE_INCHES, _DPI = 3.9, 0.16, 100
_Z = 1.96


def draw(outcomes: Mapping[str, Mapping[Words, Outcomes]], path: Path) -> None:
    """Write reliability diagrams side by side, one for each of :data:`TITLES` that anything was said of, with one line
    for each sequence.

    Five bins of equal count, as in the figure ``ece``; the bars are Wilson's 95 % intervals of the hit rate. The same
    outcomes give the same bytes with the same matplotlib.

    Parameters
    ----------
    outcomes
        By sequence, then by what states them, as :func:`stream.score.folder.outcomes_in` returns them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [words for words in TITLES if any(len(said[words][0]) for said in outcomes.values() if words in said)]
    shown = shown or [next(iter(TITLES))]
    height = _SIDE_INCHES + _LINE_INCHES * len(outcomes)
    figure = Figure(figsize=(len(shown) * _SIDE_INCHES, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, words in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
        for colour, (name, by_words) in enumerate(outcomes.items()):
            if words in by_words:
                _line(axes, f"C{colour}", name, *by_words[words])
        axes.set(xlim=(0, 1), ylim=(0, 1), title=TITLES[words], xlabel="confidence")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=7, frameon=False)
    figure.axes[0].set_ylabel("came true")
    figure.savefig(path, metadata={"Software": None})


def _line(axes: Any, colour: str, name: str, stated: np.ndarray[Any, Any], came_true: np.ndarray[Any, Any]) -> None:
    bins = calibration(stated, came_true)
    if not bins:
        return
    said, true, counts = (np.array(column, np.float64) for column in zip(*bins, strict=True))
    low, high = _wilson(true, counts)
    bars = np.clip([true - low, high - true], 0.0, 1.0)
    label = f"{name}: {len(stated)}, ECE {expected_calibration_error(stated, came_true):.2f}"
    style = {"marker": "o", "markersize": 4, "linewidth": 1.2, "capsize": 2}
    axes.errorbar(said, true, yerr=bars, color=colour, label=label, **style)


def _wilson(rate: np.ndarray[Any, Any], count: np.ndarray[Any, Any]) -> Outcomes:
    """Return the limits of the 95 % interval of a rate (E. B. Wilson, 1927)."""
    middle = (rate + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(rate * (1 - rate) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return middle - half, middle + half
