"""Keeps one family in view: name it in ``[feedback] policies`` as ``policies/follow_lineage.py:FollowLineage``.

The first confirmed division is brought to the middle. From then on the daughters, and their daughters, are kept there:
when the middle of those in view has gone further than ``FAR_UM`` from the middle of the image, the stage goes after it,
at most every ``REST_S`` seconds of the run's own time. When none of them has been in sight for ``GONE_FRAMES`` frames,
they are given up, and the next confirmed division founds another family.

A policy is pure: everything that it remembers goes in and out as ``state``, and it looks at nothing but the event.
``on_frames`` asks for the clock: an event of kind "frame" after every decided frame, with the places of all tracks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import dist
from statistics import fmean

from stream.command import Recentre
from stream.event import Event
from stream.stages import Wish

FAR_UM = 30.0
REST_S = 2.0
GONE_FRAMES = 20


@dataclass(frozen=True)
class Family:
    """The field and the track ids that are followed, when the stage was last asked to move, and for how many frames
    nobody has been in sight."""

    field: str = ""
    members: frozenset[int] = frozenset()
    moved_s: float = float("-inf")
    unseen: int = 0


class FollowLineage:
    """Recentres on the living members of one family."""

    on_frames = True

    def start(self) -> Family:
        """Follow nobody yet."""
        return Family()

    def decide(self, state: Family, event: Event) -> tuple[Family, Sequence[Wish]]:
        """Take daughters into the family, and look after it at every frame."""
        if state.field and event.field != state.field:
            return state, ()
        if event.kind == "division" and event.status == "confirmed":
            return self._divided(state, event)
        if event.kind == "frame" and event.context is not None and state.members:
            places = [place for track, place in event.context.places_um if track in state.members]
            return self._seen(state, places, event) if places else (self._unseen(state), ())
        return state, ()

    def _seen(
        self, state: Family, places: Sequence[tuple[float, float]], event: Event
    ) -> tuple[Family, Sequence[Wish]]:
        """Go after those who wander off."""
        middle = (fmean(x for x, _ in places), fmean(y for _, y in places))
        if event.elapsed_s - state.moved_s < REST_S or dist(middle, event.position_um) <= FAR_UM:
            return replace(state, unseen=0), ()
        moved = replace(state, moved_s=event.elapsed_s, unseen=0)
        return moved, [Wish(Recentre(target_um=middle), reason="wandered off")]

    def _unseen(self, state: Family) -> Family:
        """Wait for them a while, then follow nobody."""
        return replace(state, unseen=state.unseen + 1) if state.unseen + 1 < GONE_FRAMES else self.start()

    def _divided(self, state: Family, event: Event) -> tuple[Family, Sequence[Wish]]:
        if state.members and event.parent_id not in state.members:
            return state, ()
        members = (state.members - {event.parent_id}) | frozenset(event.daughter_ids)
        return Family(event.field, members, event.elapsed_s), [
            Wish(Recentre(target_um=event.position_um), reason="the family divides")
        ]
