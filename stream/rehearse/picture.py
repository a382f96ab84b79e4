"""The picture of a rehearsal: for each specimen the arms over time, with mitoses, frames, commands, what was told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream.frame import is_aside
from stream.rehearse.score import Scored

_DARK, _LIGHT, _FAINT = "#0e1116", "#d7dde5", "#3a424d"
_COLOURS = {"policy": "#4cc2ff", "without": "#9aa4b1", "fixed": "#ffb454"}
_NAMES = {"policy": "with the policies", "without": "without", "fixed": "steady, same dose"}
_TOLD, _UNTOLD, _FALSE = "#7bd88f", "#ff6b6b", "#c586ff"
_MOST_SEEDS = 3
_LANE_IN, _GAP_LANES, _EDGE_IN = 0.16, 0.8, (0.45, 0.55)
"""Height of a field's lane, space between arms in lanes, and what is left below and above in inches."""


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
    lanes = max(_block(one) for scored in runs.values() for one in scored[: len(shown)])
    panel_in = max(lanes * len(runs) * _LANE_IN, 0.9) + 0.3
    height_in = panel_in * len(shown) + sum(_EDGE_IN)
    with plt.style.context(style):
        figure, rows = plt.subplots(len(shown), 1, figsize=(11, height_in), dpi=100, squeeze=False, sharex=True)
        figure.subplots_adjust(
            left=0.11,
            right=0.985,
            bottom=_EDGE_IN[0] / height_in,
            top=1 - _EDGE_IN[1] / height_in,
            hspace=0.3 / panel_in,
        )
        for place, (seed, axes) in enumerate(zip(shown, rows[:, 0], strict=True)):
            ticks = {}
            for block, (name, scored) in enumerate(runs.items()):
                top = -block * lanes
                ticks[top - (_block(scored[place]) - 1 - _GAP_LANES) / 2] = _NAMES[name]
                _run(axes, top, scored[place], _COLOURS[name])
            axes.set_yticks(list(ticks), list(ticks.values()))
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(-lanes * len(runs) + 0.4, 0.9)
            axes.margins(x=0.01)
            axes.set_title(f"specimen {seed}", loc="left", fontsize=8)
        rows[-1, 0].set_xlabel("seconds of the run; a line for each position")
        _legend(figure)
        figure.savefig(path)
        plt.close(figure)


def _fields(scored: Scored) -> list[str]:
    return sorted({one.field for one in scored.taken if not is_aside(one.field)})


def _block(scored: Scored) -> float:
    """Return the lanes of one run, with the space after it."""
    return max(len(_fields(scored)), 1) + _GAP_LANES


def _run(axes: Any, top: float, scored: Scored, colour: str) -> None:
    """Draw one run, a lane for each field: windows as bands, frames as ticks, the fate of each division, commands."""
    lane = {name: top - number for number, name in enumerate(_fields(scored))}
    at_s: dict[str, list[float]] = defaultdict(list)
    for one in scored.taken:
        if one.field in lane:
            at_s[one.field].append(one.at_s)
    for name, mothers in _mothers(scored).items():
        for cell in mothers if name in lane else ():
            _window(axes, lane[name], scored, cell)
    for name, times in at_s.items():
        axes.vlines(times, lane[name] - 0.27, lane[name] + 0.27, color=colour, lw=0.7)
    axes.plot(scored.false_at_s, [top + 0.5] * len(scored.false_at_s), "1", color=_FALSE, ms=5, clip_on=False)
    below = top - len(lane) + 0.45
    axes.plot(scored.commands_at_s, [below] * len(scored.commands_at_s), "|", color=_LIGHT, ms=3, mew=0.7)


def _mothers(scored: Scored) -> dict[str, set[int]]:
    """Return who was seen dividing in each field."""
    seen: dict[str, set[int]] = defaultdict(set)
    for sight in scored.truth.sights.values():
        seen[sight.field].update(sight.dividing)
    return seen


def _window(axes: Any, level: float, scored: Scored, cell: int) -> None:
    mitosis, at_s = scored.truth.mitoses[cell], scored.clock.at_s
    missed = any(one.cell == cell for one in scored.missed)
    colour = _UNTOLD if missed else _TOLD
    begin_s, end_s = at_s(mitosis.begin_min), at_s(mitosis.end_min)
    axes.fill_between([begin_s, end_s], level - 0.45, level + 0.45, color=colour, alpha=0.35, lw=0)
    told_s = scored.caught.get(cell)
    if told_s is not None:
        axes.plot([told_s], [level], "v", color=_TOLD, ms=5, mec=_DARK, mew=0.6, zorder=3)
    elif missed:
        axes.plot([at_s(mitosis.split_min)], [level], "x", color=_UNTOLD, ms=5, zorder=3)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_TOLD, alpha=0.35, label="a mitosis"),
        Line2D([], [], color=_LIGHT, marker="|", ls="", ms=8, label="frame"),
        Line2D([], [], color=_TOLD, marker="v", ls="", label="division told"),
        Line2D([], [], color=_UNTOLD, marker="x", ls="", label="missed"),
        Line2D([], [], color=_FALSE, marker="1", ls="", label="false"),
        Line2D([], [], color=_LIGHT, marker="|", ls="", ms=3, label="command applied"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), frameon=False, fontsize=7)
