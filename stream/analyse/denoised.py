"""Denoised pixels for people: recorded beside the run on a thread of their own, and sent to the live page."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from stream.clock import Clock, now_ns
from stream.metrics import FRAMES_LOST
from stream.stages import Moment
from stream.wire.codec import encode_denoised
from stream.wire.messages import Message

log = logging.getLogger(__name__)

Take = Callable[[Moment], None]
"""Is given every decided moment, in the deciding thread: it must return at once."""

_LEAST_FPS = 2.0
"""Pictures go to the page so often whatever it draws, so that it can tell a late one from one that is not made."""
_DRAFT = ".new"
_PATIENCE_S = 60.0


def in_counts(denoised: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return denoised pixels rounded to a camera's type, cut at its ends; what is no number becomes 0."""
    top = np.float32(np.iinfo(dtype).max)
    return np.fmin(np.fmax(np.rint(denoised), np.float32(0)), top).astype(dtype)


class DenoisedFiles:
    """Writes ``FIELD/tNNNNNN.tif`` for each decided frame, in counts of the camera's type.

    A disk that cannot keep up loses whole pictures there, counted as ``denoised``/``overflow``; the analysis never
    waits. A file is there whole or not at all, and those of an analysis that was started again stay.
    """

    def __init__(self, folder: Path, queue_frames: int = 32) -> None:
        self._folder = folder
        self._ready: set[Path] = set()
        self._queue: queue.Queue[tuple[str, int, NDArray[np.float32], np.dtype[Any]] | None] = queue.Queue(queue_frames)
        self._thread = threading.Thread(target=self._run, name="denoised", daemon=True)
        self._thread.start()

    def decided(self, moment: Moment) -> None:
        """Hand over one decided moment; one that has no denoised pixels is counted as ``denoised``/``none_made``."""
        if moment.denoised is None:
            FRAMES_LOST.labels("denoised", "none_made").inc()
            return
        frame = moment.frame
        try:
            self._queue.put_nowait((frame.field, frame.frame, moment.denoised, frame.pixels.dtype))
        except queue.Full:
            FRAMES_LOST.labels("denoised", "overflow").inc()

    def close(self) -> None:
        """Write what waits, then end; a disk that hangs is not waited for longer than a minute."""
        try:
            self._queue.put(None, timeout=_PATIENCE_S)
        except queue.Full:
            log.error("%s: the disk takes nothing more; %d pictures are lost", self._folder, self._queue.qsize())
            return
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            field, number, denoised, dtype = item
            path = self._folder / field.replace(":", "_") / f"t{number:06d}.tif"
            try:
                self._write(path, in_counts(denoised, dtype))
            except Exception as error:  # of the disk or of the codec; the thread must go on
                FRAMES_LOST.labels("denoised", "refused").inc()
                log.error("%s: denoised pixels cannot be written: %s", path, error)

    def _write(self, path: Path, pixels: NDArray[Any]) -> None:
        if path.parent not in self._ready:
            path.parent.mkdir(parents=True, exist_ok=True)
            for torn in path.parent.glob(f"*{_DRAFT}"):
                torn.unlink()
            self._ready.add(path.parent)
        draft = path.with_suffix(_DRAFT)
        tifffile.imwrite(draft, pixels, photometric="minisblack", metadata=None)
        draft.replace(path)


class DenoisedLive:
    """Sends denoised pixels to the live page, of each field at most ``max_fps`` pictures a second, but two at least."""

    def __init__(self, send: Callable[[Message], object], max_fps: float, clock: Clock = now_ns) -> None:
        self._send, self._clock = send, clock
        self._interval_ns = 1e9 / max(max_fps, _LEAST_FPS)
        self._due_ns: dict[str, float] = {}

    def decided(self, moment: Moment) -> None:
        """Take one decided moment; send its picture when the page could draw another one."""
        frame, now = moment.frame, self._clock()
        if moment.denoised is None or now < self._due_ns.get(frame.field, 0):
            return
        self._due_ns[frame.field] = now + self._interval_ns
        self._send(encode_denoised(frame.ref, in_counts(moment.denoised, frame.pixels.dtype), frame.stamps))
