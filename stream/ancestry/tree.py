"""Families: which tracks are one cell, who divided into whom, when, and how alike the daughters were."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stream.ancestry.history import History, Word
from stream.lineage import TrackState

Began = Literal["division", "first_frame", "appeared"]
Ended = Literal["divided", "died", "left", "lost", "alive"]


@dataclass(frozen=True, slots=True)
class Life:
    """One cell, from its birth to its division or to where it was last seen.

    A track whose parent has no other child is the same cell under a new number (a gap, or a division that was taken
    back): both are one life, named by its first track.

    Parameters
    ----------
    cell_id
        Its first track.
    track_ids
        All its tracks, in order.
    parent_id, daughter_ids, founder_id
        Cells: its mother (0: not seen), its daughters (two or more, or none), and the first of its family.
    generation
        Divisions between it and the founder.
    born, last
        First and last frame in which it was seen.
    began
        ``appeared``: it came into view, or was first recognised, after the field's first frame.
    ended
        ``left``: over the image's edge; ``lost``: not seen any more, nobody knows why; ``alive``: seen to the end.
    age_frames, age_s
        From its first frame to its division, or to the last time it was seen; None where times are unknown.
    age_is_minimum
        Its birth was not seen: it is at least so old.
    cycle_frames, cycle_s
        Division time: from the division that it came from to its own; None unless both were seen.
    division_frame
        The first frame with its daughters; None where it did not divide.
    division_probability, division_status
        The last word on the event of that division; None where no event was said.
    end_probability
        The last word on the event of its death, or of its leaving; None where none was said.
    area_px, mean_counts
        In its first frame; the mean of the raw pixels in the first measured channel, background included.
    daughters_area_ratio, daughters_intensity_ratio
        Sister symmetry, 0 to 1 (1: alike): the smallest daughter's ``area_px`` over the largest one's, the least of
        the daughters' ``mean_counts`` over the greatest, each daughter in its own first frame; no unit.
    """

    cell_id: int
    track_ids: tuple[int, ...]
    parent_id: int
    daughter_ids: tuple[int, ...]
    founder_id: int
    generation: int
    born: int
    last: int
    began: Began
    ended: Ended
    age_frames: int
    age_s: float | None
    age_is_minimum: bool
    cycle_frames: int | None
    cycle_s: float | None
    division_frame: int | None
    division_probability: float | None
    division_status: str | None
    end_probability: float | None
    area_px: float | None
    mean_counts: float | None
    daughters_area_ratio: float | None
    daughters_intensity_ratio: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain data, floats rounded to what they can mean."""
        said = asdict(self)
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in said.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """The families of one field after ``frame``; ``lives`` by cell, mothers before daughters.

    ``cell_of`` gives each track's cell, ``parents`` each track's parent track where it has one.
    """

    field: str
    frame: int
    lives: Mapping[int, Life]
    cell_of: Mapping[int, int]
    parents: Mapping[int, int]

    def founders(self) -> list[Life]:
        """Return the cells whose mother was not seen."""
        return [life for life in self.lives.values() if not life.parent_id]

    def family(self, track_id: int) -> list[Life]:
        """Return the whole family of a track, founder first. Raises KeyError when there is no such track."""
        founder = self.lives[self.cell_of[track_id]].founder_id
        return [life for life in self.lives.values() if life.founder_id == founder]


@dataclass(frozen=True, slots=True)
class _Track:
    """A row as plain numbers."""

    track: int
    born: int
    last: int
    born_s: float
    last_s: float
    area_px: float
    mean_counts: float
    state: int


def grow(history: History) -> Tree:
    """Make the tree of what is known. Takes time in proportion to the tracks that ever were."""
    names = ("track", "born", "last", "born_s", "last_s", "area_px", "mean_counts", "state")
    tracks = {row[0]: _Track(*row) for row in history.rows[list(names)].tolist()}
    parents = history.parents()
    children: dict[int, list[int]] = defaultdict(list)
    for child in sorted(parents):
        children[parents[child]].append(child)
    heads = [one for one in tracks if one not in parents or len(children[parents[one]]) > 1]
    heads.sort(key=lambda one: (tracks[one].born, one))  # a mother is born before her daughters
    words = _Words(history.words)
    lives: dict[int, Life] = {}
    cell_of: dict[int, int] = {}
    for head in heads:
        chain = _chain(head, children)
        cell_of.update(dict.fromkeys(chain, head))
        mother = lives[cell_of[parents[head]]] if head in parents else None
        daughters = [tracks[one] for one in children.get(chain[-1], ())]
        lives[head] = _life([tracks[one] for one in chain], mother, daughters, history.first, words)
    return Tree(history.field, history.frame, lives, cell_of, parents)


def _chain(head: int, children: Mapping[int, Sequence[int]]) -> list[int]:
    chain = [head]
    while len(after := children.get(chain[-1], ())) == 1:
        chain.append(after[0])
    return chain


def _life(own: Sequence[_Track], mother: Life | None, daughters: Sequence[_Track], first: int, words: _Words) -> Life:
    head, end = own[0], own[-1]
    divided = min(daughters, key=lambda one: one.born) if daughters else None
    over, over_s = (divided.born, divided.born_s) if divided else (end.last, end.last_s)
    whole = mother is not None and divided is not None
    age_s = _known(over_s - head.born_s)
    word = words.division(end.track, {one.track for one in daughters}) if divided else None
    fate = None if divided else words.end(end.track)
    ended: Ended = "divided" if divided else _end(end, fate)
    return Life(
        cell_id=head.track,
        track_ids=tuple(one.track for one in own),
        parent_id=mother.cell_id if mother else 0,
        daughter_ids=tuple(one.track for one in daughters),
        founder_id=mother.founder_id if mother else head.track,
        generation=mother.generation + 1 if mother else 0,
        born=head.born,
        last=end.last,
        began="division" if mother else "first_frame" if head.born <= first else "appeared",
        ended=ended,
        age_frames=over - head.born,
        age_s=age_s,
        age_is_minimum=mother is None,
        cycle_frames=over - head.born if whole else None,
        cycle_s=age_s if whole else None,
        division_frame=divided.born if divided else None,
        division_probability=word.confidence if word else None,
        division_status=word.status if word else None,
        end_probability=fate.confidence if fate and ended != "alive" else None,
        area_px=_known(head.area_px),
        mean_counts=_known(head.mean_counts),
        daughters_area_ratio=_ratio(one.area_px for one in daughters),
        daughters_intensity_ratio=_ratio(one.mean_counts for one in daughters),
    )


class _Words:
    """The words by whom they are about; what was retracted did not happen."""

    def __init__(self, words: Iterable[Word]) -> None:
        self._divisions: dict[int, list[Word]] = defaultdict(list)
        self._ends: dict[int, Word] = {}
        for word in words:
            if word.status == "retracted":
                continue
            if word.kind == "division":
                self._divisions[word.track_id].append(word)
            elif word.kind in ("death", "exit"):
                self._ends[word.track_id] = word

    def division(self, mother: int, daughters: set[int]) -> Word | None:
        """Return the word that names most of these daughters."""
        said = self._divisions.get(mother, ())
        return max(said, key=lambda word: (len(daughters & set(word.daughter_ids)), word.frame), default=None)

    def end(self, track: int) -> Word | None:
        """Return what was said of a track's death or of its leaving."""
        return self._ends.get(track)


def _end(track: _Track, fate: Word | None) -> Ended:
    if fate is not None and fate.kind == "death":
        return "died"
    if track.state == TrackState.ALIVE:
        return "alive"
    return "left" if fate is not None or track.state == TrackState.LEFT else "lost"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ratio(values: Iterable[float]) -> float | None:
    """Return the least over the greatest; None where one is unknown or nothing."""
    known = list(values)
    if len(known) < 2 or not all(math.isfinite(value) and value > 0 for value in known):
        return None
    return min(known) / max(known)
