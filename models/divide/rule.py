"""The division rule: what the tracker proposes is scored at once, then confirmed or retracted by what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.divide.after import After, apart_of, relative_area
from models.divide.evidence import Mothers, likelihood
from models.divide.past import PAST, Past, as_mothers, remember
from models.track.measure import Bodies, bodies, daughters
from stream.errors import StageError
from stream.event import Event, Status, event_id
from stream.frame import FrameRef
from stream.lineage import Tracks, TrackState
from stream.settings import Settings, parse
from stream.stages import Tracked

SCHEMA = 3
SUREST = 0.97
"""No proposal starts surer than this, so that three frames in which one cell covers both daughters take nuclei back."""
LEAST = 0.33
"""Probability from which a division is confirmed in the end, with that as its confidence: of those below, two in three
would be false."""


class DivideOptions(Settings):
    """``[chain] divide_options`` of the rule."""

    k: int = Field(default=3, ge=1, le=3)
    """Frames after which a provisional division is decided at the latest."""
    confirm_at: float = Field(default=0.9, gt=0.5, lt=1)
    """Probability at which it is confirmed earlier, once the daughters were seen again."""
    retract_at: float = Field(default=0.1, gt=0, lt=0.5)
    """Probability at which it is retracted earlier."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A provisional division: its first word, what was seen since, and how probable it is by now (as a logit)."""

    event: Event
    after: After
    logit: float


class RuleDivider:
    """Emits, confirms and retracts the divisions of one field; a :class:`stream.stages.Divider`.

    The first confidence is the tracker's own, else :func:`models.divide.evidence.likelihood` of the mother's past and
    the daughters. What the frames after it show of the daughters makes it more or less probable: :class:`After`.

    Parameters
    ----------
    options
        See :class:`DivideOptions`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = parse(DivideOptions, options, "[chain] divide_options")
        self.reset("start")

    def reset(self, reason: str) -> None:
        """Forget the past, pending divisions included."""
        self._past: Past = np.zeros(0, PAST)
        self._pending: list[Pending] = []
        self._last: tuple[int, FrameRef, float, int] | None = None

    def step(self, tracked: Tracked) -> Sequence[Event]:
        """Return what this frame tells: first words on pending divisions, then new ones, each by mother's id."""
        frame, tracks = tracked.moment.frame, tracked.tracks
        known = tracked.measured
        found = known if isinstance(known, Bodies) else bodies(tracked.segmentation, frame.pixels)
        count = len(tracked.segmentation.cells)
        self._last = (frame.frame, frame.ref, tracked.moment.elapsed_s, count)
        events, pending = [], []
        for one in self._pending:
            now = self._weigh(one, tracked, found)
            status = self._verdict(now, frame.frame)
            if status is None:
                pending.append(now)
            else:
                events.append(self._revise(now, *status, frame.frame))
        for event in self._new(tracked, found):
            events.append(event)
            pending.append(_begun(event, tracked, found))
        self._pending = pending
        self._past = remember(self._past, tracks, tracked.segmentation.cells.label, found, frame)
        return events

    def finish(self) -> Sequence[Event]:
        """Close what is pending, as known after the last frame."""
        if self._last is None:
            return []
        after = self._last[0] + 1
        closed = [
            self._revise(one, "confirmed" if _probability(one.logit) >= LEAST else "retracted", "end_of_stream", after)
            for one in self._pending
        ]
        self._pending = []
        return closed

    def save(self) -> bytes:
        """Return the state as bytes."""
        last = None if self._last is None else [self._last[0], asdict(self._last[1]), *self._last[2:]]
        pending = [[asdict(one.event), astuple(one.after), one.logit] for one in self._pending]
        packed: bytes = msgpack.packb(
            {"schema": SCHEMA, "past": self._past.tobytes(), "pending": pending, "last": last}
        )
        return packed

    def load(self, state: bytes) -> None:
        """Take up a state that :meth:`save` returned. Raises StageError."""
        try:
            said = msgpack.unpackb(state, use_list=False)
            if said["schema"] != SCHEMA:
                raise StageError(f"divider state has schema {said['schema']}, this program reads {SCHEMA}")
            past = np.frombuffer(said["past"], PAST).copy()
            pending = [Pending(as_event(event), After(*after), logit) for event, after, logit in said["pending"]]
            last = said["last"]
            self._last = None if last is None else (last[0], FrameRef(**last[1]), last[2], last[3])
        except (ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise StageError(f"not a divider's state: {error}") from error
        self._past, self._pending = past, pending

    def _new(self, tracked: Tracked, found: Bodies) -> list[Event]:
        """Make a provisional event for every mother that the tracker split in this frame."""
        frame, tracks = tracked.moment.frame, tracked.tracks
        divided = np.nonzero((tracks.state == TrackState.DIVIDED) & np.isin(tracks.track_id, self._past["id"]))[0]
        if len(divided) == 0:
            return []
        rows = self._past[np.searchsorted(self._past["id"], tracks.track_id[divided])]
        mothers = as_mothers(rows, tracks.position_um[divided], frame)
        events = []
        for k, i in enumerate(divided):
            mother = int(tracks.track_id[i])
            ids = tracks.track_id[(tracks.parent_id == mother) & (tracks.born == frame.frame)]
            cells = np.searchsorted(tracked.segmentation.cells.label, ids)
            if len(ids) < 2:
                continue
            likely = tracked.divided.get(mother)
            event = Event(
                kind="division",
                event_id=event_id(frame.field, frame.frame, "division", mother),
                revision=0,
                status="provisional",
                field=frame.field,
                frame=frame.frame,
                emitted_frame=frame.frame,
                confidence=likely if likely is not None else _best_pair(mothers.take(np.array([k])), found, cells),
                parent_id=mother,
                daughter_ids=tuple(int(v) for v in ids),
                parent_yx_px=_point(rows["yx_px"][k]),
                daughters_yx_px=tuple(_point(found.centre_px[cell]) for cell in cells),
                position_um=_point(frame.to_stage_um(found.centre_px[cells]).mean(axis=0)),
                cell_count=len(found),
                ref=frame.ref,
                elapsed_s=tracked.moment.elapsed_s,
            )
            events.append(event)
        return events

    def _weigh(self, one: Pending, tracked: Tracked, found: Bodies) -> Pending:
        """Look at the daughters in this frame."""
        ids, labels = np.array(one.event.daughter_ids), tracked.segmentation.cells.label
        _, place, cell = np.intersect1d(ids, labels, assume_unique=True, return_indices=True)
        if len(cell) >= 2:
            areas = relative_area(found.area_px[cell], found.typical_px)
            apart = apart_of(found.centre_px[cell], found.typical_px)
            after = one.after.seen(dict(zip(place.tolist(), areas.tolist(), strict=True)), apart)
        else:
            after = one.after.unseen(fused=_are_fused(tracked, one.event.daughter_ids))
        return Pending(one.event, after, after.logit(found.kind))

    def _verdict(self, one: Pending, number: int) -> tuple[Status, str] | None:
        p = _probability(one.logit)
        if p <= self._options.retract_at:
            return "retracted", "daughters_gone"
        if p >= self._options.confirm_at and one.after.together:
            return "confirmed", "persisted"
        if number - one.event.frame >= self._options.k:
            if p < LEAST:
                return "retracted", "improbable"
            return "confirmed", "persisted" if one.after.together else "out_of_sight"
        return None

    def _revise(self, one: Pending, status: Status, reason: str, number: int) -> Event:
        assert self._last is not None
        _, ref, elapsed_s, count = self._last
        return replace(
            one.event,
            revision=one.event.revision + 1,
            status=status,
            emitted_frame=number,
            confidence=_probability(one.logit),
            reason=reason,
            cell_count=count,
            ref=ref,
            elapsed_s=elapsed_s,
        )


def _begun(event: Event, tracked: Tracked, found: Bodies) -> Pending:
    cells = np.searchsorted(tracked.segmentation.cells.label, event.daughter_ids)
    areas = relative_area(found.area_px[cells], found.typical_px)
    logit = _logit(event.confidence)
    after = After(logit, tuple(areas.tolist()), apart_of(found.centre_px[cells], found.typical_px))
    return Pending(event, after, logit)


def _best_pair(mother: Mothers, found: Bodies, cells: NDArray[np.int64]) -> float:
    one, two = np.triu_indices(len(cells), 1)
    mothers = mother.take(np.zeros(len(one), np.int64))
    return float(likelihood(mothers, daughters(found, cells[one], cells[two]), found.typical_px, found.kind).max())


def _are_fused(tracked: Tracked, ids: tuple[int, ...]) -> bool:
    """Say whether a daughter's cell covers the place where another one, who is not seen, should be."""
    tracks = tracked.tracks
    rows = np.array(_rows_of(tracks, ids), np.int64)
    unseen = rows[tracks.label[rows] == 0]
    return bool(np.isin(_labels_at(tracked, tracks.position_um[unseen]), ids).any())


def _rows_of(tracks: Tracks, ids: tuple[int, ...]) -> list[int]:
    """Return where some tracks stand in the table; a track that ended earlier is not there."""
    places = np.searchsorted(tracks.track_id, ids)
    return [int(i) for i, one in zip(places, ids, strict=True) if i < len(tracks) and tracks.track_id[i] == one]


def _labels_at(tracked: Tracked, places_um: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return which track's cell is at each place ``(n, 2)`` of the stage; 0: none, or outside the image."""
    labels = tracked.segmentation.labels
    y, x = np.rint(tracked.moment.frame.to_image_px(places_um)).astype(np.int64).T
    within = (y >= 0) & (x >= 0) & (y < labels.shape[0]) & (x < labels.shape[1])
    found = np.zeros(len(y), np.int32)
    found[within] = labels[y[within], x[within]]
    return found


def _point(values: NDArray[Any]) -> tuple[float, float]:
    return (float(values[0]), float(values[1]))


def _logit(p: float) -> float:
    p = min(max(p, 1 - SUREST), SUREST)
    return float(np.log(p / (1 - p)))


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def as_event(said: dict[str, Any]) -> Event:
    """Return the event of which ``said`` is the dictionary."""
    ref = said.pop("ref")
    return Event(**said, ref=None if ref is None else FrameRef(**ref))
