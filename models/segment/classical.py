"""Segmenters without weights: ``classical-nuclei``, ``classical-phase``; ``classical`` chooses between them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import msgpack
import numpy as np
from pydantic import Field

from models.segment.foreground import outlines
from models.segment.measure import Doubles, mean_counts, means
from models.segment.parts import cells_of
from models.segment.recipe import NUCLEI, PHASE, Recipe
from models.segment.scale import HALO_SHARE, blob_diameter_px, halo_share
from stream.cells import Floats, Ints, Kind, Segmentation, make_cells
from stream.errors import StageError
from stream.settings import Settings, parse
from stream.stages import Moment

LOG = logging.getLogger(__name__)
RECIPES: Mapping[str, Recipe] = {"nuclei": NUCLEI, "phase": PHASE}
ENOUGH = 5
"""Cells in one frame after which polarity and diameter stay as they were chosen."""
LEAST_DIAMETER_PX = 4.0


class SegmentOptions(Settings):
    """``[chain] segment_options`` of the classical segmenters."""

    diameter_px: float | None = Field(default=None, ge=LEAST_DIAMETER_PX)
    """Typical diameter of a cell (nucleus) at the first frame's binning; None: measured where cells first show."""
    polarity: Literal["auto", "bright", "dark"] = "auto"
    """Whether cells are brighter or darker than their surroundings."""
    sigmas: float | None = Field(default=None, gt=0)
    """How far above the background, in deviations of it, the dimmest cell stands; None: as the preset says."""
    least_area_px: float | None = Field(default=None, ge=1)
    """Smaller things are no cells; None: a share of the typical area."""


class ClassicalSegmenter:
    """Local thresholds and a seeded split; a :class:`stream.stages.Segmenter`.

    Chooses the kind of picture (nuclei or phase contrast), the polarity and the typical diameter from the first frame
    that shows cells, and says so in :attr:`choice` and in the log.

    Parameters
    ----------
    options
        See :class:`SegmentOptions`.
    """

    kind: ClassVar[str | None] = None
    """The preset; None: chosen by the first frame."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(SegmentOptions, options, "[chain] segment_options")
        self._chosen: dict[str, Any] = {}
        self._seen = 0
        self._tries = 0

    @property
    def choice(self) -> str:
        """What was chosen, for people; "undecided" before a frame has shown cells."""
        c = self._chosen
        if not c:
            return "undecided: no frame has shown cells"
        return f"classical-{c['kind']}, {'dark' if c['dark'] else 'bright'} cells of {c['diameter_px']:.1f} px"

    def step(self, moment: Moment) -> Segmentation:
        """Return the label image and its cells. Raises StageError for pixels that cannot be an image of the frame."""
        image = _image(moment)
        binning = moment.frame.binning
        choosing = self._is_time_to_choose()
        chosen = self._choose(image, binning) if choosing else self._rescaled(binning)
        if not chosen:
            return _found(np.zeros(image.shape, np.int32), np.zeros((0, 6)), np.zeros((0, 4), np.int32), moment)
        found = self._segment(image, chosen, moment)
        if choosing and len(found.cells):
            self._chosen = {**chosen, "cells": len(found.cells)}
            LOG.info("%s: %s", moment.frame.field, self.choice)
        return found

    def reset(self, reason: str) -> None:
        """Forget what was chosen."""
        self._chosen, self._seen, self._tries = {}, 0, 0

    def save(self) -> bytes:
        """Return what was chosen as msgpack."""
        return bytes(msgpack.packb({"schema": 2, "chosen": self._chosen, "seen": self._seen, "tries": self._tries}))

    def load(self, state: bytes) -> None:
        """Take up what :meth:`save` returned. Raises StageError."""
        try:
            data = msgpack.unpackb(state)
            chosen = dict(data["chosen"]) if data["schema"] == 2 else None
            seen, tries = int(data["seen"]), int(data["tries"])
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise StageError(f"not a saved state of a classical segmenter: {error}") from error
        if chosen is None or (chosen and set(chosen) != {"kind", "dark", "diameter_px", "cells", "binning"}):
            raise StageError("a saved state of another version of the classical segmenter; reset it instead")
        self._chosen, self._seen, self._tries = chosen, seen, tries

    def _is_time_to_choose(self) -> bool:
        """Say whether to look at the whole picture again: few cells make a poor choice, but looking takes long.

        Frames 1, 2, 4, 8, 16 and then every 16th are looked at until one shows enough cells.
        """
        if self._chosen and self._chosen["cells"] >= ENOUGH:
            return False
        self._seen += 1
        due: bool = self._seen >= min(2**self._tries, 16 * max(1, self._tries - 3))
        self._tries += due
        return due

    def _rescaled(self, binning: int) -> dict[str, Any]:
        """What was chosen, with the diameter in the pixels of another binning; empty before."""
        if not self._chosen:
            return {}
        before = self._chosen["binning"]
        if binning != before:
            diameter = max(self._chosen["diameter_px"] * before / binning, LEAST_DIAMETER_PX)
            self._chosen = {**self._chosen, "diameter_px": diameter, "binning": binning}
        return self._chosen

    def _choose(self, image: Floats, binning: int) -> dict[str, Any]:
        """Choose kind, polarity and scale; of two possible polarities the one whose cells hold more light or shade."""
        kind = self.kind or ("phase" if halo_share(image) > HALO_SHARE else "nuclei")
        polarity = self._options.polarity
        ways = [polarity == "dark"] if polarity != "auto" else [False] if kind == "nuclei" else [False, True]
        best: dict[str, Any] = {}
        most = -1.0
        for dark in ways:
            diameter, light = self._scale(-image if dark else image, kind)
            if diameter is not None and light > most:
                most = light
                best = {"kind": kind, "dark": dark, "diameter_px": diameter, "cells": 0, "binning": binning}
        return best

    def _scale(self, bright: Floats, kind: str) -> tuple[float | None, float]:
        """Return the typical diameter (None: no blobs) and the light of all cells of that size."""
        diameter, light = self._options.diameter_px or blob_diameter_px(bright), 0.0
        for _ in range(0 if diameter is None else 3):
            diameter = max(diameter or 0.0, LEAST_DIAMETER_PX)
            labels, total, _, _ = self._labels(bright, diameter, kind)
            if not len(total):
                break
            measured, light = _typical_diameter(labels, total[:, 0], bright)
            diameter = self._options.diameter_px or measured
        return diameter, light

    def _segment(self, image: Floats, chosen: Mapping[str, Any], moment: Moment) -> Segmentation:
        bright = -image if chosen["dark"] else image
        labels, total, boxes, certainty = self._labels(bright, chosen["diameter_px"], chosen["kind"])
        return _found(labels, total, boxes, moment, chosen["kind"], certainty)

    def _labels(self, bright: Floats, diameter_px: float, kind: str) -> tuple[Ints, Doubles, Ints, Floats]:
        recipe, wanted = RECIPES[kind], self._options
        if wanted.sigmas:
            recipe = replace(recipe, sigmas=wanted.sigmas)
        if wanted.least_area_px:
            recipe = replace(recipe, least_area=wanted.least_area_px / (np.pi / 4 * diameter_px**2))
        spots, certainty = outlines(bright, diameter_px, recipe)
        labels, total, boxes, spot = cells_of(spots, diameter_px, recipe)
        return labels, total, boxes, certainty[spot]


class NucleiSegmenter(ClassicalSegmenter):
    """Fluorescent nuclei: bright, compact, of very different brightness."""

    kind = "nuclei"


class PhaseSegmenter(ClassicalSegmenter):
    """Phase contrast: compact cells brighter or darker than their surroundings, with halos."""

    kind = "phase"


def _typical_diameter(labels: Ints, area: Doubles, bright: Floats) -> tuple[float, float]:
    """Return the median diameter of the cells, and their light.

    Each counts by its light above the picture's median: haze and crumbs hardly do.
    """
    light = area * np.maximum(means(labels, len(area), bright)[1:] - float(np.median(bright)), 1e-9)
    order = np.argsort(area)
    half = int(np.searchsorted(np.cumsum(light[order]), light.sum() / 2))
    return max(float(2 * np.sqrt(area[order[half]] / np.pi)), LEAST_DIAMETER_PX), float(light.sum())


def _image(moment: Moment) -> Floats:
    pixels, denoised = moment.frame.pixels, moment.denoised
    if denoised is None:
        return pixels.astype(np.float32)
    if denoised.shape != pixels.shape:
        raise StageError(f"denoised pixels are {denoised.shape}, the frame {pixels.shape}")
    image = np.ascontiguousarray(denoised, np.float32)
    if not np.isfinite(image).all():
        raise StageError("denoised pixels hold NaN or infinity; the denoiser must not make them")
    return image


def _found(
    labels: Ints, total: Doubles, boxes: Ints, moment: Moment, kind: Kind | None = None, certainty: Floats | None = None
) -> Segmentation:
    n = len(total)
    area = total[:, :1]
    cells = make_cells(
        np.arange(1, n + 1, dtype=np.int32),
        (total[:, 1:3] / np.maximum(area, 1)).astype(np.float32),
        boxes.astype(np.int32),
        area[:, 0].astype(np.float32),
        mean_counts(labels, n, moment),
        **({} if certainty is None else {"score": certainty.astype(np.float32)}),
    )
    return Segmentation(labels, cells, kind)
