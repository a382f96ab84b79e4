"""The segmenter that chooses: the network for the kind of picture that it is shown, else the classical one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import msgpack
import numpy as np
from pydantic import Field

from models import zoo
from models.runtime import available
from models.segment.classical import NucleiSegmenter as ClassicalNuclei
from models.segment.classical import PhaseSegmenter as ClassicalPhase
from models.segment.fit import ENOUGH, LEAST_DIAMETER_PX
from models.segment.network import NetworkSegmenter, nothing
from models.segment.scale import HALO_SHARE, halo_share, is_grain
from stream.cells import Kind, Segmentation
from stream.errors import RuntimeUnavailable, StageError
from stream.frame import Frame
from stream.settings import Settings, parse
from stream.stages import Moment, Segmenter

LOG = logging.getLogger(__name__)
SCHEMA = 2
CLEARLY = 2.0
"""A kind that few cells were taken for is changed where halos are so many times above or below what parts them."""
NETWORKS: Mapping[str, tuple[str, ...]] = {
    "nuclei": ("nuclei", "nuclei-fast", "nuclei-open"),
    "phase": ("phase", "phase-fast"),
}
"""By kind, the first that is installed is used."""
CLASSICAL: Mapping[str, type[ClassicalNuclei] | type[ClassicalPhase]] = {
    "nuclei": ClassicalNuclei,
    "phase": ClassicalPhase,
}


class AutoOptions(Settings):
    """``[chain] segment_options`` of ``auto``."""

    runtime: str = "auto"
    """What runs the network; see ``cytoloop models list``."""
    precision: str = "auto"
    diameter_px: float | None = Field(default=None, ge=LEAST_DIAMETER_PX)
    """Typical diameter of a cell at the first frame's binning; None: measured where cells first show."""
    look: Literal["raw", "denoised"] = "raw"
    """Which pixels the network is shown."""
    fast: bool = False
    """Prefer the networks that take a third of the time."""


class AutoSegmenter:
    """Chooses between nuclei and phase contrast, and between a network and none; a :class:`stream.stages.Segmenter`.

    The kind is chosen by the halos of the first frame in which something stands out of the noise, and may change while
    only few cells have shown. The network of that kind is used when it is installed and something here can run it;
    otherwise the classical segmenter, and the log says why.

    Parameters
    ----------
    options
        See :class:`AutoOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(AutoOptions, options, "[chain] segment_options")
        self._chosen: Segmenter | None = None
        self._kind: Kind = "nuclei"
        self._certain = self._few = False
        self._seen = self._tries = 0

    @property
    def choice(self) -> str:
        """What was chosen, for people; "undecided" before a frame has shown cells."""
        return str(getattr(self._chosen, "choice", "")) if self._chosen else "undecided: no frame has shown cells"

    @property
    def looks_at(self) -> Literal["raw", "denoised"]:
        """Which pixels the network is shown; where none can run, the classical segmenter looks at denoised ones."""
        installed = any(not set(names).isdisjoint(zoo.names()) for names in NETWORKS.values())
        return self._options.look if installed and not all(available().values()) else "denoised"

    def step(self, moment: Moment) -> Segmentation:
        """Return the label image and its cells.

        Raises StageError for pixels that cannot be an image, and where what was asked for cannot be opened now.
        """
        chosen = self._chosen
        if not self._certain and is_grain(moment.frame.pixels):
            return nothing(moment)
        if chosen is None or not self._certain:
            chosen = self._chosen = self._choose(chosen, moment.frame)
        found = chosen.step(moment)
        self._certain = self._certain or len(found.cells) >= ENOUGH
        self._few = self._few or len(found.cells) > 0
        return found

    def reset(self, reason: str) -> None:
        """Forget what was chosen."""
        self._chosen, self._certain, self._few = None, False, False
        self._seen = self._tries = 0

    def save(self) -> bytes:
        """Return what was chosen, and its state, as msgpack."""
        state: dict[str, Any] = {"schema": SCHEMA, "seen": self._seen, "tries": self._tries}
        state |= {"certain": self._certain, "few": self._few}
        if self._chosen is not None:
            network = isinstance(self._chosen, NetworkSegmenter)
            state |= {"kind": self._kind, "network": network, "chosen": self._chosen.save()}
        return bytes(msgpack.packb(state))

    def load(self, state: bytes) -> None:
        """Take up what :meth:`save` returned. Raises StageError."""
        try:
            data = msgpack.unpackb(state)
            if data["schema"] != SCHEMA or data.get("kind", "nuclei") not in NETWORKS:
                raise StageError("a saved state of another version of the choosing segmenter; reset it instead")
            self.reset("load")
            self._certain, self._few = bool(data["certain"]), bool(data["few"])
            self._seen, self._tries = int(data["seen"]), int(data["tries"])
            if "chosen" in data:
                self._kind = data["kind"]
                self._chosen = self._for(self._kind, "a saved field")
                if data["network"] != isinstance(self._chosen, NetworkSegmenter):
                    raise StageError("the saved state is of a segmenter that cannot be used here now; reset it instead")
                self._chosen.load(data["chosen"])
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise StageError(f"not a saved state of the choosing segmenter: {error}") from error

    def _choose(self, chosen: Segmenter | None, frame: Frame) -> Segmenter:
        """Return the segmenter for a frame; where none could be opened so far, every frame is tried."""
        if not self._is_time_to_choose() and chosen is not None:
            return chosen
        kind = _kind(frame, self._kind if self._few else None)
        if chosen is None or kind != self._kind:
            chosen = self._for(kind, frame.field)
            self._kind = kind
        return chosen

    def _is_time_to_choose(self) -> bool:
        """Frames 1, 2, 4, 8, 16 and then every 16th are looked at until one shows enough cells."""
        self._seen += 1
        due: bool = self._seen >= min(2**self._tries, 16 * max(1, self._tries - 3))
        self._tries += due
        return due

    def _for(self, kind: Kind, field: str) -> Segmenter:
        """Return the segmenter for a kind of picture."""
        asked = self._options
        size = {} if asked.diameter_px is None else {"diameter_px": asked.diameter_px}
        order = sorted(NETWORKS[kind], key=lambda name: not name.endswith("-fast")) if asked.fast else NETWORKS[kind]
        installed = [name for name in order if name in zoo.names()]
        if not installed:
            return self._classical(kind, field, size, f"none of its networks ({', '.join(order)}) is installed")
        named = {"model": installed[0], "runtime": asked.runtime, "precision": asked.precision, "look": asked.look}
        options: dict[str, Any] = {**named, **size}
        segmenter = NetworkSegmenter(options)
        try:
            segmenter.prepare()
        except RuntimeUnavailable as error:
            if asked.runtime != "auto" or asked.precision != "auto":
                raise
            return self._classical(kind, field, size, str(error))
        return segmenter

    def _classical(self, kind: Kind, field: str, size: Mapping[str, float], reason: str) -> Segmenter:
        LOG.warning("%s: %s is segmented without a network: %s", field, kind, reason)
        return CLASSICAL[kind](size)


def _kind(frame: Frame, before: Kind | None) -> Kind:
    """Return what a frame shows; where few cells were taken for one kind before, only if it is clearly the other."""
    clear = {None: 1.0, "nuclei": CLEARLY, "phase": 1 / CLEARLY}[before]
    return "phase" if halo_share(frame.pixels.astype(np.float32)) > clear * HALO_SHARE else "nuclei"
