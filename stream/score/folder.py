"""Scores a result folder as ``cytoloop evaluate`` writes it, from its files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from stream.errors import SourceError
from stream.score import ctc, fates, mitosis
from stream.score.asof import Outcomes, Told, confirmed_outcomes, outcomes, report, told
from stream.score.divisions import Division, Judge, divisions_of
from stream.score.overlap import Overlap, overlap
from stream.score.tracks import whole_runs
from stream.score.truth import Rows, numbered_masks, read_mask, read_rows, read_truth

Words = Literal["first word", "confirmed", "warning", "exit", "death"]
"""What states a confidence: the first word on a division, the one that confirms it, a warning of one, the first words
on a cell that left the picture and on one that died."""
DIVISION_FIGURES = (
    "precision",
    "recall",
    "f1",
    "f1_asof",
    "delay_frames",
    "retract_rate",
    "ece",
    "brier",
    "ece_confirmed",
    "false_confirmed_per_1000",
)


def score_folder(
    res: Path, gt: Path | None, st: Path | None = None, *, interval_s: float | None = None
) -> dict[str, Any]:
    """Compare ``maskNNN.tif``, ``res_track.txt`` and ``events.jsonl`` with the truth of the sequence.

    Frames count by the numbers in the file names. Frames of the truth before the first or after the last mask are left
    out; a truth frame between them without a mask counts as one where nothing was found.

    Parameters
    ----------
    res
        The result folder. Without ``events.jsonl`` the divisions in ``res_track.txt`` are scored, as if each were said
        in its own frame with confidence 1.
    gt, st
        ``NN_GT`` or its ``TRA`` or ``SEG``; ``NN_ST`` or its ``SEG``.
    interval_s
        Between the recording's frames, where it states it: warnings are not scored where it hides what they look for.

    Returns
    -------
    dict
        ``SEG, SEG_ST, DET, TRA, LNK, CHOTA, CT, BC1, division {precision, recall, f1, f1_asof, delay_frames,
        retract_rate, ece, brier, ece_confirmed, false_confirmed_per_1000}, mitosis``
        (:func:`stream.score.mitosis.report`); None for a figure whose truth is not there.

    Raises
    ------
    SourceError
        A folder, mask or track file is missing, unreadable or of another recording.
    """
    masks = numbered_masks(res)
    if not masks:
        raise SourceError(f"{res}: no maskNNN.tif in it; run cytoloop evaluate first")
    truth = read_truth(gt, st)
    found_rows = read_rows(res / "res_track.txt")
    scored: dict[str, Any] = {"SEG": ctc.seg(list(_compare(truth.hand, masks).values()))}
    scored["SEG_ST"] = ctc.seg(list(_compare(truth.computed, masks).values()))
    overlaps = _compare(truth.markers, masks)
    if not overlaps:
        return {**scored, **dict.fromkeys(ctc.FIGURES), "division": no_divisions(), "mitosis": mitosis.no_figures()}
    truth_rows = ctc.crop(truth.rows, min(overlaps), max(overlaps))
    whole, whole_rows = whole_runs(overlaps, found_rows)
    scored.update(ctc.figures(whole, truth_rows, whole_rows))
    divisions = divisions_of(truth_rows)
    scored["division"] = report(Judge(overlaps, divisions), _events(res, found_rows))
    return {**scored, "mitosis": mitosis.report(overlaps, divisions, mitosis.warned(_lines(res)), interval_s)}


def outcomes_in(res: Path, gt: Path) -> dict[Words, Outcomes]:
    """Return the confidences that the events of a result stated, each with 1.0 where it came true, else 0.0.

    Raises
    ------
    SourceError
        As :func:`score_folder`.
    """
    truth = read_truth(gt, None)
    overlaps = _compare(truth.markers, numbered_masks(res))
    if not overlaps:
        raise SourceError(f"{res} and {gt}: no frame of the result has markers in the truth")
    rows = ctc.crop(truth.rows, min(overlaps), max(overlaps))
    divisions, lines = divisions_of(rows), _lines(res)
    judge = Judge(overlaps, divisions)
    events = _events(res, read_rows(res / "res_track.txt"))
    hits = [judge.hits(event.division) for event in events]
    first = outcomes(events, hits)
    return {
        "first word": first,
        "confirmed": confirmed_outcomes(events, first[1]),
        "warning": mitosis.outcomes(overlaps, divisions, mitosis.warned(lines)),
        "exit": fates.outcomes("exit", overlaps, rows, lines),
        "death": fates.outcomes("death", overlaps, rows, lines),
    }


def no_divisions() -> dict[str, Any]:
    """Return the division figures of a result that has no truth."""
    return {**dict.fromkeys(DIVISION_FIGURES), "f1_asof": {str(k): None for k in range(6)}}


def _compare(truth: Mapping[int, Path], masks: Mapping[int, Path]) -> dict[int, Overlap]:
    first, last = min(masks), max(masks)
    return {
        frame: overlap(read_mask(path), read_mask(masks[frame]) if frame in masks else None)
        for frame, path in truth.items()
        if first <= frame <= last
    }


def _events(res: Path, rows: Rows) -> list[Told]:
    if (res / "events.jsonl").is_file():
        return told(_lines(res))
    return [_told_at_once(division) for division in divisions_of(rows)]


def _lines(res: Path) -> list[Mapping[str, Any]]:
    path = res / "events.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _told_at_once(division: Division) -> Told:
    return Told(division, ((division.frame, False, 1.0),))
