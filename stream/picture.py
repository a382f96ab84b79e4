"""The picture at the end of a run: the last frame with its cells, divisions in small, and the run over time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.album import Strip
from stream.facts import analysis, rig
from stream.frame import Frame

_DARK = "#0e1116"
_LIGHT = "#d7dde5"
_ACCENT = "#4cc2ff"
_WARM = "#ffb454"


def draw_summary(
    newest: tuple[Frame, NDArray[np.int32]] | None, strips: Sequence[Strip], run_dir: Path, title: str, path: Path
) -> None:
    """Draw a run's summary as PNG.

    Parameters
    ----------
    newest
        The last decided frame and its label image.
    strips
        Divisions in small; the two surest are shown.
    run_dir
        Where the databases of the run are.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style = {
        "figure.facecolor": _DARK, "axes.facecolor": _DARK, "text.color": _LIGHT, "axes.labelcolor": _LIGHT,
        "xtick.color": _LIGHT, "ytick.color": _LIGHT, "axes.edgecolor": "#3a424d", "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    with plt.style.context(style):
        figure = plt.figure(figsize=(13, 7.2), dpi=110)
        left, right = figure.add_gridspec(1, 2, width_ratios=(1, 1), wspace=0.08, left=0.02, right=0.97)
        image = figure.add_subplot(left)
        _draw_image(image, newest)
        rows = right.subgridspec(3, 1, height_ratios=(1.35, 1, 1), hspace=0.45)
        _draw_strips(figure, rows[0], strips)
        frames, events, applied = _read(run_dir)
        _draw_cells(figure.add_subplot(rows[1]), frames, events, applied)
        _draw_latency(figure.add_subplot(rows[2]), frames)
        figure.suptitle(title, color=_LIGHT, fontsize=12)
        figure.savefig(path)
        plt.close(figure)


def _stretch(pixels: NDArray[Any]) -> NDArray[np.float64]:
    low, high = np.percentile(pixels, (1, 99.7))
    scaled: NDArray[np.float64] = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) ** 0.7
    return scaled


def _draw_image(axes: Any, newest: tuple[Frame, NDArray[np.int32]] | None) -> None:
    axes.set_axis_off()
    if newest is None:
        axes.text(0.5, 0.5, "no decided frame was seen", ha="center", transform=axes.transAxes)
        return
    frame, labels = newest
    axes.imshow(_stretch(frame.pixels), cmap="gray")
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    overlay = np.zeros((*labels.shape, 4))
    rng = np.random.default_rng(7)
    colours = rng.uniform(0.35, 1.0, (int(labels.max(initial=0)) + 1, 3))
    overlay[edge, :3] = colours[np.maximum(labels, np.roll(labels, 1, 1))[edge]]
    overlay[edge, 3] = 0.9
    axes.imshow(overlay, interpolation="nearest")
    axes.set_title(f"frame {frame.frame}: {len(np.unique(labels)) - 1} cells, outlined by track", loc="left")


def _draw_strips(figure: Any, place: Any, strips: Sequence[Strip]) -> None:
    surest = sorted(strips, key=lambda strip: strip.event.confidence)[-2:]
    count = max((len(strip.crops) for strip in strips), default=1)
    grid = place.subgridspec(max(len(surest), 1), count, hspace=0.35, wspace=0.04)
    for row, strip in enumerate(surest):
        for column, (number, crop) in enumerate(zip(strip.numbers, strip.crops, strict=True)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(_stretch(crop), cmap="gray")
            axes.set_axis_off()
            split = number >= strip.event.frame
            axes.set_title(f"{number}", fontsize=8, color=_WARM if split else _LIGHT, pad=2)
    if not strips:
        figure.add_subplot(grid[0, 0]).set_axis_off()


_Rows = list[tuple[Any, ...]]


def _read(run_dir: Path) -> tuple[_Rows, _Rows, _Rows]:
    with closing(sqlite3.connect(run_dir / analysis.FILE)) as facts:
        frames = facts.execute(
            "SELECT frame, t_pop_ns, t_decided_ns, stage_ms, cells FROM frames ORDER BY id"
        ).fetchall()
        events = facts.execute("SELECT emitted_frame, status FROM events WHERE kind = 'division'").fetchall()
    with closing(sqlite3.connect(run_dir / rig.FILE)) as facts:
        applied = facts.execute(
            "SELECT f.frame, c.kind FROM effects e JOIN frames f USING (camera, session, epoch, seq) "
            "JOIN commands c USING (command_id)"
        ).fetchall()
    return frames, events, applied


def _draw_cells(axes: Any, frames: _Rows, events: _Rows, applied: _Rows) -> None:
    axes.plot([row[0] for row in frames], [row[4] for row in frames], color=_ACCENT, lw=1.4)
    axes.set_ylabel("cells in view")
    axes.set_xlabel("frame")
    confirmed = [frame for frame, status in events if status == "confirmed"]
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    top = axes.get_ylim()[1]
    axes.plot(confirmed, [top] * len(confirmed), "v", color=_WARM, ms=5, clip_on=False, label="division confirmed")
    marks = [frame for frame, _ in applied]
    axes.vlines(marks, low, top, color="#7bd88f", lw=0.8, alpha=0.8, label="first frame after a command")
    axes.set_ylim(low - 0.35 * (high - low), top)
    axes.legend(loc="lower right", fontsize=7, frameon=False, ncols=2)


def _draw_latency(axes: Any, frames: _Rows) -> None:
    numbers = [row[0] for row in frames]
    names = list(json.loads(frames[0][3])) if frames else []
    stages = [[json.loads(row[3]).get(name, 0.0) for row in frames] for name in names]
    if names:
        axes.stackplot(numbers, *stages, labels=names, colors=("#2f5d8a", "#3f8fbf", "#66c2a5", "#fdae61"), lw=0)
    axes.plot(numbers, [(row[2] - row[1]) / 1e6 for row in frames], color=_LIGHT, lw=0.7, label="popped → decided")
    axes.set_ylabel("ms")
    axes.set_xlabel("frame")
    axes.legend(loc="upper right", fontsize=7, frameon=False, ncols=5)
