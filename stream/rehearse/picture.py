"""The picture of a rehearsal: for each specimen the arms over time, with mitoses, frames, commands, what was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream.frame import is_aside
from stream.rehearse.score import Scored

_DARK, _LIGHT, _FAINT = "#0e1116", "#d7dde5", "#3a424d"
_COLOURS = {"policy": "#4cc2ff", "without": "#9aa4b1", "fixed": "#ffb454"}
_CAUGHT, _MISSED, _FALSE, _COMMAND = "#7bd88f", "#ff6b6b", "#c586ff", "#4cc2ff"
_MOST_SEEDS = 4
_NAMES = {"policy": "policies", "without": "plan", "fixed": "same dose"}


def draw(runs: Mapping[str, Sequence[Scored]], seeds: Sequence[int], path: Path) -> None:
    """Draw the first specimens of a rehearsal as PNG.

    Parameters
    ----------
    runs
        By arm, in the order of ``seeds``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style = {
        "figure.facecolor": _DARK, "axes.facecolor": _DARK, "text.color": _LIGHT, "axes.labelcolor": _LIGHT,
        "xtick.color": _LIGHT, "ytick.color": _LIGHT, "axes.edgecolor": _FAINT, "font.size": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    }  # fmt: skip
    shown = list(seeds)[:_MOST_SEEDS]
    with plt.style.context(style):
        figure, rows = plt.subplots(
            len(shown),
            1,
            figsize=(11, 0.9 + 1.6 * len(shown)),
            dpi=100,
            squeeze=False,
            sharex=True,
            layout="constrained",
        )
        for place, (seed, axes) in enumerate(zip(shown, rows[:, 0], strict=True)):
            for level, (name, scored) in enumerate(runs.items()):
                _lane(axes, -level, scored[place], _COLOURS[name])
            axes.set_yticks([-level for level in range(len(runs))], [_NAMES[name] for name in runs])
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(-len(runs) + 0.4, 0.6)
            axes.set_title(f"specimen {seed}", loc="left", fontsize=8)
        rows[-1, 0].set_xlabel("s of the run")
        _legend(figure)
        figure.savefig(path)
        plt.close(figure)


def _lane(axes: Any, level: float, scored: Scored, colour: str) -> None:
    """Draw one run: windows as bands, frames as ticks, the fate of each mitosis above them, commands below."""
    for begin_s, end_s, caught in scored.windows_s():
        axes.fill_between(
            [begin_s, end_s], level - 0.16, level + 0.24, color=_CAUGHT if caught else _MISSED, alpha=0.3, lw=0
        )
    at_s = np.array([one.at_s for one in scored.taken if not is_aside(one.field)])
    axes.vlines(at_s, level - 0.12, level + 0.12, color=colour, lw=0.6)
    for fate, times, mark in ((_CAUGHT, list(scored.caught.values()), "v"), (_MISSED, scored.missed_at_s, "x"),
                              (_FALSE, scored.false_at_s, "1")):  # fmt: skip
        axes.plot(times, [level + 0.31] * len(times), mark, color=fate, ms=4, clip_on=False)
    axes.plot(scored.commands_at_s, [level - 0.25] * len(scored.commands_at_s), "|", color=_LIGHT, ms=4)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_CAUGHT, alpha=0.3, label="mitosis, told"),
        Patch(color=_MISSED, alpha=0.3, label="mitosis, not told"),
        Line2D([], [], color=_LIGHT, marker="|", ls="", ms=8, label="frame"),
        Line2D([], [], color=_CAUGHT, marker="v", ls="", label="division told"),
        Line2D([], [], color=_MISSED, marker="x", ls="", label="missed"),
        Line2D([], [], color=_FALSE, marker="1", ls="", label="false"),
        Line2D([], [], color=_LIGHT, marker="|", ls="", ms=4, label="command applied"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=7)
