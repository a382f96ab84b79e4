"""A picture of a training run: loss of every head over the steps, learned and held out."""

from __future__ import annotations

import csv
from pathlib import Path

from models.train.losses import WEIGHTS


def plot(log: Path, picture: Path) -> None:
    """Draw ``metrics.csv`` as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with log.open() as file:
        rows = list(csv.DictReader(file))
    heads = ["total", *(head for head in WEIGHTS if head in rows[0])]
    figure = Figure(figsize=(3.2 * len(heads), 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [int(row["step"]) for row in rows]
    for axes, head in zip(figure.subplots(1, len(heads), squeeze=False)[0], heads, strict=True):
        axes.plot(steps, [float(row[head]) for row in rows], lw=1, label="learned")
        axes.plot(steps, [float(row[f"held_{head}"]) for row in rows], lw=1.5, label="held out")
        axes.set(title=head, xlabel="step", yscale="log")
    figure.axes[0].legend(frameon=False)
    figure.savefig(picture, dpi=90)
