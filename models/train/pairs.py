"""Folders of single images with label images of the same names: each pair is a movie of one frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.measure import label as pieces

from models.train.movie import FEWEST_PX, Cohort, Ints, Movie, cohort_of, diameter_of
from models.train.split import held_out
from stream.errors import SourceError

TIFF = (".tif", ".tiff")
SUFFIXES = (*TIFF, ".png")
PASSED_BY = ("thumbs.db", "desktop.ini")
"""What Windows leaves in folders of images; hidden files are passed by, too."""
COLOURS = 3
"""Channels of a last axis that are averaged; a fourth one is opacity."""
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error, cv2.error)
Pixels = NDArray[Any]


def read_pairs(folder: Path) -> Sequence[Movie]:
    """Read a folder with ``images`` and ``labels`` of the same names, TIFF or PNG: each pair a movie of one frame.

    Colours are averaged. Labels with only one value beside 0, as a mask of 0 and 255, are taken apart: each connected
    piece is a cell. Images without a cell are left out; of the others :func:`models.train.split.held_out` says which
    are kept for validation.

    Raises
    ------
    SourceError
        No images or no cells; an image without labels or with labels of another size; a file that cannot be read.
    """
    paths = [path for path in sorted((folder / "images").glob("*")) if _is_meant(path)]
    if not paths:
        raise SourceError(f"{folder}: no images; an image folder has 'images' and 'labels' with the same file names")
    seen: dict[str, tuple[Pixels, Ints, Cohort]] = {}
    for path in paths:
        picture, mask = _pair(path, folder / "labels")
        cohort = cohort_of(mask, mask)
        if len(cohort.label):
            seen[path.name] = picture, mask, cohort
    if not seen:
        raise SourceError(f"{folder / 'labels'}: not one cell of {FEWEST_PX} px or more; give each cell a number")
    kept = held_out(list(seen))
    return [_movie(name, *one, name in kept) for name, one in seen.items()]


def _movie(name: str, picture: Pixels, mask: Ints, cohort: Cohort, kept: bool) -> Movie:
    tracks = {int(label): (0, 0, 0) for label in cohort.label}
    edge = 0 if kept else picture.shape[1]
    return Movie(name, [picture], [mask], [mask], [cohort], tracks, diameter_of([mask]), 0, edge)


def _is_meant(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.lower() not in PASSED_BY


def _pair(image: Path, folder: Path) -> tuple[Pixels, Ints]:
    picture = _grey(_read(image), image)
    place = _labels_of(image, folder)
    mask = _mask(_read(place), place)
    if picture.shape != mask.shape:
        raise SourceError(
            f"{place}: labels of {mask.shape} rows and columns for {image} of {picture.shape}; they have to be alike"
        )
    return picture, mask


def _labels_of(image: Path, folder: Path) -> Path:
    """Return the labels of an image: of the same name, or else with another of the endings that are read."""
    for name in (image.name, *(image.stem + suffix for suffix in SUFFIXES)):
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f"{folder / image.name}: there are no labels for {image}; draw them, or take the image out")


def _read(path: Path) -> Pixels:
    """Return what a file holds, without its opacity."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SourceError(f"{path}: of images only TIFF and PNG are read; convert it, or take it out of the folder")
    try:
        pixels = tifffile.imread(path) if suffix in TIFF else _png(path)
    except _UNREADABLE as error:
        raise SourceError(f"{path}: cannot be read ({error}); write it again, or take it out") from error
    return pixels[..., :COLOURS] if pixels.ndim == 3 and pixels.shape[-1] == COLOURS + 1 else pixels


def _png(path: Path) -> Pixels:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if pixels is None:
        raise ValueError("no whole PNG")
    return np.asarray(pixels)


def _grey(picture: Pixels, path: Path) -> Pixels:
    if picture.ndim == 3 and picture.shape[-1] <= COLOURS:
        return np.asarray(picture.mean(axis=-1).astype(picture.dtype))
    if picture.ndim != 2:
        raise SourceError(f"{path}: of shape {picture.shape}, no single image; write each plane as an image of its own")
    return picture


def _mask(labels: Pixels, path: Path) -> Ints:
    if labels.ndim == 3 and (labels == labels[..., :1]).all():  # grey, written as colours
        labels = labels[..., 0]
    if labels.ndim != 2:
        raise SourceError(f"{path}: of shape {labels.shape}; labels are one plane with a number for each cell")
    mask: Ints = labels.astype(np.int32)
    if mask.min() < 0:
        raise SourceError(f"{path}: holds the label {mask.min()}; 0 is background, and cells have numbers above it")
    cells = mask > 0
    one_value = bool((mask[cells] == mask.max()).all())
    return np.asarray(pieces(cells, connectivity=1), np.int32) if one_value else mask
