"""Finds what a subscriber missed, from what the publisher told and from the sequence numbers of each camera."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from stream.frame import FrameRef
from stream.wire.messages import Lost


@dataclass(slots=True)
class _Camera:
    """Where one camera's stream stands."""

    session: str = ""
    epoch: int = 0
    next_seq: int = 0
    told: int = 0
    """Frames that the publisher said it dropped since the last one that came."""
    refused: int = 0
    """Messages of this camera, since then, that could not be decoded."""


@dataclass(slots=True)
class Losses:
    """Accounts for every sequence number between two frames that arrived."""

    _cameras: dict[str, _Camera] = field(default_factory=dict)

    def told(self, camera: str, count: int) -> None:
        """Note frames that the publisher dropped; the caller reports them."""
        self._of(camera).told += count

    def refused(self, camera: str) -> None:
        """Note a message that could not be decoded; it is reported when its number turns out to be missing."""
        self._of(camera).refused += 1

    def arrived(self, ref: FrameRef) -> list[Lost]:
        """Return the losses before this frame that the publisher did not tell."""
        camera = self._of(ref.camera)
        if (ref.seq, ref.epoch, ref.session, camera.told) == (camera.next_seq, camera.epoch, camera.session, 0):
            camera.next_seq += 1
            camera.refused = 0
            return []
        first = not camera.session
        restarted = not first and camera.session != ref.session
        same_epoch = not restarted and camera.epoch == ref.epoch
        missing = 0 if first else ref.seq - (camera.next_seq if same_epoch else 0)
        unexplained = max(0, missing - camera.told)
        refused = min(unexplained, camera.refused)
        link = unexplained - refused
        self._cameras[ref.camera] = _Camera(ref.session, ref.epoch, ref.seq + 1)
        found = Counter({"refused": refused, "restart" if restarted else "link": link})
        return [Lost(ref.camera, count, reason) for reason, count in found.items() if count]

    def _of(self, camera: str) -> _Camera:
        return self._cameras.setdefault(camera, _Camera())
