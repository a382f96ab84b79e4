"""A folder of numbered images, one file a frame."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.replay.recording import About, Plane
from stream.errors import SourceError
from stream.frame import Index

SUFFIXES = (".tif", ".tiff", ".png")


class FolderRecording:
    """Images by the number in their names: the last group of digits that differs between the files.

    Parameters
    ----------
    folder
        Where the files are.
    pattern
        A glob that picks some of them; empty: all ``.tif``, ``.tiff`` and ``.png``.

    Raises
    ------
    SourceError
        No images, names without a number, names of several kinds, or two files with one number.
    """

    def __init__(self, folder: Path, pattern: str = "") -> None:
        files = [path for path in folder.glob(pattern or "*") if path.suffix.lower() in SUFFIXES and path.is_file()]
        files = [path for path in files if not path.name.startswith(".")]
        if not files:
            which = f"matches '{pattern}'" if pattern else "ends in " + ", ".join(SUFFIXES)
            raise SourceError(f"{folder}: no image in it {which}; name a folder of numbered images")
        words = _numbers(folder, files)
        numbered = sorted(zip(map(int, words), files, strict=True))
        self.planes = [Plane(number, path, Index(t=t)) for t, (number, path) in enumerate(numbered)]
        self.about = About("folder", extra={"digits": min(map(len, words))})

    def read(self, plane: Plane) -> NDArray[Any]:
        """Read one file. Raises SourceError."""
        path: Path = plane.key
        try:
            return _read(path)
        except Exception as error:  # decoders raise anything on torn files: the edge between them and the replay
            raise SourceError(f"{path.name} cannot be read: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Hold nothing."""


def _read(path: Path) -> NDArray[Any]:
    if path.suffix.lower() == ".png":
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) != 1:
            raise SourceError(f"{len(tiff.pages)} pages in one numbered file; replay it alone as a stack")
        return np.asarray(tiff.pages[0].asarray())


def _numbers(folder: Path, files: list[Path]) -> list[str]:
    kinds = Counter(re.sub(r"\d+", "#", path.stem) for path in files)
    if len(kinds) > 1:
        names = ", ".join(f"{kind} ({n})" for kind, n in kinds.most_common(4))
        raise SourceError(f"{folder}: names of several kinds: {names}; pick one with pattern, e.g. pattern = 't*.tif'")
    groups = [re.findall(r"\d+", path.stem) for path in files]
    if not groups[0]:
        raise SourceError(f"{folder}: no number in names such as {files[0].name}; frames need numbers")
    varying = [i for i, column in enumerate(zip(*groups, strict=True)) if len(set(column)) > 1]
    place = varying[-1] if varying else -1
    words = [group[place] for group in groups]
    number, times = Counter(map(int, words)).most_common(1)[0]
    if times > 1:
        raise SourceError(
            f"{folder}: {times} files have the number {number}; pick those of one channel, plane or position with "
            f"pattern, e.g. pattern = '*_c1*'"
        )
    return words
