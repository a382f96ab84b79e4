"""What masks call a track: a label for every run of frames without a gap, which by itself tells what it stands for.

A track's first run has the track's id for a label, later runs have *spares*, from 65535 downwards. Where the two would
meet, both go on beyond 16 bits, side by side, so that labels stay dense and each tells which it is: even ones are first
runs (65536 + 2 id), odd ones spares (65537, 65539, …).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.errors import StoreError

BEYOND = 1 << 16
"""The first label that 16 bits do not hold."""
MOST_TRACKS = 1 << 24


@dataclass(slots=True)
class Run:
    """A track without a gap: one row of ``res_track.txt``."""

    label: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Given:
    """How far labels are given.

    Parameters
    ----------
    own
        The highest track id that is a label.
    spare
        The lowest spare within 16 bits.
    beyond
        How many spares there are beyond them.
    wide
        Whether a label needs more than 16 bits.
    """

    own: int = 0
    spare: int = BEYOND
    beyond: int = 0
    wide: bool = False

    def first_label(self, track_id: int) -> int:
        """Return the label of a track's first run, should it begin now."""
        return track_id if track_id < self.spare else BEYOND + 2 * track_id

    def spare_label(self) -> int:
        """Return the label of the next run of a track that is seen again."""
        return self.spare - 1 if self.spare - 1 > self.own else BEYOND + 1 + 2 * self.beyond

    def after(self, label: int, is_spare: bool) -> Given:
        """Return how far labels are given after this one."""
        if label >= BEYOND:
            spares = (label - BEYOND + 1) // 2 if is_spare else 0
            return Given(self.own, self.spare, max(self.beyond, spares), wide=True)
        if is_spare:
            return Given(self.own, min(self.spare, label), self.beyond, self.wide)
        return Given(max(self.own, label), self.spare, self.beyond, self.wide)


def is_spare(label: int, track_id: int) -> bool:
    """Return whether this label of a track is a spare, not its first run's."""
    return label % 2 == 1 if label >= BEYOND else label != track_id


def track_of(label: int) -> int:
    """Return the track that a label says by itself: a first run's. A spare beyond 16 bits says only that it is one."""
    if label < BEYOND:
        return label
    return (label - BEYOND) // 2 if label % 2 == 0 else nobody(label)


def nobody(label: int) -> int:
    """Return the id for a track of which only this spare is known; no other track has it."""
    return -label


@dataclass(frozen=True, slots=True)
class Plan:
    """The labels of one frame by track: of all, and of those whose runs begin. Nothing is changed by it yet."""

    frame: int
    labels: Mapping[int, int]
    begun: Mapping[int, int]
    given: Given


class TrackLabels:
    """The runs of every track of a field."""

    def __init__(self) -> None:
        self.runs: dict[int, list[Run]] = {}
        self.given = Given()
        self.frame: int | None = None
        """The last frame that has a mask: a track that is not in it has a gap."""

    def plan(self, frame: int, track_ids: Sequence[int]) -> Plan:
        """Return the labels of a frame's tracks and change nothing. Raises StoreError where an id is too high."""
        if track_ids and track_ids[-1] > MOST_TRACKS:
            raise StoreError(f"frame {frame}: masks name {MOST_TRACKS} tracks at most, not {track_ids[-1]}")
        labels, begun, given = {}, {}, self.given
        for track_id in track_ids:
            runs = self.runs.get(track_id)
            if runs and runs[-1].last == self.frame:
                labels[track_id] = runs[-1].label
            else:
                label = given.spare_label() if runs else given.first_label(track_id)
                given = given.after(label, is_spare=bool(runs))
                labels[track_id] = begun[track_id] = label
        return Plan(frame, labels, begun, given)

    def commit(self, plan: Plan) -> None:
        """Take up a plan whose mask is written."""
        for track_id, label in plan.labels.items():
            if track_id in plan.begun:
                self.runs.setdefault(track_id, []).append(Run(label, plan.frame, plan.frame))
            else:
                self.runs[track_id][-1].last = plan.frame
        self.given, self.frame = plan.given, plan.frame

    def take_up(self, track_id: int, run: Run, is_spare: bool) -> None:
        """Take up a run of an earlier writer; each track's in order."""
        self.runs.setdefault(track_id, []).append(run)
        self.given = self.given.after(run.label, is_spare)

    def before(self, track_id: int, frame: int) -> int:
        """Return the track's last label of those that ended before a frame; 0 where there is none."""
        ended = [run.label for run in self.runs.get(track_id, ()) if run.last < frame]
        return ended[-1] if ended else 0

    def at(self, track_id: int, frame: int) -> int:
        """Return the track's label in a frame, or the nearest to it that there is."""
        runs = self.runs.get(track_id)
        if not runs:
            return self.given.first_label(track_id)
        return next((run.label for run in runs if run.last >= frame), runs[-1].label)
