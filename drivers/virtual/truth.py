"""The truth of a run, written beside it and never shown to the pipeline.

``scenes.log`` is appended frame by frame and survives a crash; a thread turns it into ``man_trackNNN.tif`` while the
run goes on, and into ``man_track.txt`` at its end. Frame numbers are those of the frames that were delivered. Positions
beyond the first have a folder of their own, ``pN``.

Beside it, ``specimen.jsonl`` and ``dose.csv`` tell the life of the whole specimen, whatever the camera saw of it, and
the light that each cell received: their keys are in :mod:`drivers.virtual.annals`. ``lineage.jsonl`` has the turns in
the lives of all cells up to each delivered frame.
"""

from __future__ import annotations

import json
import logging
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from drivers.virtual.annals import Annals
from drivers.virtual.exposures import TAG
from drivers.virtual.labels import Labeller, Scene, scene_of
from drivers.virtual.microscope import Shot, View
from drivers.virtual.night import Effect
from drivers.virtual.options import VirtualOptions
from drivers.virtual.shapes import LOBE
from drivers.virtual.turns import Turn, line_of
from stream.errors import StoreError
from stream.frame import Frame, is_aside

SCENES = "scenes.log"
LINEAGE = "lineage.jsonl"
_HEAD = struct.Struct("<IIII dddd III")
_MARK = 0x53434E46
_PENDING = 1024
_FINISH_S = 60.0
_log = logging.getLogger(__name__)


class Truth:
    """Receives every exposure from the camera and every delivered frame from the driver, and writes what was true.

    Parameters
    ----------
    folder
        Where to write; one that holds the truth of an earlier start gets a subfolder for this ``session``.
    session
        Name of this start.
    options
        Of the microscope.
    """

    def __init__(self, folder: Path, session: str, options: VirtualOptions) -> None:
        self.folder = folder / session if (folder / SCENES).exists() else folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._scenes: BinaryIO = (self.folder / SCENES).open("ab")
            self._lineage = (self.folder / LINEAGE).open("a", encoding="utf-8")
            self._annals = Annals(self.folder, options)
        except OSError as error:
            raise StoreError(f"[camera.options] truth_dir {folder}: {error}") from error
        self._waiting: dict[int, tuple[Scene, View | None, tuple[Turn, ...]]] = {}
        self._prints: dict[int, int] = {}
        self._seen: set[tuple[int, int]] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._render, name="truth", daemon=True)
        self._thread.start()

    def exposed(self, shot: Shot) -> None:
        """Remember an exposure until its frame is delivered (called by the camera)."""
        with self._lock:
            self._prints[_print_of(shot.pixels)] = shot.counter
            if len(self._prints) > _PENDING:
                del self._prints[next(iter(self._prints))]
            self._waiting[shot.counter] = scene_of(shot, 0), shot.view, shot.turns
            while len(self._waiting) > _PENDING:
                del self._waiting[next(iter(self._waiting))]
        self._annals.exposed(shot)

    def went_wrong(self, effect: Effect) -> None:
        """Write what a fault did between exposures."""
        self._annals.went_wrong(effect)

    def delivered(self, frame: Frame) -> None:
        """Write down what ``frame`` truly shows; frames that nobody got have no truth."""
        with self._lock:
            counter = self._counter(frame)
            scene, view, _ = self._waiting.get(counter, (None, None, ()))
            turns = [turn for number, (_, _, since) in self._waiting.items() if number <= counter for turn in since]
            self._waiting = {number: item for number, item in self._waiting.items() if number > counter}
        for turn in turns:
            self._lineage.write(json.dumps({"frame": frame.frame, **line_of(turn)}) + "\n")
        if scene is None:
            return
        self._annals.delivered(frame, scene, view)
        key = (frame.index.p, frame.frame)
        if key in self._seen or frame.index.g or is_aside(frame.field):
            return  # another channel or plane of a time point that is written, another tile, or none of the plan's
        self._seen.add(key)
        self._scenes.write(_pack(frame.index.p, replace(scene, frame=frame.frame)))
        self._scenes.flush()
        self._wake.set()

    def close(self) -> None:
        """Write the last label images and ``man_track.txt``. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._thread.join(_FINISH_S)
        if self._thread.is_alive():
            _log.error("the truth in %s is not complete; its log is", self.folder)
        with ExitStack() as stack:  # each, whatever a full disk says to another
            for part in (self._annals, self._lineage, self._scenes):
                stack.callback(part.close)

    def _counter(self, frame: Frame) -> int:
        """Find the exposure by its tag, or, for a snapped image, by its pixels: their noise makes them unique."""
        tag = frame.metadata.get(TAG)
        return int(tag) if tag is not None else self._prints.get(_print_of(frame.pixels), -1)

    def _render(self) -> None:
        try:
            writer = Writer(self.folder)
            with (self.folder / SCENES).open("rb") as log:
                while True:
                    self._wake.wait()
                    self._wake.clear()
                    closing = self._closing
                    for position, scene in _unpack(log):
                        writer.write(position, scene)
                    if closing:
                        break
            writer.finish()
        except Exception:
            _log.exception("the truth in %s could not be drawn; its log can", self.folder)


class Writer:
    """Draws scenes into a folder: label images at once, the table of tracks and their cells at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fields: dict[int, Labeller] = {}

    def write(self, position: int, scene: Scene) -> None:
        """Draw one scene."""
        import tifffile

        labeller = self._fields.setdefault(position, Labeller())
        folder = self._place(position)
        folder.mkdir(exist_ok=True)
        path = folder / f"man_track{scene.frame:03d}.tif"
        tifffile.imwrite(path, labeller.step(scene), compression="zlib", compressionargs={"level": 1})

    def finish(self) -> None:
        """Write ``man_track.txt`` and ``cells.jsonl`` (which track is which cell)."""
        for position, labeller in self._fields.items():
            folder = self._place(position)
            (folder / "man_track.txt").write_text(labeller.table(), encoding="utf-8")
            lines = [json.dumps(asdict(track)) + "\n" for track in labeller.tracks]
            (folder / "cells.jsonl").write_text("".join(lines), encoding="utf-8")

    def _place(self, position: int) -> Path:
        return self._folder / f"p{position}" if position else self._folder


def _print_of(pixels: NDArray[Any]) -> int:
    return xxh3_64_intdigest(np.ascontiguousarray(pixels).data)


def render(folder: Path) -> None:
    """Draw the truth again from its log, as after a crash; a torn last scene is left out."""
    writer = Writer(folder)
    with (folder / SCENES).open("rb") as log:
        for position, scene in _unpack(log):
            writer.write(position, scene)
    writer.finish()


def _pack(position: int, scene: Scene) -> bytes:
    head = _HEAD.pack(
        _MARK, position, scene.frame, scene.counter, scene.minute, scene.x0_um, scene.y0_um, scene.pixel_um,
        len(scene.lobes), *scene.shape,
    )  # fmt: skip
    return head + scene.lobes.astype(np.float32).tobytes()


def _unpack(log: BinaryIO) -> Iterator[tuple[int, Scene]]:
    """Yield the complete scenes from here on; a torn one stays for the next call."""
    while True:
        start = log.tell()
        head = log.read(_HEAD.size)
        if len(head) == _HEAD.size:
            mark, position, frame, counter, minute, x0_um, y0_um, pixel_um, count, height, width = _HEAD.unpack(head)
            size = count * len(LOBE) * 4
            body = log.read(size) if mark == _MARK else b""
            if mark == _MARK and len(body) == size:
                lobes = np.frombuffer(body, np.float32).reshape(-1, len(LOBE)).astype(np.float64)
                yield position, Scene(frame, counter, minute, (height, width), x0_um, y0_um, pixel_um, lobes)
                continue
        log.seek(start)
        return
