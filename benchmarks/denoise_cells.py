"""What a denoiser does to the cells that are found: detection and divisions, as recorded and with fewer photons."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.degrade import degraded
from benchmarks.detections import moments
from models import zoo
from stream import plugins
from stream.config import ChainSettings
from stream.evaluate import evaluate

SEQUENCES: Mapping[str, str] = {"Fluo-N2DL-HeLa/02": "nuclei", "PhC-C2DL-PSC/01": "phase"}
LIGHT = (None, 20, 5)
"""Photons at the peak; None: as recorded."""


def darkened(place: Path, photons: int | None, frames: int, out: Path) -> None:
    """Write the first frames of a recording as they would be with so much light; the noise is that of the number."""
    out.mkdir()
    for file in sorted(place.glob("t*.tif"))[:frames]:
        pixels = tifffile.imread(file)
        number = int("".join(filter(str.isdigit, file.stem)))
        tifffile.imwrite(out / file.name, pixels if photons is None else degraded(pixels, photons, number))


def denoised(source: Path, entry: str, options: Mapping[str, Any], out: Path) -> None:
    """Write the frames of a folder as a denoiser makes them, in whole counts of the same type."""
    denoiser = plugins.load("denoisers", entry)(options)
    out.mkdir()
    for file, moment in zip(sorted(source.glob("t*.tif")), moments(source), strict=True):
        seen, kind = denoiser.step(moment).denoised, moment.frame.pixels.dtype
        tifffile.imwrite(out / file.name, np.clip(np.rint(seen), 0, np.iinfo(kind).max).astype(kind))


def cells(
    data: Path, names: Mapping[str, tuple[str, Mapping[str, Any]]], segment: Mapping[str, str], frames: int
) -> list[dict[str, Any]]:
    """Return one row for each sequence, light and denoiser: DET, division F1 and the denoiser's median ms.

    The networks look at raw frames whatever the chain's denoiser; here they are given denoised ones instead.

    Parameters
    ----------
    segment
        The segmenter for each kind, ``nuclei`` and ``phase``.
    frames
        How many frames of each sequence, from its first.
    """
    rows = []
    for sequence, kind in SEQUENCES.items():
        place = data / "ctc" / sequence
        for photons in LIGHT:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / place.name
                darkened(place, photons, frames, source)
                for name, (entry, options) in names.items():
                    chain = ChainSettings(denoise=entry, denoise_options=dict(options), segment=segment[kind])
                    truth, given = place.with_name(f"{place.name}_GT"), source
                    if segment[kind] in zoo.names() and entry != "none":
                        given = Path(folder) / name / place.name
                        given.parent.mkdir()
                        denoised(source, entry, options, given)
                    found = evaluate(given, Path(folder) / f"RES {name}", chain=chain, gt=truth)
                    rows.append(
                        {
                            "sequence": sequence, "photons": photons or "as recorded", "denoise": name,
                            "segment": segment[kind], "frames": frames, "DET": found["DET"],
                            "f1": found["division"]["f1"], "denoise_ms": found["ms"]["denoise"]["p50"],
                        }
                    )  # fmt: skip
    return rows
