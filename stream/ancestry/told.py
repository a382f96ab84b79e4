"""A tree as plain data: what the page answers and what ``cytoloop lineage --json`` prints."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from stream.ancestry.tree import Life, Tree


def told(tree: Tree, track_id: int | None = None) -> dict[str, Any]:
    """Return a field's families as plain data.

    Parameters
    ----------
    track_id
        Only the family of this track; the figures stay those of the whole field.

    Returns
    -------
    dict
        ``field``, ``frame``, the figures of :func:`figures`, and ``lives``: mothers before daughters, each a
        :class:`stream.ancestry.Life`.

    Raises
    ------
    KeyError
        There is no such track.
    """
    lives = list(tree.lives.values()) if track_id is None else tree.family(track_id)
    return {"field": tree.field, "frame": tree.frame, **figures(tree), "lives": [life.as_json() for life in lives]}


def figures(tree: Tree) -> dict[str, Any]:
    """Return ``cells``, ``divisions``, ``generations`` (seen in a row) and the medians over the field.

    ``whole_cycles`` counts cells of which both divisions were seen: only they have a division time. Cells that live
    longer than they are watched have none, so the median of few whole cycles is too short.
    """
    lives = list(tree.lives.values())
    mothers = [life for life in lives if life.daughter_ids]
    return {
        "cells": len(lives),
        "divisions": len(mothers),
        "generations": max((life.generation for life in lives), default=0),
        "whole_cycles": sum(life.cycle_frames is not None for life in lives),
        "median_cycle_frames": _median(life.cycle_frames for life in lives),
        "median_cycle_s": _median(life.cycle_s for life in lives),
        "median_daughters_area_ratio": _median(life.daughters_area_ratio for life in mothers),
        "median_daughters_intensity_ratio": _median(life.daughters_intensity_ratio for life in mothers),
    }


def in_words(life: Life) -> str:
    """Return one line about a cell: how it began, how it ended, its age, and how alike its daughters were."""
    began = {"division": "born", "first_frame": "there from the start,", "appeared": "came into view"}[life.began]
    where = f"{began} at frame {life.born}"
    age = f"{'≥ ' if life.age_is_minimum else ''}{life.age_frames} frames" + in_time(life.age_s)
    return ", ".join(part for part in (where, _end(life, age), _sisters(life)) if part)


def in_time(span_s: float | None) -> str:
    """Return `` (…)`` with a span in s, min or h; nothing where it is unknown."""
    if span_s is None:
        return ""
    if span_s < 300:
        return f" ({span_s:.3g} s)"
    return f" ({span_s / 60:.3g} min)" if span_s < 3 * 3600 else f" ({span_s / 3600:.3g} h)"


def _end(life: Life, age: str) -> str:
    if life.division_frame is not None:
        sure = _of(", p {:.2f}", life.division_probability) + (
            f" {life.division_status}" if life.division_status else ""
        )
        return f"divided at {life.division_frame} after {age}{sure}"
    ends = {"died": "died", "left": "left the picture", "lost": "lost", "alive": "alive"}
    return f"{ends[life.ended]} at {life.last}{_of(' (p {:.2f})', life.end_probability)}, age {age}"


def _sisters(life: Life) -> str:
    alike = _of("area {:.2f} ", life.daughters_area_ratio) + _of("intensity {:.2f}", life.daughters_intensity_ratio)
    return f"daughters' {alike.strip()}" if alike else ""


def _of(words: str, value: float | None) -> str:
    return "" if value is None else words.format(value)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(median(known)), 4) if known else None
