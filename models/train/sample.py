"""One training sample: a crop of two frames under a random view, and what the network should say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.normalise import levels
from models.segment.decode import SEED_SHARE
from models.spec import NORMALISATIONS
from models.train.movie import Movie
from models.train.noise import fewer_photons
from stream.cells import Kind
from stream.settings import Settings

Floats = NDArray[np.float32]
NEAR_DIVISION_PX = 60.0
"""In the network's pixels: how far a crop's centre may be from the division it was drawn for."""
LEVEL_SAMPLES = 8_000
HEARD_ZOOM = 1.35
"""Up to how much larger than usual a crop may show its cells for teachers to be heard: they learned no larger ones."""


class Augmentation(Settings):
    """``[augment]``: how different from the recordings a training sample may look."""

    zoom: tuple[float, float] = (0.75, 1.35)
    """Size of the objects relative to ``object_px``."""
    stretched: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest logarithm of the ratio by which one direction of the picture is longer than the other; areas stay."""
    photons: tuple[float, float] = (4.0, 200.0)
    """Range of photons at the peak, drawn on a logarithmic scale."""
    noisy: float = Field(default=0.45, ge=0, le=1)
    """Share of samples with photon noise."""
    blurred: float = Field(default=0.2, ge=0, le=1)
    uneven: float = Field(default=0.3, ge=0, le=1)
    """Share with uneven light."""
    contrast: float = Field(default=0.2, ge=0)
    """Deviation of the logarithm of the scale."""
    drift_px: float = Field(default=4.0, ge=0)
    """Largest shift between the two frames in a third of the samples, in the network's pixels."""
    gaps: tuple[float, float, float] = (0.10, 0.78, 0.12)
    """Shares of pairs that lie 0, 1 and 2 frames apart."""
    divisions: float = Field(default=0.5, ge=0, le=1)
    """Share of crops that are drawn around a division."""


NONE = Augmentation(
    zoom=(1.0, 1.0), noisy=0, blurred=0, uneven=0, contrast=0, drift_px=0, gaps=(0.0, 1.0, 0.0)
)  # fmt: skip
"""What validation samples look like: as recorded, but turned."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Inputs as :mod:`models.spec` has them for one crop; targets at full and at half resolution.

    ``weight`` is 0 where nothing is known. ``own`` and ``previous`` are (2, y, x) in px of the input; ``cell`` marks
    the pixels in which they count, ``moved`` weighs those where the previous centre is known.
    """

    frames: Floats
    offset: Floats
    scale: Floats
    foreground: Floats
    weight: Floats
    seed: Floats
    own: Floats
    cell: Floats
    previous: Floats
    moved: Floats
    newborn: Floats
    dividing: Floats
    taught: Floats
    """1 where teachers may speak of centres and divisions, at half resolution."""


@dataclass(frozen=True, slots=True)
class View:
    """Which part of which frames is looked at, and how."""

    frame: int
    before: int
    matrix: NDArray[np.float64]
    """2 × 3, from (x, y) of the frame to (x, y) of the crop."""
    drift: NDArray[np.float64]
    """Additional shift (x, y) of the earlier frame in the crop."""
    zoom: float


def draw(
    movie: Movie, kind: Kind, object_px: float, side: int, augment: Augmentation, rng: np.random.Generator,
    validation: bool = False,
    touching: float = 0.0,
    hushed: bool = False,
) -> Sample:  # fmt: skip
    """Draw one sample from a movie.

    Parameters
    ----------
    side
        Of the crop, a multiple of 16.
    validation
        From the part of the field that is kept for validation; else from the other part. Labels of the wrong part
        never count.
    touching
        Weight that the offsets of a pixel gain where cells touch.
    hushed
        Whether teachers say nothing of centres and divisions around cells that only have a marker, and of all cells
        where they are shown larger than :data:`HEARD_ZOOM`.
    """
    view = _view(movie, object_px, side, augment, rng, validation)
    normalisation = NORMALISATIONS[kind]
    photons = None
    if rng.random() < augment.noisy:
        low, high = np.log(augment.photons)
        photons = float(np.exp(rng.uniform(low, high)))
    blur = float(rng.uniform(0.4, 1.6)) if rng.random() < augment.blurred else 0.0
    shade = _shade(side, rng) if rng.random() < augment.uneven else None
    frames, offsets, scales = [], [], []
    drifted = view.matrix.copy()
    drifted[:, 2] += view.drift
    for number, matrix in ((view.before, drifted), (view.frame, view.matrix)):
        crop, low, high = _crop(movie.images[number], matrix, side, view.zoom, photons, normalisation, rng)
        if blur:
            crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), blur), np.float32)
        if shade is not None:
            crop = (crop - np.float32(low)) * shade + np.float32(low)
        frames.append(crop)
        offsets.append(low)
        scales.append(high)
    stretch = np.exp(rng.normal(0, augment.contrast))
    shift = rng.normal(0, 0.25 * augment.contrast)
    scale = np.array(scales, np.float32) * np.float32(stretch)
    offset = np.array(offsets, np.float32) + np.float32(shift) * scale
    targets = _targets(movie, view, object_px, side, validation, touching, hushed)
    return Sample(np.stack(frames), offset, scale, **targets)


def _view(
    movie: Movie, object_px: float, side: int, augment: Augmentation, rng: np.random.Generator, validation: bool
) -> View:
    gap = int(rng.choice(3, p=augment.gaps))
    around: tuple[float, float] | None = None
    frame = int(rng.integers(len(movie)))
    if movie.divisions and rng.random() < augment.divisions:
        birth, parent = movie.divisions[int(rng.integers(len(movie.divisions)))]
        # the last frame of the mother, the first of her daughters, and seldom the frames around them
        frame = int(np.clip(birth + rng.choice([-2, -1, 0, 1], p=[0.08, 0.34, 0.5, 0.08]), 0, len(movie) - 1))
        cohort = movie.cohorts[max(birth - 1, 0)]
        at = np.nonzero(cohort.label == parent)[0]
        if len(at):
            around = (float(cohort.centre_px[at[0], 1]), float(cohort.centre_px[at[0], 0]))
    zoom = object_px / movie.diameter_px * float(np.exp(rng.uniform(*np.log(augment.zoom))))
    height, width = movie.images[0].shape
    edge = movie.validation_from_px
    left, right = (edge, width) if validation else (0, edge)
    if around is None or not left <= around[0] < right:
        around = (float(rng.uniform(left, right)), float(rng.uniform(0, height)))
    jitter = rng.uniform(-NEAR_DIVISION_PX, NEAR_DIVISION_PX, 2)
    angle = float(rng.uniform(0, 2 * np.pi))
    flip = float(rng.choice([-1.0, 1.0]))
    turn = zoom * _rotation(angle) @ np.diag([flip, 1.0])
    if augment.stretched:
        longer = float(np.exp(rng.uniform(-augment.stretched, augment.stretched) / 2))
        turn = np.diag([longer, 1 / longer]) @ turn
    shift = side / 2 + jitter - turn @ np.array(around)
    drift = np.zeros(2)
    if rng.random() < 1 / 3 or len(movie) == 1:
        drift = rng.uniform(-augment.drift_px, augment.drift_px, 2)
    return View(frame, max(frame - gap, 0), np.column_stack([turn, shift]), drift, zoom)


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _crop(
    picture: NDArray[Any], matrix: NDArray[np.float64], side: int, zoom: float, photons: float | None,
    normalisation: Any, rng: np.random.Generator,
) -> tuple[Floats, float, float]:  # fmt: skip
    """Return the crop and the levels of its frame, both with the same noise."""
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float64)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    reach = corners @ back[:, :2].T + back[:, 2]
    height, width = picture.shape
    x0, y0 = (int(v) for v in np.clip(np.floor(reach.min(0)) - 2, 0, [width - 2, height - 2]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(reach.max(0)) + 3, [x0 + 2, y0 + 2], [width, height]))
    part = picture[y0:y1, x0:x1].astype(np.float32)
    step = max(1, int(np.sqrt(picture.size / LEVEL_SAMPLES)))
    sample = picture[::step, ::step].astype(np.float32)
    if photons is not None:
        black, peak = np.percentile(sample, [1.0, 99.8])
        black = 0.0 if picture.dtype == np.uint8 else float(black)
        peak = max(float(peak) - black, 1.0)
        part = fewer_photons(part, black, peak, photons, rng)
        sample = fewer_photons(sample, black, peak, photons, rng)
    if zoom < 0.8:
        part = np.asarray(cv2.GaussianBlur(part, (0, 0), 0.4 / zoom), np.float32)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ np.array([x0, y0], np.float64)
    crop = cv2.warpAffine(part, moved, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    low, scale = levels(sample, normalisation)
    return np.asarray(crop, np.float32), low, scale


def _shade(side: int, rng: np.random.Generator) -> Floats:
    coarse = np.exp(rng.normal(0, 0.15, (3, 3))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _targets(
    movie: Movie, view: View, object_px: float, side: int, validation: bool, touching: float, hushed: bool
) -> dict[str, Floats]:
    full = _warped(movie.labels[view.frame], view.matrix, side)
    half = _warped(movie.claims[view.frame], view.matrix, side)[1::2, 1::2]
    cohort, earlier = movie.cohorts[view.frame], movie.cohorts[view.before]
    most = int(cohort.label[-1]) + 1 if len(cohort.label) else 1
    centre = np.full((most, 2), np.nan, np.float32)
    centre[cohort.label] = _shown(cohort.centre_px, view.matrix)
    past = view.matrix.copy()
    past[:, 2] += view.drift
    was = {int(i): c for i, c in zip(earlier.label, _shown(earlier.centre_px, past), strict=True)}
    previous = np.full((most, 2), np.nan, np.float32)
    newborn, dividing = np.zeros(most, np.float32), np.zeros(most, np.float32)
    parents = {parent for _, parent in movie.divisions}
    for i in cohort.label:
        begin, end, parent = movie.tracks.get(int(i), (0, 0, 0))
        fresh = parent in parents and view.before < begin <= view.frame
        previous[i] = was.get(int(i), was.get(parent, np.nan) if fresh else np.nan)
        newborn[i] = fresh or (parent in parents and begin == view.frame)
        dividing[i] = int(i) in parents and end == view.frame
    rows, columns = np.mgrid[0 : side // 2, 0 : side // 2].astype(np.float32) * 2 + np.float32(0.5)
    here = np.stack([rows, columns])
    cell = ((half > 0) & (half < most)).astype(np.float32)
    inside = np.where(half < most, half, 0)
    centre[0] = previous[0] = np.nan
    own = np.moveaxis(centre[inside], 2, 0) - here
    before = np.moveaxis(previous[inside], 2, 0) - here
    cell *= np.isfinite(own[0])
    own = np.where(cell > 0, own, 0).astype(np.float32)
    moved = cell * np.isfinite(before[0])
    before = np.where(moved > 0, before, 0).astype(np.float32)
    sigma = SEED_SHARE * object_px * (view.zoom * movie.diameter_px / object_px)
    known = _known(movie, view, side, validation)
    weight = _weight(known, full)
    on = _weight(known[1::2, 1::2], half)
    if touching:
        on = on * (1 + np.float32(touching) * _meeting(half))
    return {
        "foreground": (full > 0).astype(np.float32),
        "weight": weight,
        "seed": np.exp(-(own**2).sum(0) / (2 * sigma**2)) * cell,
        "own": own,
        "cell": cell * on,
        "previous": before,
        "moved": moved * on * (1 + 3 * newborn[inside]),
        "newborn": newborn[inside] * cell,
        "dividing": dividing[inside] * cell,
        "taught": _taught(movie, view, object_px, side) if hushed else np.ones_like(cell),
    }


def _meeting(labels: NDArray[np.int32]) -> Floats:
    """Return 1 where another cell is within two pixels, else 0."""
    highest = cv2.dilate(labels.astype(np.float32), np.ones((5, 5), np.uint8))
    lowest = cv2.erode(np.where(labels > 0, labels, np.inf).astype(np.float32), np.ones((5, 5), np.uint8))
    return np.asarray((highest > lowest) & (labels > 0), np.float32)


def _known(movie: Movie, view: View, side: int, validation: bool) -> NDArray[np.uint8]:
    """Return 2 where the truth is whole, 1 where it only tells of what it labels, 0 where it tells nothing.

    0 is outside the picture and the wrong part of the field, 1 near the edge and around undrawn cells.
    """
    height, width = movie.images[0].shape
    known = np.zeros((height, width), np.uint8)
    edge = movie.validation_from_px
    part = slice(edge, width) if validation else slice(0, edge)
    known[:, part] = 2
    border = movie.unlabelled_border_px
    if border:
        for band in (known[:border], known[-border:], known[:, :border], known[:, -border:]):
            band[band > 0] = 1
    if not movie.cohorts[view.frame].drawn.all():
        np.minimum(known, 2 - _undrawn(movie, view.frame), out=known)
    return np.asarray(cv2.warpAffine(known, view.matrix, (side, side), flags=cv2.INTER_NEAREST), np.uint8)


def _taught(movie: Movie, view: View, object_px: float, side: int) -> Floats:
    if view.zoom * movie.diameter_px > HEARD_ZOOM * object_px:
        return np.zeros((side // 2, side // 2), np.float32)
    undrawn = cv2.warpAffine(_undrawn(movie, view.frame), view.matrix, (side, side), flags=cv2.INTER_NEAREST)
    return np.asarray(undrawn[1::2, 1::2] == 0, np.float32)


def _undrawn(movie: Movie, frame: int) -> NDArray[np.uint8]:
    """Return 1 around the cells of a frame that only have a marker, else 0."""
    cohort = movie.cohorts[frame]
    undrawn = np.zeros(movie.images[frame].shape, np.uint8)
    for y, x in cohort.centre_px[~cohort.drawn]:
        cv2.circle(undrawn, (round(float(x)), round(float(y))), max(2, round(0.6 * movie.diameter_px)), 1, -1)
    return undrawn


def _weight(known: NDArray[np.uint8], labels: NDArray[np.int32]) -> Floats:
    return np.asarray((known == 2) | ((known == 1) & (labels > 0)), np.float32)


def _warped(labels: NDArray[np.int32], matrix: NDArray[np.float64], side: int) -> NDArray[np.int32]:
    """Return the labels of the crop; float32 holds every id exactly and is what OpenCV can turn."""
    turned = cv2.warpAffine(labels.astype(np.float32), matrix, (side, side), flags=cv2.INTER_NEAREST)
    return np.asarray(turned, np.int32)


def _shown(centre_px: Floats, matrix: NDArray[np.float64]) -> Floats:
    """Return centres (y, x) of a frame as (y, x) in the crop."""
    shown = centre_px[:, ::-1].astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return shown[:, ::-1].astype(np.float32)
