"""Cells of a recording, looked for once and kept: every tracker that is compared gets exactly the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from models import zoo
from models.segment.network import NetworkSegmenter
from stream import plugins
from stream.cells import Cells, Kind, Segmentation
from stream.config import CameraSettings, PlanSettings
from stream.frame import Ended, Frame
from stream.stages import Moment, Segmented, Segmenter

KINDS: Mapping[str, Kind | None] = {"": None, "nuclei": "nuclei", "phase": "phase"}


def moments(sequence: Path) -> Iterator[Moment]:
    """Yield the moments of a folder of numbered images; time counts in frames."""
    driver = plugins.load("drivers", "replay")()
    driver.open(CameraSettings(driver="replay", options={"source": sequence, "speed": "max"}), run="", session="")
    driver.start(PlanSettings())
    try:
        while not isinstance(frame := driver.next(60.0), Ended):
            if isinstance(frame, Frame):
                yield Moment(frame, elapsed_s=float(frame.frame))
    finally:
        driver.stop()


def detections(sequence: Path, model: str, kept: Path, diameter_px: float | None = None) -> Iterator[Segmented]:
    """Yield what ``model`` finds in a sequence, frame by frame.

    Parameters
    ----------
    model
        A shipped network's or a segmenter's name, or the path of an ``.onnx`` file.
    kept
        Folder for what was found. A network that has changed looks again; delete the folder to make others do so.
    diameter_px
        Size of the cells that a network is told to look for; None: it measures them.
    """
    sized = "" if diameter_px is None else f"_{diameter_px:g}px"
    folder = kept / f"{sequence.parent.name}_{sequence.name}_{_name(model)}{sized}"
    folder.mkdir(parents=True, exist_ok=True)
    segmenter: Segmenter | None = None
    for moment in moments(sequence):
        path = folder / f"{moment.frame.frame:05d}.npz"
        found = _read(path)
        if found is None and segmenter is None:
            segmenter = _segmenter(model, diameter_px)
            for earlier in moments(sequence):  # it may look at frames before this one, too
                if earlier.frame.frame >= moment.frame.frame:
                    break
                segmenter.step(earlier)
        if found is None:
            assert segmenter is not None
            found = segmenter.step(moment)
            columns = {f.name: getattr(found.cells, f.name) for f in fields(Cells)}
            np.savez_compressed(path, labels=found.labels, kind=found.kind or "", **columns)
        yield Segmented(moment, found)


def _segmenter(model: str, diameter_px: float | None) -> Segmenter:
    if model.endswith(".onnx") or model in zoo.names():
        return NetworkSegmenter({"model": model} | ({} if diameter_px is None else {"diameter_px": diameter_px}))
    segmenter: Segmenter = plugins.load("segmenters", model)({})
    return segmenter


def _name(model: str) -> str:
    """Return a name that changes with the network's weights."""
    if not (model.endswith(".onnx") or model in zoo.names()):
        return model
    path = Path(zoo.path(model))
    return f"{path.stem}_{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def _read(path: Path) -> Segmentation | None:
    try:
        with np.load(path) as said:
            cells = Cells(**{f.name: said[f.name] for f in fields(Cells)})
            return Segmentation(said["labels"], cells, KINDS[str(said["kind"])])
    except (OSError, BadZipFile, KeyError, ValueError):
        return None
