"""Movies with exact truth, as fast as they can be drawn: a Cell Tracking Challenge folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from stream.config import Configuration
from stream.errors import ConfigError, StoreError
from stream.settings import parse


def simulate(
    config: Configuration,
    out: Path,
    frames: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Write what the virtual microscope would show while nobody commands it, and what was true.

    The pixels are those of a live run with the same configuration and seed.

    Parameters
    ----------
    config
        ``[camera.options]`` of the virtual driver and ``[plan]``: exposure, interval, light, first channel, position.
    out
        Gets ``01`` (images ``tNNN.tif``), ``01_GT/TRA``, ``01_GT/SEG`` and ``01_ST/SEG``.
    frames
        How many.
    seed
        Of specimen and noise; takes the place of the one in the options.
    progress
        Called with the number of frames written.

    Returns
    -------
    dict
        ``out, frames, fps, tracks, divisions, cells``.

    Raises
    ------
    ConfigError
        The configuration names another driver or says something impossible.
    StoreError
        ``out`` holds a movie already or cannot be written.
    """
    from drivers.virtual.options import VirtualOptions

    if config.camera.driver != "virtual":
        raise ConfigError(f"simulate draws what the virtual microscope sees; [camera] driver is {config.camera.driver}")
    options = parse(VirtualOptions, {**config.camera.options, "seed": seed}, "[camera.options]")
    if (out / "01").exists():
        raise StoreError(f"{out}: a movie is there already; choose another folder")
    try:
        return _write(config, options, out, frames, progress)
    except OSError as error:
        raise StoreError(f"{out}: {error}") from error


def _write(
    config: Configuration, options: Any, out: Path, frames: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    import tifffile

    from drivers.virtual.labels import Labeller, scene_of
    from drivers.virtual.microscope import Microscope

    view = _view(config, options)
    microscope, labeller = Microscope(options), Labeller()
    folders = {name: out / name for name in ("01", "01_GT/TRA", "01_GT/SEG", "01_ST/SEG")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    digits = max(3, len(str(frames - 1)))
    begun, cells = time.monotonic(), 0
    for number in range(frames):
        shot = microscope.expose(view)
        labels = labeller.step(scene_of(shot, number))
        cells = sum(track.end == number for track in labeller.tracks)
        stem = f"{number:0{digits}d}.tif"
        tifffile.imwrite(folders["01"] / f"t{stem}", shot.pixels)
        packed = BytesIO()
        tifffile.imwrite(packed, labels, compression="zlib", compressionargs={"level": 1})
        (folders["01_GT/TRA"] / f"man_track{stem}").write_bytes(packed.getvalue())
        for name in ("01_GT/SEG", "01_ST/SEG"):
            (folders[name] / f"man_seg{stem}").write_bytes(packed.getvalue())
        microscope.pass_by(view)
        progress(number + 1)
    (folders["01_GT/TRA"] / "man_track.txt").write_text(labeller.table(), encoding="utf-8")
    parents = [track.parent for track in labeller.tracks]
    return {
        "out": str(out),
        "frames": frames,
        "fps": round(frames / (time.monotonic() - begun), 1),
        "tracks": len(parents),
        "divisions": sum(parents.count(parent) > 1 for parent in set(parents) - {0}),
        "cells": cells,
    }


def _view(config: Configuration, options: Any) -> Any:
    """What the driver would set for this plan."""
    from drivers.virtual.microscope import View

    plan = config.plan
    width, height = options.size_px
    return View(
        stage_um=plan.positions_um[0] if plan.positions_um else (0.0, 0.0, 0.0),
        roi_px=(0, 0, width, height),
        binning=1,
        exposure_ms=plan.exposure_ms,
        period_ms=max(plan.exposure_ms, plan.interval_ms),
        power=options.light if plan.light_power is None else plan.light_power,
        channel=plan.channels[0] if plan.channels else options.channel_names[0],
        pixel_type="16bit",
    )
