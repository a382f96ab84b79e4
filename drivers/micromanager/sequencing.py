"""Which shots the hardware can take in one go: pymmcore-plus decides, and its engine runs them."""

from __future__ import annotations

from collections.abc import Sequence

from pymmcore_plus.core import iter_sequenced_events
from pymmcore_plus.core._sequencing import SequencedEvent
from useq import MDAEvent

from drivers.micromanager.programme import Asked
from drivers.micromanager.rig import Rig


def sequenced(rig: Rig, asked: Sequence[Asked]) -> tuple[MDAEvent, int, frozenset[str]]:
    """Return the event for the first shots, how many of them it takes, and which settings the hardware steps.

    A single shot is an ordinary event; several become one where the camera and every device that changes between them
    can be sequenced.
    """
    group = rig.channels.group
    if len(asked) == 1:
        return asked[0].event(group), 1, frozenset()
    first = next(iter_sequenced_events(rig.core, (one.event(group) for one in asked)))
    if not isinstance(first, SequencedEvent):
        return first, 1, frozenset()
    steps = {
        "x": first.x_sequence,
        "y": first.y_sequence,
        "z": first.z_sequence,
        "exposure": first.exposure_sequence,
        "channel": first.property_sequences,
    }
    return first, len(first.events), frozenset(name for name, values in steps.items() if values)
