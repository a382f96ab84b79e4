"""Keeps one family in view: name it in ``[feedback] policies`` as ``policies/follow_lineage.py:FollowLineage``.

The first confirmed division is brought to the middle. From then on the daughters, and their daughters, are kept there:
when the middle of those in view has gone further than ``FAR_UM`` from the middle of the image, the stage goes after it,
at most every ``REST_S`` seconds of the run's own time.

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


@dataclass(frozen=True)
class Family:
    """The field and the track ids that are followed, and when the stage was last asked to move."""

    field: str = ""
    members: frozenset[int] = frozenset()
    moved_s: float = float("-inf")


class FollowLineage:
    """Recentres on the living members of one family."""

    on_frames = True

    def start(self) -> Family:
        """Follow nobody yet."""
        return Family()

    def decide(self, state: Family, event: Event) -> tuple[Family, Sequence[Wish]]:
        """Take daughters into the family, and go after those who wander off."""
        if state.field and event.field != state.field:
            return state, ()
        if event.kind == "division" and event.status == "confirmed":
            return self._divided(state, event)
        if event.kind == "frame" and event.elapsed_s - state.moved_s >= REST_S and event.context is not None:
            places = [place for track, place in event.context.places_um if track in state.members]
            middle = (fmean(x for x, _ in places), fmean(y for _, y in places)) if places else event.position_um
            if dist(middle, event.position_um) > FAR_UM:
                return replace(state, moved_s=event.elapsed_s), [
                    Wish(Recentre(target_um=middle), reason="wandered off")
                ]
        return state, ()

    def _divided(self, state: Family, event: Event) -> tuple[Family, Sequence[Wish]]:
        if state.members and event.parent_id not in state.members:
            return state, ()
        members = (state.members - {event.parent_id}) | frozenset(event.daughter_ids)
        return Family(event.field, members, event.elapsed_s), [
            Wish(Recentre(target_um=event.position_um), reason="the family divides")
        ]
