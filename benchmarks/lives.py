"""Sequences with truth as the divider sees them: tracked once, gone through as often as needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.divide import history
from models.divide.endings import AT_EDGE, Ended, death_signs, ended, exit_signs
from models.divide.lives import kind_of
from models.divide.signs import WITHIN, told
from models.track.measure import Bodies, bodies
from models.train.split import SHARE
from stream import plugins
from stream.analyse.chain import Chain, Work, run_stage
from stream.cells import Kind
from stream.config import CameraSettings, ChainSettings, PlanSettings
from stream.evaluate import moments_of
from stream.score.divisions import divisions_of
from stream.score.overlap import Overlap, overlap
from stream.score.truth import Truth, read_mask, read_truth
from stream.stages import Tracked

Floats = NDArray[np.float64]
FADING_FRAMES = (-6, 15)
"""Truth may give a dying cell up so long before or after the tracker does."""
AWAY_FRAMES = 10
"""A cell that is tracked again within so many frames has not left."""


@dataclass(frozen=True, slots=True, eq=False)
class Lives:
    """A sequence as it was tracked, what each frame's labels cover, and the truth."""

    name: str
    tracked: list[Tracked]
    overlaps: Mapping[int, Overlap]
    truth: Truth

    @property
    def kind(self) -> Kind:
        """What it shows."""
        return kind_of(self.tracked[0], measured(self.tracked[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells in frames: :func:`models.divide.signs.told` of each ``(n, columns)``, whether it divided within
    :data:`models.divide.signs.WITHIN` frames, and where it lay across the field, 0 to 1 ``(n,)``."""

    signs: Floats
    true: NDArray[np.bool_]
    across: Floats

    def take(self, rows: NDArray[np.bool_]) -> Cells:
        """Return some of them."""
        return Cells(self.signs[rows], self.true[rows], self.across[rows])

    def strip(self) -> Cells:
        """Return those in the part of the field that no network learned from."""
        return self.take(self.across >= 1 - SHARE)


def follow(sequence: Path, model: str) -> Lives:
    """Run the chain over a sequence (``NN`` beside ``NN_GT``) as an evaluation does, up to its tracks."""
    truth = read_truth(sequence.with_name(sequence.name + "_GT"), None)
    settings = ChainSettings(segment=model)
    chain, driver = Chain(settings), plugins.load("drivers", "replay")()
    driver.open(CameraSettings(driver="replay", options={"source": sequence, "speed": "max"}), run="", session="")
    driver.start(PlanSettings())
    seen: list[Tracked] = []
    overlaps: dict[int, Overlap] = {}
    try:
        for moment in moments_of(driver, settings):
            work = Work(moment)
            for name, stage in chain.stages()[:-1]:
                run_stage(name, stage, work)
            assert work.tracked is not None
            seen.append(work.tracked)
            found = work.tracked.segmentation.labels.astype(np.int64)
            overlaps[moment.frame.frame] = overlap(read_mask(truth.markers[moment.frame.frame]), found)
    finally:
        driver.stop()
    return Lives(f"{model}={sequence}", seen, overlaps, truth)


def cells_of(lives: Lives) -> Cells:
    """Say of every cell in every frame whether it divided soon.

    Left out are the last frames, whose future is unknown, and unmarked cells at the border, which the truth may not
    know.
    """
    splits = {one.mother: one.frame for one in divisions_of(lives.truth.rows)}
    past, last, within = history.begin(), lives.tracked[-1].moment.frame.frame, WITHIN[lives.kind]
    signs: list[Floats] = []
    true: list[bool] = []
    across: list[float] = []
    for tracked in lives.tracked:
        frame = tracked.moment.frame
        past = history.remember(past, tracked, measured(tracked))
        matches = lives.overlaps[frame.frame].matches()
        current = past[past["last"] == frame.frame]
        if frame.frame > last - within:
            break
        for row, columns in zip(current, told(current), strict=True):
            cell = matches.get(int(row["id"]), 0)
            if cell or row["edge"] > AT_EDGE:
                signs.append(columns)
                true.append(1 <= splits.get(cell, last + 9**9) - frame.frame <= within)
                across.append(float(row["yx_px"][1]) / frame.pixels.shape[1])
    return Cells(np.array(signs), np.array(true, np.bool_), np.array(across))


def deaths_of(lives: Lives) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the signs of every track that ended inside the field, and whether its cell died."""
    rows, true = lives.truth.rows, []
    mothers, ends = set(rows[:, 3].tolist()), dict(zip(rows[:, 0].tolist(), rows[:, 2].tolist(), strict=True))
    signs, final = [], lives.tracked[-1].moment.frame.frame
    for over, i, cell in _ends(lives):
        if over.near[i] > AT_EDGE and not over.again[i]:
            last = int(over.rows["last"][i])
            gone = cell and cell not in mothers and ends[cell] < final
            true.append(bool(gone) and FADING_FRAMES[0] <= ends[cell] - last <= FADING_FRAMES[1])
            signs.append(death_signs(over)[i])
    return np.array(signs).reshape(len(true), -1), np.array(true, np.bool_)


def exits_of(lives: Lives) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the signs of every track that ended at the edge, and whether its cell stayed away."""
    tracked_in: dict[int, list[int]] = {}
    for number, one in lives.overlaps.items():
        for cell in one.matches().values():
            tracked_in.setdefault(cell, []).append(number)
    signs, true, final = [], [], lives.tracked[-1].moment.frame.frame
    for over, i, cell in _ends(lives):
        last = int(over.rows["last"][i])
        if over.near[i] <= AT_EDGE and not over.again[i] and last + AWAY_FRAMES <= final:
            again = [number for number in tracked_in.get(cell, ()) if last < number <= last + AWAY_FRAMES]
            signs.append(exit_signs(over)[i])
            true.append(not again)
    return np.array(signs).reshape(len(true), -1), np.array(true, np.bool_)


def measured(tracked: Tracked) -> Bodies:
    """Return the cells as the tracker measured them."""
    known = tracked.measured
    return known if isinstance(known, Bodies) else bodies(tracked.segmentation, tracked.moment.frame.pixels)


def _ends(lives: Lives) -> list[tuple[Ended, int, int]]:
    """Return every ended track as (its frame's ended ones, which of them, the true cell that it was last)."""
    past, was, found = history.begin(), dict[int, int](), []
    for tracked in lives.tracked:
        over = ended(past, tracked, measured(tracked))
        found += [(over, i, was.get(int(row["id"]), 0)) for i, row in enumerate(over.rows)]
        past = history.remember(past, tracked, measured(tracked))
        was.update(lives.overlaps[tracked.moment.frame.frame].matches())
    return found
