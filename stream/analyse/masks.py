"""Keeps the label image of every decided frame beside the run, on a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.metrics import FRAMES_LOST

log = logging.getLogger(__name__)


class MaskFiles:
    """Writes ``labels/FIELD/maskNNN.tif`` (uint16, Cell Tracking Challenge form).

    A disk that cannot keep up loses whole masks, counted as ``masks``/``overflow``; the analysis never waits.
    """

    def __init__(self, folder: Path, queue_frames: int = 128) -> None:
        self._folder = folder
        self._queue: queue.Queue[tuple[str, int, NDArray[np.int32]] | None] = queue.Queue(queue_frames)
        self._thread = threading.Thread(target=self._run, name="masks", daemon=True)
        self._thread.start()

    def put(self, field: str, frame: int, labels: NDArray[np.int32]) -> None:
        """Hand over one label image, which must not change any more."""
        try:
            self._queue.put_nowait((field, frame, labels))
        except queue.Full:
            FRAMES_LOST.labels("masks", "overflow").inc()

    def close(self) -> None:
        """Write what waits, then end."""
        self._queue.put(None)
        self._thread.join(30)

    def _run(self) -> None:
        import tifffile

        while (item := self._queue.get()) is not None:
            field, frame, labels = item
            folder = self._folder / field.replace(":", "_")
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"mask{frame:03d}.tif"
            if labels.max(initial=0) > np.iinfo(np.uint16).max:
                FRAMES_LOST.labels("masks", "too_many_tracks").inc()
                continue
            try:
                tifffile.imwrite(path, labels.astype(np.uint16), compression="zlib")
            except OSError as error:
                FRAMES_LOST.labels("masks", "disk").inc()
                log.error("%s: %s", path, error)
