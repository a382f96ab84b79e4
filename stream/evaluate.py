"""Runs the live chain over a recording, frame by frame, writes what it decided, and only then looks at the truth."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from stream import plugins
from stream.analyse.chain import Chain, Decision, warm
from stream.analyse.gather import Gather
from stream.config import CameraSettings, ChainSettings, PlanSettings
from stream.errors import SourceError
from stream.frame import Ended, Frame, Gap, field_name
from stream.score import ctc, mitosis
from stream.score.ctc_writer import ResultWriter
from stream.score.folder import no_divisions, score_folder
from stream.stages import Driver, Moment

_log = logging.getLogger(__name__)
WAIT_S = 60.0
"""The longest that one image may take to read."""


def evaluate(
    source: Path,
    out: Path,
    *,
    model: str | None = None,
    gt: Path | None = None,
    st: Path | None = None,
    progress: bool = False,
    chain: ChainSettings | None = None,
) -> dict[str, Any]:
    """Analyse a recording causally, as live, and score the result.

    Parameters
    ----------
    source
        A folder of numbered images, a TIFF stack or an OME-Zarr. Of several positions the first is analysed.
    out
        Gets ``maskNNN.tif``, ``res_track.txt`` and ``events.jsonl``; a mask is final when its frame is decided.
    model
        A segmenter's name; None: the chain's own (``classical`` chooses from the first frame), and the result names
        what it chose.
    gt, st
        Truth (``NN_GT``, ``NN_ST`` or their folders); read only after everything is written.
    progress
        Show a bar on stderr.
    chain
        Settings of the chain; ``model`` overrules its ``segment``.

    Returns
    -------
    dict
        ``frames``, ``model``, the figures of :func:`stream.score.folder.score_folder` (None without truth) and ``ms``:
        p50 and p99 of each stage and of their total, without the time to compile.

    Raises
    ------
    SourceError
        The recording or the truth cannot be read.
    StoreError
        ``out`` cannot be written.
    """
    _check_paths(source, out, gt, st)
    settings = chain or ChainSettings()
    if model is not None:
        settings = settings.model_copy(update={"segment": model})
    driver: Driver = plugins.load("drivers", "replay")()
    driver.open(CameraSettings(driver="replay", options={"source": source, "speed": "max"}), run="", session="")
    try:
        about = driver.describe()
        driver.start(PlanSettings())
        moments = moments_of(driver, settings)
        total = int(about["frames"]) if progress else None
        spent, chosen = _analyse(moments, settings, out, int(about.get("digits", 3)), total)
    finally:
        driver.stop()
    found = {"frames": len(spent), "model": model or chosen.partition(",")[0]}
    interval_s = about["interval_ms"] / 1000.0 if about["interval_ms"] else None
    figures = score_folder(out, gt, st, interval_s=interval_s) if gt or st else no_figures()
    return {**found, **figures, "ms": _percentiles(spent)}


def no_figures() -> dict[str, Any]:
    """Return the figures of a result that has no truth."""
    return {
        **dict.fromkeys(("SEG", "SEG_ST", *ctc.FIGURES)),
        "division": no_divisions(),
        "mitosis": mitosis.no_figures(),
    }


def _check_paths(source: Path, out: Path, gt: Path | None, st: Path | None) -> None:
    """Refuse before the work what would fail after it; of the truth only the folders' names are looked at."""
    if out.resolve() in {path.resolve() for path in (source, gt, st) if path}:
        raise SourceError(f"{out}: results cannot go where the recording or the truth is; name another folder")
    for path in (gt, st):
        if path and not path.is_dir():
            raise SourceError(f"{path}: no such folder; give the NN_GT or NN_ST folder of the sequence")


def moments_of(driver: Driver, settings: ChainSettings) -> Iterator[Moment]:
    """Yield the moments of the recording's first position.

    Times follow the frame numbers, not this machine's speed: a replay at full speed must decide what a live one would.
    """
    about, gather, field = driver.describe(), Gather(settings), field_name("replay", 0)
    interval_s = (about["interval_ms"] or 1000.0) / 1000.0
    for frame in _frames(driver):
        for moment in gather.flush() if frame is None else gather.add(frame):
            if moment.frame.field == field:
                elapsed_s = (moment.frame.frame - about["first_frame"]) * interval_s
                yield replace(moment, elapsed_s=elapsed_s)


def _frames(driver: Driver) -> Iterator[Frame | None]:
    """Yield every frame, then None."""
    while not isinstance(item := driver.next(WAIT_S), Ended):
        if item is None:
            raise SourceError(f"no image could be read for {WAIT_S:g} s; is the recording on a drive that answers?")
        if isinstance(item, Gap):
            _log.warning("%d frames of the recording are not there (%s): %s", item.missing, item.reason, item.detail)
        else:
            yield item
    yield None


def _analyse(
    moments: Iterator[Moment], settings: ChainSettings, out: Path, digits: int, total: int | None
) -> tuple[list[Mapping[str, float]], str]:
    """Decide and write every moment; return the ms of each stage for each frame, and what the segmenter chose."""
    spent: list[Mapping[str, float]] = []
    console = Console(stderr=True)
    chain = Chain(settings)
    with closing(ResultWriter(out, digits)) as writer, Progress(console=console, disable=total is None) as bar:
        task = bar.add_task("frames", total=total)
        for moment in moments:
            if not spent:
                _warm(settings, moment)
            decision = chain.step(moment)
            writer.decided(moment.frame.frame, decision.segmentation, decision.tracks, decision.events)
            spent.append(_stage_ms(decision))
            bar.advance(task)
        writer.said(chain.finish())
    if not spent:
        raise SourceError("no frame of the recording could be analysed")
    return spent, chain.choice


def _warm(settings: ChainSettings, moment: Moment) -> None:
    """Compile everything on a throw-away chain, so that no frame's time holds it."""
    pixels = moment.frame.pixels
    warm(settings, (pixels.shape[0], pixels.shape[1]), pixels.dtype)
    Chain(settings).step(moment)


def _stage_ms(decision: Decision) -> Mapping[str, float]:
    spent = {name: (end - begin) / 1e6 for name, begin, end in decision.moment.frame.stamps.stages}
    return {**spent, "total": sum(spent.values())}


def _percentiles(spent: list[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    def of(name: str) -> dict[str, float]:
        p50, p99 = np.percentile([one[name] for one in spent], [50, 99])
        return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}

    return {name: of(name) for name in spent[0]}
