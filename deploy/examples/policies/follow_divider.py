"""A policy of your own: name it in ``[feedback] policies`` as ``policies/follow_divider.py:FollowDivider``.

It keeps the stage on one family: the first confirmed division is brought to the middle, and from then on only the
divisions of its descendants. When the last of them has died or left the field, the next division founds another family.

A policy is pure: everything that it remembers goes in and out as ``state``, and it looks at nothing but the event. The
same recording then gives the same wishes, and a wish that is dropped leaves no trace in the state.
"""

from collections.abc import Sequence

from stream.command import Recentre
from stream.event import Event
from stream.stages import Wish

Family = tuple[str, frozenset[int]] | None
"""The field and the track ids that are followed; None while there are none."""


class FollowDivider:
    """Recentres on the divisions of one family."""

    def start(self) -> Family:
        """Follow nobody yet."""
        return None

    def decide(self, state: Family, event: Event) -> tuple[Family, Sequence[Wish]]:
        """Put daughters in their mother's place, and go where she divided; who died or left leaves none."""
        if event.status != "confirmed" or event.kind not in ("division", "death", "exit"):
            return state, ()
        if state is not None and (event.field != state[0] or event.parent_id not in state[1]):
            return state, ()
        before = state[1] if state else frozenset()
        members = (before - {event.parent_id}) | frozenset(event.daughter_ids)
        family = (event.field, members) if members else None
        if event.kind != "division":
            return family, ()
        return family, [Wish(Recentre(target_um=event.position_um), reason="the family divides")]
