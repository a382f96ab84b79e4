"""The divider that the chain loads: divisions by rule, and beside them warnings, deaths and exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgpack
import numpy as np
from pydantic import Field

from models.divide import history
from models.divide.fates import Fates
from models.divide.rule import DivideOptions, RuleDivider, as_event
from models.divide.telling import Now
from models.divide.warning import Warnings
from models.segment.scale import HALO_SHARE, halo_share
from models.track.measure import Bodies, bodies
from stream.cells import Kind
from stream.errors import StageError
from stream.event import Event
from stream.settings import parse
from stream.stages import Tracked

SCHEMA = 4
SHINES = 0.3
"""Nuclei are brighter than their ground by more than this, in units of the frame's own contrast; there it is 1."""
ENOUGH = 5
"""Cells that show of which kind a picture is; with fewer, a later frame that shows more of them is believed instead."""
SPARSE = 4
"""Every so manieth line and column tells what the ground is like."""


class LifeOptions(DivideOptions):
    """``[chain] divide_options``: those of the division rule, and what is told beside divisions."""

    mitosis: bool = True
    """Announce cells that look like dividing."""
    mitosis_at: float | None = Field(default=None, gt=0, lt=1)
    """Confidence from which a cell is announced; None: what gives about five false alarms for 1,000 cells in a frame. A
    policy may ask for more by the event's confidence."""
    death: bool = True
    """Tell of cells that vanish inside the field; only where nuclei in fluorescence are shown."""
    exit: bool = True
    """Tell of cells that leave the picture."""


class LifeDivider:
    """Divisions by rule, early warnings, deaths and exits; a :class:`stream.stages.Divider`.

    Divisions are those of :class:`models.divide.rule.RuleDivider`, untouched by the rest.

    Parameters
    ----------
    options
        See :class:`LifeOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(LifeOptions, options, "[chain] divide_options")
        self._rule = RuleDivider({name: getattr(self._options, name) for name in DivideOptions.model_fields})
        self._history: history.History = history.begin()
        self._kind: Kind | None = None
        self._judged = 0
        self._last: Now | None = None
        self._untold: list[Event] = []
        self._warnings, self._fates = self._watchers()

    def reset(self, reason: str) -> None:
        """Forget the past, and what is pending."""
        self._rule.reset(reason)
        self._history, self._kind, self._last = history.begin(), None, None
        self._judged, self._untold = 0, []
        self._warnings, self._fates = self._watchers()

    def step(self, tracked: Tracked) -> Sequence[Event]:
        """Return what this frame tells: of divisions first, then warnings, then deaths and exits.

        Where the latter fail, what was to be said of divisions is said with the next frame: no event stays open.
        """
        known = tracked.measured
        found = known if isinstance(known, Bodies) else bodies(tracked.segmentation, tracked.moment.frame.pixels)
        divisions = self._rule.step(replace(tracked, measured=found))
        untold, self._untold = self._untold, [*self._untold, *divisions]
        now = self._last = Now.of(tracked)
        before, self._history = self._history, history.remember(self._history, tracked, found)
        kind = tracked.segmentation.kind or self._judge(tracked, found)
        warned = self._warnings.step(self._history, kind, divisions, now) if self._options.mitosis else []
        fates = self._fates.step(before, tracked, found, kind, now)
        self._untold = []
        return [*untold, *divisions, *warned, *fates]

    def finish(self) -> Sequence[Event]:
        """Close what is pending, as known after the last frame."""
        if self._last is None:
            return []
        divisions, after = self._rule.finish(), self._last.after()
        untold, self._untold = self._untold, []
        return [*untold, *divisions, *self._warnings.finish(divisions, after), *self._fates.finish(after)]

    def save(self) -> bytes:
        """Return the state as bytes."""
        packed: bytes = msgpack.packb(
            {
                "schema": SCHEMA,
                "rule": self._rule.save(),
                "untold": [asdict(event) for event in self._untold],
                "history": self._history.tobytes(),
                "kind": self._kind,
                "judged": self._judged,
                "last": None if self._last is None else self._last.packed(),
                "warnings": self._warnings.packed(),
                "fates": self._fates.packed(),
            }
        )
        return packed

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError."""
        try:
            said = msgpack.unpackb(state, use_list=False)
            if said["schema"] != SCHEMA:
                raise StageError(f"divider state has schema {said['schema']}, this program reads {SCHEMA}")
            past: history.History = np.frombuffer(said["history"], history.HISTORY).copy()
            last = None if said["last"] is None else Now.unpacked(said["last"])
            warnings, fates = self._watchers()
            warnings.take_up(said["warnings"])
            fates.take_up(said["fates"])
            untold = [as_event(event) for event in said["untold"]]
            self._rule.load(said["rule"])
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise StageError(f"not a divider's state: {error}") from error
        self._history, self._kind, self._judged, self._last = past, said["kind"], said["judged"], last
        self._warnings, self._fates, self._untold = warnings, fates, untold

    def _judge(self, tracked: Tracked, found: Bodies) -> Kind:
        """Say what the picture shows where the segmenter does not."""
        if min(len(found), ENOUGH) > self._judged:
            self._kind, self._judged = kind_of(tracked, found), min(len(found), ENOUGH)
        return self._kind or "nuclei"

    def _watchers(self) -> tuple[Warnings, Fates]:
        return Warnings(self._options.mitosis_at), Fates(self._options.death, self._options.exit)


def kind_of(tracked: Tracked, found: Bodies) -> Kind:
    """Return what the picture shows: nuclei shine on a dark ground, cells in phase contrast have halos or are dark."""
    pixels = tracked.moment.frame.pixels
    if halo_share(pixels.astype(np.float32)) > HALO_SHARE:
        return "phase"
    ground = pixels[::SPARSE, ::SPARSE][tracked.segmentation.labels[::SPARSE, ::SPARSE] == 0]
    typical, one = found.light
    return "phase" if len(ground) and typical - float(np.median(ground)) < SHINES * one else "nuclei"
