"""A frame buffer for Micro-Manager's Python core that loses a frame only when it is full."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore.core._sequence_buffer import BufferSlot, SequenceBuffer

SKIPPED = "SkippedImages"
"""Metadata tag: how many images this sequence has lost so far, so that the core's numbers show it."""


class FrameBuffer(SequenceBuffer):
    """Takes the place of the core's own ring, which drops every waiting frame where it wraps.

    Each frame owns its memory, so that popping copies nothing, and clearing while a frame is being written drops that
    frame instead of killing the camera's thread.

    Parameters
    ----------
    size_mb
        What may wait, in MiB.
    overwrite_on_overflow
        Full: drop the oldest frame (True) or raise BufferError (False).
    """

    def __init__(self, size_mb: float, *, overwrite_on_overflow: bool = True) -> None:
        # Not the parent's: it would allocate the whole ring.
        self._size_bytes = int(size_mb * 1024 * 1024)
        self._bytes_in_use = 0
        self._slots: deque[BufferSlot] = deque()
        self._overwrite_on_overflow = overwrite_on_overflow
        self._overflow_occurred = False
        self._lock = threading.Lock()
        self._pending_slot: deque[tuple[NDArray[Any], int]] = deque()

    def acquire_slot(self, shape: Sequence[int], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Return an array to fill; :meth:`finalize_slot` publishes it. Raises BufferError where it does not fit."""
        array = np.empty(tuple(shape), dtype)
        if array.nbytes > self._size_bytes:
            raise BufferError(f"a frame of {array.nbytes} bytes is larger than the buffer of {self._size_bytes} bytes")
        with self._lock:
            while self._bytes_in_use + array.nbytes > self._size_bytes and self._slots:
                self._overflow_occurred = True
                if not self._overwrite_on_overflow:
                    raise BufferError("the buffer is full and may not overwrite")
                self._bytes_in_use -= self._slots.popleft().nbytes_total
            self._bytes_in_use += array.nbytes
            self._pending_slot.append((array, array.nbytes))
        return array

    def finalize_slot(self, metadata: Mapping[str, Any] | None = None) -> None:
        """Publish the oldest array that was acquired; nothing where the buffer was cleared meanwhile."""
        with self._lock:
            if self._pending_slot:
                array, nbytes = self._pending_slot.popleft()
                self._slots.append(BufferSlot(array, _numbered(metadata or {}), nbytes))

    def pop_next(self, *, out: NDArray[Any] | None = None) -> tuple[NDArray[Any], Mapping[str, Any]] | None:
        """Remove and return the oldest frame; None where there is none."""
        with self._lock:
            if not self._slots:
                return None
            slot = self._slots.popleft()
            self._bytes_in_use -= slot.nbytes_total
        if out is None:
            return slot.array, slot.metadata or {}
        out[:] = slot.array
        return out, slot.metadata or {}

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._slots.clear()
            self._pending_slot.clear()
            self._bytes_in_use = 0
            self._overflow_occurred = False


def _numbered(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Count the images that the camera has lost into the number that the core gives; nothing else tells of them."""
    told = dict(metadata)
    skipped = int(told.pop(SKIPPED, 0))
    if skipped:
        told["ImageNumber"] = str(int(told["ImageNumber"]) + skipped)
    return told
