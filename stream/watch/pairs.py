"""Frames of one field and what analysis said of them, which come apart and are shown together."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream.frame import Frame
from stream.lineage import Tracks
from stream.watch.book import Crop

_RESULTS = 4


@dataclass(slots=True, eq=False)
class Seen:
    """A frame that arrived, and when; ``ordinal`` counts the field's shown frames from 1."""

    frame: Frame
    ordinal: int
    at_ns: int


@dataclass(slots=True, eq=False)
class Result:
    """What analysis said about one frame, as far as it has arrived."""

    labels: NDArray[np.int32] | None = None
    tracks: Tracks | None = None
    denoised: Crop | None = None


@dataclass(slots=True, eq=False)
class Pictures:
    """What is large of a field: its newest frame, its newest decided one, and results that wait for their frame."""

    newest: Seen | None = None
    decided: Seen | None = None
    decided_result: Result = field(default_factory=Result)
    denoised: tuple[Seen, Result] | None = None
    """The newest decided frame of which denoised pixels came, with these in place of its own."""
    results: OrderedDict[int, Result] = field(default_factory=OrderedDict)

    @property
    def nbytes(self) -> int:
        """Size of all pixels and labels; what is here twice counts once."""
        smooth, smooth_result = self.denoised or (None, Result())
        pixels = [seen.frame.pixels for seen in (self.newest, self.decided, smooth) if seen]
        results = (self.decided_result, smooth_result, *self.results.values())
        said = [array for result in results for array in (result.labels, result.denoised) if array is not None]
        return sum({id(array): array.nbytes for array in (*pixels, *said)}.values())

    def result(self, frame: int) -> Result:
        """Return where to put what is said of a frame; of few frames it waits."""
        result = self.results.setdefault(frame, Result())
        if len(self.results) > _RESULTS:
            self.results.popitem(last=False)
        return result

    def settle(self, seen: Seen, tracked: bool, after: int) -> bool:
        """Make a frame the decided one when its labels and, where ``tracked``, its tracks are here.

        Parameters
        ----------
        after
            The ordinal of the last decided frame: an earlier one comes too late.
        """
        result = self.results.get(seen.frame.frame)
        if result is None or result.labels is None or (tracked and result.tracks is None):
            return False
        del self.results[seen.frame.frame]
        shape = seen.frame.pixels.shape
        if seen.ordinal <= after or result.labels.shape != shape:
            return False
        self.decided, self.decided_result = seen, result
        if result.denoised is not None and result.denoised.shape == shape:
            self.denoised = replace(seen, frame=replace(seen.frame, pixels=result.denoised)), result
        return True

    def smooth(self, limit_ms: float) -> tuple[Seen, Result] | None:
        """Return the denoised picture unless raw ones have gone on without it for so long that it would mislead."""
        if self.denoised is None or self.decided is None:
            return None
        older_ms = (self.decided.at_ns - self.denoised[0].at_ns) / 1e6
        return self.denoised if older_ms <= limit_ms else None
