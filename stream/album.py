"""Collects what a summary picture needs while a run goes on: the newest decided frame and the divisions in small."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.config import WireSettings
from stream.event import Event
from stream.frame import Frame
from stream.wire.messages import EventsOf, Item, Labels
from stream.wire.policy import latest
from stream.wire.subscribe import Subscriber

_RING = 48
_STRIP = 6
_STRIPS = 16
_CROP_PX = 64


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """One confirmed division in small: crops ``(y, x)`` around it, oldest first."""

    event: Event
    numbers: tuple[int, ...]
    crops: tuple[NDArray[Any], ...]


class Album:
    """Follows a run as a viewer does; whatever it misses is only missing in the picture."""

    def __init__(self, wire: WireSettings) -> None:
        self._wire = wire
        self._frames: OrderedDict[tuple[str, int], Frame] = OrderedDict()
        self.strips: list[Strip] = []
        self.newest: tuple[Frame, NDArray[np.int32]] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="album", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():  # a run that fails before its camera starts never started it
            self._thread.join(3)

    def _run(self) -> None:
        with (
            Subscriber(self._wire.frames, ["frame/"], name="album", policy=latest()) as frames,
            Subscriber(self._wire.results, ["labels", "events"], name="album", policy=latest()) as results,
        ):
            while not self._stop.is_set():
                for link in (frames, results):
                    while (item := link.next(0.02)) is not None:
                        self._take(item)

    def _keep(self, frame: Frame) -> None:
        self._frames[(frame.field, frame.frame)] = frame
        while len(self._frames) > _RING:
            self._frames.popitem(last=False)

    def _take(self, item: Item) -> None:
        if isinstance(item, Frame):
            self._keep(item)
        elif isinstance(item, Labels):
            frame = self._frames.get((item.ref.field, item.ref.frame))
            if frame is not None and frame.pixels.shape == item.labels.shape:
                self.newest = (frame, item.labels)
        elif isinstance(item, EventsOf):
            for event in item.events:
                if event.kind == "division" and event.status == "confirmed":
                    self._cut(event)

    def _cut(self, event: Event) -> None:
        """Cut crops from before the split to now, where all of them lie within the image; keep the last few."""
        around = range(event.frame - _RING // 2, event.emitted_frame + 1)
        seen = [self._frames[(event.field, n)] for n in around if (event.field, n) in self._frames]
        whole = [(frame.frame, crop) for frame in seen if (crop := _crop(frame, event.position_um)) is not None]
        if len(whole) < _STRIP:
            return
        steps = np.linspace(0, len(whole) - 1, _STRIP).round().astype(int)
        numbers, crops = zip(*(whole[i] for i in steps), strict=True)
        self.strips = [*self.strips, Strip(event, numbers, crops)][-_STRIPS:]


def _crop(frame: Frame, position_um: tuple[float, float]) -> NDArray[Any] | None:
    y, x = frame.to_image_px(np.array([position_um]))[0].round().astype(int) - _CROP_PX // 2
    crop = frame.pixels[max(y, 0) : y + _CROP_PX, max(x, 0) : x + _CROP_PX]
    return crop.copy() if min(y, x) >= 0 and crop.shape == (_CROP_PX, _CROP_PX) else None
