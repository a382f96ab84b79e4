"""How things stand when something is said, for policies: the cell's look, its depth in the family, its age."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.analyse.chain import Decision
from stream.cells import STATES, Cells
from stream.event import TICK, Context, Event, Kind, Point, event_id
from stream.frame import Frame

_LIKELY = 0.5
_DIVIDING = [STATES.index("mitosis"), STATES.index("newborn")]
_SURELY_DIVIDING = 0.95
"""Of the words for "before the split" and "after it" together: condensed chromatin gets some of both. On virtual nuclei
8 of 10 views of a cell in mitosis are above, and about 1 in 100 of other cells, dying ones among them."""


_FORGET = 256
"""Frames after which a track that is no longer in the table is forgotten: events are long over then."""


@dataclass(slots=True)
class _Life:
    """Of one cell: its mother's track (0: none), its depth in the family, when it was first seen, and the last frame
    that held it."""

    parent_id: int
    generation: int
    first_s: float
    last: int


_UNKNOWN = _Life(0, 0, math.nan, 0)


@dataclass(slots=True)
class _Family:
    """Of one field: its cells by track, mothers before daughters, the exposure so far, and the kinds of the events that
    await another word, by their ids. Tracks of one cell share a life."""

    lives: dict[int, _Life] = field(default_factory=dict)
    frames: int = 0
    exposed_ms: float = 0.0
    open: dict[str, Kind] = field(default_factory=dict)

    def see(self, decision: Decision) -> None:
        tracks, elapsed_s = decision.tracks, decision.moment.elapsed_s
        self.frames += 1
        for track_id, parent_id in zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True):
            life = self.lives.get(track_id)
            if life is None:
                mother = self.lives.get(parent_id)
                depth = 1 + mother.generation if mother else int(parent_id > 0)
                self.lives[track_id] = _Life(parent_id, depth, elapsed_s, self.frames)
            else:
                life.last = self.frames
        for event in decision.events:
            if event.kind == "division" and event.status == "retracted":
                self._take_back(event)
            if event.status == "provisional":
                self.open[event.event_id] = event.kind
            else:
                self.open.pop(event.event_id, None)
        if self.frames % _FORGET == 0:
            self.lives = {key: one for key, one in self.lives.items() if self.frames - one.last < _FORGET}
        self.exposed_ms += decision.moment.frame.exposure_ms

    def _take_back(self, event: Event) -> None:
        """Let the first daughter go on as the mother; the others found families, as in :mod:`stream.ancestry`."""
        mother = self.lives.get(event.parent_id)
        for place, track_id in enumerate(event.daughter_ids):
            life = self.lives.get(track_id)
            if life is None:
                continue
            if place == 0 and mother is not None:
                mother.last = max(mother.last, life.last)
                self.lives = {one: mother if known is life else known for one, known in self.lives.items()}
            else:
                life.parent_id = life.generation = 0
        for life in self.lives.values():  # whoever came from one of them since
            if life.parent_id in self.lives:
                life.generation = 1 + self.lives[life.parent_id].generation

    def packed(self) -> list[Any]:
        """Return it as plain data; tracks of one cell still share a life."""
        lives = list({id(life): life for life in self.lives.values()}.values())
        place = {id(life): i for i, life in enumerate(lives)}
        tracks = [[track_id, place[id(life)]] for track_id, life in self.lives.items()]
        return [tracks, [list(astuple(life)) for life in lives], self.frames, self.exposed_ms, self.open]

    @classmethod
    def unpacked(cls, said: Any) -> _Family:
        tracks, lives, frames, exposed_ms, awaiting = said
        made = [_Life(*life) for life in lives]
        return cls({track_id: made[place] for track_id, place in tracks}, frames, exposed_ms, dict(awaiting))


class Contexts:
    """Adds a :class:`stream.event.Context` to the events of all fields. Feed it every decision, in order."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}

    def see(self, decision: Decision) -> None:
        """Take in a decided frame."""
        self._families.setdefault(decision.moment.frame.field, _Family()).see(decision)

    def save(self, field: str) -> Any:
        """Return what is known of a field's families, as plain data; None of one that was never seen."""
        family = self._families.get(field)
        return None if family is None else family.packed()

    def load(self, field: str, said: Any) -> None:
        """Take up what :meth:`save` returned."""
        if said is not None:
            self._families[field] = _Family.unpacked(said)

    def of(self, event: Event, decision: Decision) -> Context:
        """Return how things stand after ``decision``, which said ``event``."""
        family, cells = self._families[event.field], decision.segmentation.cells
        rows = _rows(cells.label, event.daughter_ids) or _rows(cells.label, (event.parent_id,))
        life = family.lives.get(event.parent_id, _UNKNOWN)
        return Context(
            area_mm2=_area_mm2(decision.moment.frame),
            mean_counts=_floats(cells.mean_counts[rows].mean(axis=0)) if rows else (),
            states=_highest(cells.state_prob[rows]),
            in_state=_in_state(cells.state_prob),
            dividing=_dividing(cells.state_prob),
            pending=sum(kind == event.kind for kind in family.open.values()),
            generation=life.generation,
            age_s=decision.moment.elapsed_s - life.first_s,
            cells_yx_px=_places_yx_px(cells, event.daughter_ids or (event.parent_id,)),
            exposed_ms=family.exposed_ms,
        )

    def tick(self, decision: Decision) -> Event:
        """Return the clock's event of a decided frame, with its context."""
        moment, cells = decision.moment, decision.segmentation.cells
        frame, count = moment.frame, len(cells)
        family = self._families[frame.field]
        height, width = frame.pixels.shape
        middle = np.array([[(height - 1) / 2, (width - 1) / 2]])
        x_um, y_um = frame.to_stage_um(middle)[0].tolist()
        return Event(
            kind=TICK,
            event_id=event_id(frame.field, frame.frame, TICK, 0),
            revision=0,
            status="confirmed",
            field=frame.field,
            frame=frame.frame,
            emitted_frame=frame.frame,
            confidence=1.0,
            parent_id=0,
            daughter_ids=(),
            parent_yx_px=(float(middle[0, 0]), float(middle[0, 1])),
            daughters_yx_px=(),
            position_um=(x_um, y_um),
            cell_count=count,
            ref=frame.ref,
            elapsed_s=moment.elapsed_s,
            context=Context(
                area_mm2=_area_mm2(frame),
                mean_counts=_floats(cells.mean_counts.mean(axis=0)) if count else (),
                states=_highest(cells.state_prob),
                in_state=_in_state(cells.state_prob),
                dividing=_dividing(cells.state_prob),
                pending=len(family.open),
                places_um=_places_um(cells, frame),
                exposed_ms=family.exposed_ms,
            ),
        )


def _rows(labels: NDArray[np.int32], wanted: tuple[int, ...]) -> list[int]:
    """Return the rows of those tracks that are seen in this frame."""
    return [row for row in _row_of(labels, wanted) if row is not None]


def _row_of(labels: NDArray[np.int32], wanted: tuple[int, ...]) -> list[int | None]:
    """Return each track's row in this frame, None where it is not seen; labels are track ids, sorted."""
    at = np.searchsorted(labels, wanted).tolist()
    return [i if i < len(labels) and labels[i] == track_id else None for i, track_id in zip(at, wanted, strict=True)]


def _places_yx_px(cells: Cells, wanted: tuple[int, ...]) -> tuple[Point | None, ...]:
    centres = cells.centroid_px
    rows = _row_of(cells.label, wanted)
    return tuple(None if row is None else (float(centres[row, 0]), float(centres[row, 1])) for row in rows)


def _places_um(cells: Cells, frame: Frame) -> tuple[tuple[int, Point], ...]:
    places = frame.to_stage_um(cells.centroid_px).tolist()
    return tuple((track_id, (x, y)) for track_id, (x, y) in zip(cells.label.tolist(), places, strict=True))


def _area_mm2(frame: Frame) -> float:
    height, width = frame.pixels.shape
    return float(abs(np.linalg.det(np.asarray(frame.affine_um))) * height * width * 1e-6)


def _floats(values: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _highest(state_prob: NDArray[np.float32]) -> tuple[float, ...]:
    """Return the highest probability of each state; NaN where nobody knows any."""
    if not len(state_prob):
        return (math.nan,) * len(STATES)
    known = np.where(np.isnan(state_prob), -1.0, state_prob).max(axis=0)
    return tuple(math.nan if value < 0 else float(value) for value in known)


def _in_state(state_prob: NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(int(n) for n in (state_prob > _LIKELY).sum(axis=0))


def _dividing(state_prob: NDArray[np.float32]) -> int:
    return int((np.nansum(state_prob[:, _DIVIDING], axis=1) > _SURELY_DIVIDING).sum())
