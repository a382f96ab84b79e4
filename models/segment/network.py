"""The segmenter that looks with a trained network: cells, where each was before, and whether it divides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgpack
import numpy as np
from pydantic import Field

from models import zoo
from models.normalise import Running
from models.segment.decode import Decoded, DecodeSettings
from models.segment.fit import ENOUGH, LEAST_DIAMETER_PX, fitted, prepare
from models.segment.growth import Growth
from models.segment.measure import mean_counts
from models.segment.past import Past, Pixels
from models.segment.scale import is_grain
from models.segment.sessions import Wanted, open_ahead
from models.segment.sight import Network, Retina, Sight, zoom_for
from stream.cells import Floats, Kind, Segmentation, make_cells
from stream.errors import StageError
from stream.frame import Frame
from stream.settings import Settings, parse
from stream.stages import Moment

LOG = logging.getLogger(__name__)
SCHEMA = 3
SEARCH_EVERY = 16
"""Frames between two searches for the cells' size where too few have shown."""
ALIKE = 0.15
"""Sizes nearer than this (a natural logarithm) are the same."""
MOST_MISSED = 1
"""Frames that may be missing before the earlier one is not shown: pairs in training are at most two frames apart, and
an older frame makes outlines worse."""
FEATURES = ("newborn", "dividing")
"""Columns of ``Cells.features``."""


class NetworkOptions(Settings):
    """``[chain] segment_options`` of the segmenters that run a network."""

    model: str = ""
    """A shipped network's name, or the path of an ``.onnx`` file; empty: the segmenter's own."""
    runtime: str = "auto"
    """What runs it; see ``cytoloop models list``."""
    precision: str = "auto"
    diameter_px: float | None = Field(default=None, ge=LEAST_DIAMETER_PX)
    """Typical diameter of a cell at the first frame's binning, which is kept; None: measured where cells show, and
    followed as they grow or shrink."""
    look: Literal["raw", "denoised"] = "raw"
    """Which pixels the network is shown. It sees through noise by itself: ``denoised``, with ``[chain] denoise =
    "network"``, changes little (docs/decisions/denoising.md). Cells are measured on raw pixels either way."""


class NetworkSegmenter:
    """Runs a cell network on this frame and the last; a :class:`stream.stages.Segmenter`.

    Parameters
    ----------
    options
        See :class:`NetworkOptions`.
    """

    model: ClassVar[str] = "nuclei"
    """The network that is run when the options name none."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(NetworkOptions, options, "[chain] segment_options")
        path = zoo.path(self._options.model or self.model)
        self._network = Network(Path(path), zoo.spec(path), self._options.runtime, self._options.precision)
        self._retina: Retina | None = None
        self._past: Past | None = None
        self._diameter_px = self._options.diameter_px
        self._binning: int | None = None
        self._growth = Growth()
        self._cells, self._seen, self._due = 0, 0, 1

    @property
    def choice(self) -> str:
        """Which network, what runs it and for which diameter, for people."""
        runs_on = self._retina.runs_on if self._retina else "not yet run"
        size = f"cells of {self._diameter_px:.1f} px" if self._diameter_px else "no frame has shown cells"
        return f"{self._network.spec.name}, {runs_on}, {size}"

    @property
    def looks_at(self) -> Literal["raw", "denoised"]:
        """Which pixels it is shown: a chain need not denoise for one that looks at raw ones."""
        return self._options.look

    def prepare(self) -> None:
        """Open the network in which sizes are tried. Raises RuntimeUnavailable where nothing can run it."""
        prepare(self._network)

    def step(self, moment: Moment) -> Segmentation:
        """Return the label image and its cells. Raises StageError for pixels that cannot be an image."""
        frame, past = self._shown(moment), self._past
        known = past.levels if past is not None and past.same_light(frame) else None
        levels = Running.after(known, frame.pixels, self._network.spec.normalisation)
        if (known is None or levels.is_jump_from(known)) and is_grain(frame.pixels):
            self._past = None  # noise that is stretched to the contrast of cells would be full of them
            return self._nothing(moment)
        self._rescale(frame)
        if self._is_time_to_choose():
            self._choose(frame, levels)
        self._follow(frame)
        self._past = Past.of(frame, levels)
        if self._diameter_px is None:
            return self._nothing(moment)
        moved_px = past.moved_px(frame) if past is not None and moment.missed <= MOST_MISSED else None
        found = self._see(frame.pixels, levels, past, moved_px)
        self._cells = max(self._cells, found.count)
        self._look_ahead(found, frame)
        before_px = _before(found, past, moved_px)
        return Segmentation(found.labels, _cells(found, before_px, moment), self._network.spec.kind)

    def reset(self, reason: str) -> None:
        """Forget the past and what was chosen."""
        self._past, self._binning = None, None
        self._diameter_px, self._growth = self._options.diameter_px, Growth()
        self._cells, self._seen, self._due = 0, 0, 1

    def save(self) -> bytes:
        """Return what was chosen and the last frame as msgpack."""
        past = self._past.packed() if self._past else None
        chosen = (self._diameter_px, self._binning, self._cells, self._seen, self._due)
        growth = self._growth.packed()
        return bytes(msgpack.packb({"schema": SCHEMA, "chosen": chosen, "growth": growth, "past": past}))

    def load(self, state: bytes) -> None:
        """Take up what :meth:`save` returned. Raises StageError."""
        try:
            data = msgpack.unpackb(state, use_list=False)
            if data["schema"] != SCHEMA:
                raise StageError(f"a saved network segmenter of schema {data['schema']}; reset it instead")
            diameter_px, binning, cells, seen, due = data["chosen"]
            growth = Growth(*data["growth"])
            past = Past.unpacked(data["past"]) if data["past"] else None
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise StageError(f"not a saved state of a network segmenter: {error}") from error
        self._diameter_px, self._binning, self._past = diameter_px, binning, past
        self._cells, self._seen, self._due, self._growth = cells, seen, due, growth

    def _shown(self, moment: Moment) -> Frame:
        """Return the frame with the pixels that the network is to see, in counts of the camera's type."""
        if self._options.look == "raw" or moment.denoised is None:
            return moment.frame
        narrow = moment.frame.pixels.dtype == np.uint8
        counts = np.clip(np.rint(moment.denoised), 0, 255 if narrow else 65535)
        return replace(moment.frame, pixels=counts.astype(np.uint8) if narrow else counts.astype(np.uint16))

    def _is_time_to_choose(self) -> bool:
        """Say whether to look for the diameter: on frames 1, 2, 4, 8, 16 and then every 16th, until it is certain; ever
        more seldom where the few cells that there are give the same again, because frames wait meanwhile."""
        if self._options.diameter_px or self._cells >= ENOUGH:
            return False
        self._seen += 1
        return self._seen >= self._due

    def _choose(self, frame: Frame, levels: Running) -> None:
        dark_too = self._network.spec.kind == "phase"
        diameter_px, cells = fitted(frame.pixels, self._network, levels, dark_too)
        alike = diameter_px and self._diameter_px and abs(np.log(diameter_px / self._diameter_px)) < ALIKE
        self._due = 2 * self._seen if alike or self._seen < SEARCH_EVERY else self._seen + SEARCH_EVERY
        if diameter_px is not None and cells >= self._cells:
            self._diameter_px, self._cells, self._growth = diameter_px, cells, Growth()
            LOG.info("%s: %s looks for cells of %.1f px", frame.field, self._network.spec.name, diameter_px)

    def _follow(self, frame: Frame) -> None:
        """Change the diameter where that is due."""
        change = self._growth.due()
        if change != 1.0 and self._diameter_px is not None:
            self._diameter_px = max(self._diameter_px * change, LEAST_DIAMETER_PX)
            LOG.info("%s: %s looks for cells of %.1f px now", frame.field, self._network.spec.name, self._diameter_px)

    def _look_ahead(self, found: Decoded, frame: Frame) -> None:
        """See how the cells grow; open the network for the size to come while frames go on."""
        if self._options.diameter_px or self._diameter_px is None:
            return
        if self._growth.see(found.area_px, self._diameter_px):
            next_px = max(self._diameter_px * float(np.exp(self._growth.step)), LEAST_DIAMETER_PX)
            shape = (frame.pixels.shape[0], frame.pixels.shape[1])
            sight = Sight.of(shape, zoom_for(shape, next_px, self._network.spec.object_px))
            open_ahead(Wanted(self._network.model, self._network.runtime, self._network.precision, sight.padded))

    def _rescale(self, frame: Frame) -> None:
        """Bring the diameter to the pixels of another binning."""
        if self._diameter_px and self._binning not in (None, frame.binning):
            self._diameter_px = max(self._diameter_px * self._binning / frame.binning, LEAST_DIAMETER_PX)
        self._binning = frame.binning

    def _nothing(self, moment: Moment) -> Segmentation:
        return nothing(moment, self._network.spec.kind)

    def _see(self, pixels: Pixels, levels: Running, past: Past | None, moved_px: tuple[float, float] | None) -> Decoded:
        assert self._diameter_px is not None
        shape = (pixels.shape[0], pixels.shape[1])
        zoom = zoom_for(shape, self._diameter_px, self._network.spec.object_px)
        sight = Sight.of(shape, zoom)
        if self._retina is None or self._retina.sight != sight:
            self._retina = Retina(self._network, sight)
        settings = DecodeSettings.of(self._network.spec.kind, zoom * self._diameter_px)
        if past is None or moved_px is None:
            return self._retina.see(pixels, levels, pixels, levels, settings)
        return self._retina.see(pixels, levels, past.seen_from(moved_px, shape), past.levels, settings)


def _before(found: Decoded, past: Past | None, moved_px: tuple[float, float] | None) -> Floats:
    """Return where cells were, in the earlier frame's own pixels; NaN where it was not compared or did not look."""
    if past is None or moved_px is None:
        return np.full((found.count, 2), np.nan, np.float32)
    before = found.previous_px - np.array(moved_px, np.float32)
    outside = ((before < -0.5) | (before > np.array(past.pixels.shape) - 0.5)).any(1)
    if moved_px != (0.0, 0.0):
        before[outside] = np.nan
    return before


def _cells(found: Decoded, before_px: Floats, moment: Moment) -> Any:
    return make_cells(
        np.arange(1, found.count + 1, dtype=np.int32),
        found.centre_px,
        found.bbox_px,
        found.area_px,
        mean_counts(found.labels, found.count, moment),
        score=found.score,
        state_prob=_states(found),
        prev_centre_px=before_px,
        features=np.stack([found.newborn, found.dividing], 1),
    )


def _states(found: Decoded) -> Floats:
    """Return the probabilities of ``stream.cells.STATES``; the network says nothing about death."""
    dividing, newborn = found.dividing, found.newborn
    rest = np.clip(1 - np.nan_to_num(dividing) - np.nan_to_num(newborn), 0, 1)
    rest[np.isnan(dividing) & np.isnan(newborn)] = np.nan
    return np.stack([rest, dividing, newborn, np.full_like(rest, np.nan)], 1)


def nothing(moment: Moment, kind: Kind | None = None) -> Segmentation:
    """Return the segmentation of a frame that shows no cells."""
    labels = np.zeros(moment.frame.pixels.shape, np.int32)
    none = np.zeros((0, 2), np.float32)
    counts = np.zeros((0, max(1, len(moment.channels))), np.float32)
    empty = make_cells(np.zeros(0, np.int32), none, np.zeros((0, 4), np.int32), none[:, 0], counts, features=none)
    return Segmentation(labels, empty, kind)


class NucleiSegmenter(NetworkSegmenter):
    """Fluorescent nuclei, the network of best quality."""

    model = "nuclei"


class NucleiFastSegmenter(NetworkSegmenter):
    """Fluorescent nuclei at a third of the time."""

    model = "nuclei-fast"


class NucleiOpenSegmenter(NetworkSegmenter):
    """Fluorescent nuclei, trained on open data only."""

    model = "nuclei-open"


class PhaseSegmenter(NetworkSegmenter):
    """Cells in phase contrast, the network of best quality."""

    model = "phase"


class PhaseFastSegmenter(NetworkSegmenter):
    """Cells in phase contrast at a third of the time."""

    model = "phase-fast"
