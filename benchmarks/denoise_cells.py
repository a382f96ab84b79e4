"""What a denoiser does to the cells that are found: detection and divisions, as recorded and with fewer photons."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tifffile

from benchmarks.degrade import degraded
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


def cells(
    data: Path, names: Mapping[str, tuple[str, Mapping[str, Any]]], segment: Mapping[str, str], frames: int
) -> list[dict[str, Any]]:
    """Return one row for each sequence, light and denoiser: DET, division F1 and the denoiser's median ms.

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
                    truth = place.with_name(f"{place.name}_GT")
                    found = evaluate(source, Path(folder) / f"RES {name}", chain=chain, gt=truth)
                    rows.append(
                        {
                            "sequence": sequence, "photons": photons or "as recorded", "denoise": name,
                            "segment": segment[kind], "frames": frames, "DET": found["DET"],
                            "f1": found["division"]["f1"], "denoise_ms": found["ms"]["denoise"]["p50"],
                        }
                    )  # fmt: skip
    return rows
