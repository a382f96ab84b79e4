"""Folders in Cell Tracking Challenge form: numbered label images and track files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from stream.errors import SourceError

Rows = NDArray[np.int64]
"""Track rows ``(n, 4)``: label, first frame, last frame, parent (0: none)."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a sequence's truth folders hold; frame number → file.

    ``hand`` masks are made by people for few frames, ``markers`` (one disc per cell) with ``rows`` by people for all,
    ``computed`` masks by programs for all.
    """

    markers: Mapping[int, Path]
    rows: Rows
    hand: Mapping[int, Path]
    computed: Mapping[int, Path]


def read_truth(gt: Path | None, st: Path | None) -> Truth:
    """Find the truth files of a sequence.

    Parameters
    ----------
    gt
        ``NN_GT``, or its ``TRA`` or ``SEG`` folder.
    st
        ``NN_ST``, or its ``SEG`` folder.

    Raises
    ------
    SourceError
        A path that is missing or holds no truth.
    """
    markers, hand, computed, rows = {}, {}, {}, np.zeros((0, 4), np.int64)
    if gt is not None:
        root = gt.parent if gt.name in ("TRA", "SEG") else gt
        markers = numbered_masks(root / "TRA") if gt.name != "SEG" else {}
        hand = numbered_masks(root / "SEG") if gt.name != "TRA" else {}
        if markers:
            rows = read_rows(root / "TRA" / "man_track.txt")
        _require(markers or hand, gt, "TRA/man_trackNNN.tif or SEG/man_segNNN.tif")
    if st is not None:
        computed = numbered_masks(st / "SEG") or numbered_masks(st)
        _require(computed, st, "SEG/man_segNNN.tif")
    return Truth(markers, rows, hand, computed)


def _require(found: object, folder: Path, what: str) -> None:
    if not found:
        state = f"no {what} in it" if folder.is_dir() else "no such folder"
        raise SourceError(f"{folder}: {state}; give the NN_GT or NN_ST folder of the sequence")


def numbered_masks(folder: Path) -> dict[int, Path]:
    """Return the folder's TIFF files by the last number in their names, in order; empty where there are none."""
    files: dict[int, Path] = {}
    for path in sorted(folder.glob("*.tif")) if folder.is_dir() else ():
        digits = re.findall(r"\d+", path.stem)
        if digits:
            files[int(digits[-1])] = path
    return dict(sorted(files.items()))


def read_mask(path: Path) -> NDArray[np.int64]:
    """Read a label image ``(y, x)``. Raises SourceError."""
    try:
        mask: NDArray[np.int64] = np.asarray(tifffile.imread(path)).astype(np.int64)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise SourceError(f"{path}: not a readable TIFF: {error}") from error
    if mask.ndim != 2:
        raise SourceError(f"{path}: a label image is (y, x), not {mask.shape}")
    return mask


def read_rows(path: Path) -> Rows:
    """Read a track file (``L B E P`` a line). Raises SourceError."""
    try:
        rows = [[int(word) for word in line.split()] for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: not a track file of 'L B E P' lines: {error}") from error
    if any(len(row) != 4 for row in rows):
        raise SourceError(f"{path}: a line of a track file is 'L B E P', four whole numbers")
    return np.array(rows, np.int64).reshape(-1, 4)
