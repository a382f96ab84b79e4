"""MDA mode: what an event gave becomes frames, or gaps at exactly their places; the first ones name their commands."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from drivers.micromanager.event_runner import Arrival
from drivers.micromanager.producer import Producer, stamps
from drivers.micromanager.programme import Asked
from drivers.micromanager.rig import Rig
from drivers.micromanager.shot import Flight, plain, read_back
from stream.errors import DriverError


@dataclass(frozen=True, slots=True)
class Shown:
    """A command that waits for the first frame that shows it: of a position, a channel, or beside the plan."""

    command_id: str
    position: int | None = None
    channel: str | None = None
    aside: str = ""
    anywhere: bool = False

    def by(self, asked: Asked) -> bool:
        """Whether a frame shows it."""
        shot = asked.shot
        here = self.position in (None, shot.index.p) and self.channel in (None, asked.channel)
        return self.anywhere or (shot.aside == self.aside and here)


class Landing:
    """Hands over frames and gaps.

    Parameters
    ----------
    rig, producer
        What is read back, and where frames go.
    """

    def __init__(self, rig: Rig, producer: Producer) -> None:
        self._rig = rig
        self._producer = producer
        self._shown: list[Shown] = []
        self.channel = ""
        """The channel that was last read back."""

    def expect(self, shown: Shown) -> None:
        """Let the first frame that shows a command name it."""
        self._shown.append(shown)

    def forget(self, asides: Collection[str]) -> None:
        """Expect nothing of sequences that were taken back."""
        self._shown = [shown for shown in self._shown if shown.aside not in asides]

    def land(self, flight: Flight, arrivals: tuple[Arrival, ...]) -> None:
        """Hand over an event's frames, and gaps for those that did not come."""
        if not flight.asked[0].takes_image:
            self._focused(flight.asked[0])
            return
        for asked, arrival in zip(flight.asked, arrivals, strict=False):
            self._deliver(flight, asked, arrival)
        self.missing(flight.asked[len(arrivals) :], "the event ended without an image")

    def missing(self, asked: tuple[Asked, ...], detail: str) -> None:
        """Say which frames will not come."""
        for one in asked:
            self._gap(one, "snap_failed", detail)

    def _deliver(self, flight: Flight, asked: Asked, arrival: Arrival) -> None:
        if not self._producer.has_room():
            self._gap(asked, "queue", "frames waited for a consumer that did not take them")
            return
        try:
            state, marks = read_back(asked, flight, arrival, self._rig, self.channel)
        except DriverError as error:
            self._gap(asked, "wrong_state", str(error))
            return
        if "stage_um" in marks or "channel" in marks:
            # Another place or another stain is not a worse frame of this field but none of it.
            self._gap(asked, "wrong_state", str(marks))
            return
        shot = asked.shot
        shown = tuple(command.command_id for command in self._shown if command.by(asked))
        more: dict[str, Any] = {"due_ns": flight.due_ns, "late_ms": flight.late_ms}
        more |= {"mismatch": marks} if marks else {}
        more |= {"command": shot.aside} if shot.aside else {}
        more |= {"burst": len(flight.asked)} if len(flight.asked) > 1 else {}
        times = stamps(arrival.camera_ns, "core", arrival.popped_ns)
        metadata = plain(arrival.metadata) | more
        if self._producer.deliver(arrival.pixels, shot.index, state, times, shown, metadata, aside=shot.aside):
            self._shown = [command for command in self._shown if command.command_id not in shown]

    def _focused(self, asked: Asked) -> None:
        """Say where an autofocus failed, which the engine only logs: the frames come all the same."""
        if not self._rig.autofocus.succeeded:
            index = asked.shot.index
            detail = f"{index}: the focus is as it was"
            self._producer.gap(index.p, 0, "autofocus_failed", detail, tile=index.g, aside=asked.shot.aside)

    def _gap(self, asked: Asked, reason: str, detail: str) -> None:
        shot = asked.shot
        said = f"{shot.index}: {detail}"
        self._producer.gap(shot.index.p, 1, reason, said, tile=shot.index.g, aside=shot.aside)
