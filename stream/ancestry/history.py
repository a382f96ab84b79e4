"""What is kept of tracks that have ended: some sixty bytes each, and the last word on what ended them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.event import Event, Kind, Status

ROW = np.dtype(
    [
        ("track", "i8"),
        ("parent", "i8"),  # 0: none
        ("born", "i8"),
        ("last", "i8"),
        ("born_s", "f8"),  # since the field's first frame; NaN unknown
        ("last_s", "f8"),
        ("area_px", "f4"),  # in its first frame; NaN unknown
        ("mean_counts", "f4"),  # in its first frame, first measured channel, raw; NaN unknown
        ("state", "i1"),  # a TrackState
    ]
)
Rows = NDArray[Any]
UNKNOWN_S = float("nan")
KEPT: frozenset[Kind] = frozenset({"division", "death", "exit"})
"""The kinds of events that a tree is made of; no other is kept: warnings of mitosis are many, and none is read."""


@dataclass(frozen=True, slots=True)
class Word:
    """The last word on one event: an :class:`stream.event.Event` without where it was.

    ``track_id`` is whom it happened to (the mother of a division).
    """

    event_id: str
    revision: int
    kind: Kind
    status: Status
    frame: int
    confidence: float
    track_id: int
    daughter_ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, event: Event) -> Word:
        """Take the word out of a revision."""
        return cls(
            event.event_id, event.revision, event.kind, event.status, event.frame, event.confidence,
            event.parent_id, event.daughter_ids,
        )  # fmt: skip

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Word:
        """Take it out of an object of ``events.jsonl``. Raises KeyError, TypeError or ValueError where it is none."""
        return cls(
            str(line["event_id"]), int(line["revision"]), line["kind"], line["status"], int(line["frame"]),
            float(line["confidence"]), int(line["parent_id"]), tuple(int(one) for one in line["daughter_ids"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Every track of one field so far.

    Parameters
    ----------
    field
        The field's name.
    first, frame
        The first and the newest frame that was looked at.
    rows : (n,) ROW
        By ``track``, ascending and unique.
    words
        The last word on each event; the tree reads those of the :data:`KEPT` kinds.
    events_decide
        Whether a word on a division overrules the parents in the rows: so it is while events are still being revised.
        False where the rows were written after the last word (``res_track.txt``).
    """

    field: str
    first: int
    frame: int
    rows: Rows
    words: Sequence[Word] = ()
    events_decide: bool = True

    def parents(self) -> dict[int, int]:
        """Return child → parent, for the tracks that have one.

        A retracted division leaves the first-listed daughter as the mother's continuation and the others without a
        parent, as in ``res_track.txt``. A parent that is not there, or does not end before its child begins, is none.
        """
        named = dict(zip(self.rows["track"].tolist(), self.rows["parent"].tolist(), strict=True))
        if self.events_decide:
            for word in self.words:
                if word.kind == "division":
                    whole = word.status != "retracted"
                    told = dict.fromkeys(word.daughter_ids if whole else word.daughter_ids[:1], word.track_id)
                    named.update({one: told.get(one, 0) for one in word.daughter_ids if one in named})
        born = dict(zip(self.rows["track"].tolist(), self.rows["born"].tolist(), strict=True))
        last = dict(zip(self.rows["track"].tolist(), self.rows["last"].tolist(), strict=True))
        return {child: parent for child, parent in named.items() if parent in last and last[parent] < born[child]}

    def of_tracks(self, wanted: NDArray[np.int64]) -> History:
        """Return the history of these tracks alone."""
        rows = self.rows[np.isin(self.rows["track"], wanted)]
        return History(self.field, self.first, self.frame, rows, self.words, self.events_decide)
