"""The whole specimen's life, whatever the camera saw of it: ``specimen.jsonl``, one object a line, as it happens.

Every line has ``kind`` and ``minute`` (of the specimen; the first exposure is at 0). Places are stage µm.

============== ====================================================================================================
start          ``seed, minutes_per_second, specimen_um, size_px, pixel_um``: first line of a start
present        a cell that was there at minute 0: ``cell, lineage, x_um, y_um, phase, began_min``
mitosis        ``cell`` begins to round up: the mitosis window opens
divided        it has two ``daughters`` from now on; ``began_min`` is when its window opened
settled        a daughter is a young nucleus: the window of its ``mother`` closes
dying, died    with the ``cause``: age or light; ``dose_s``; a mitosis may end so
leaving, left  a cell comes off and floats away
stimulated     the modulator activated ``cell``
mitotic        at an exposure: ``exposure, clock_s`` and the columns ``cell, x_um, y_um, phase`` of all mothers in
               mitosis and of daughters not yet settled
cells          every ``truth_cells_min`` minutes: the columns ``cell, x_um, y_um, phase`` of all cells
frame          a frame was delivered: ``exposure, field, frame, position, channel, exposure_ms, power``; the part of the
               stage that it truly shows, ``x_um, y_um`` (two edges each), and ``z_um``; the ``stage_um`` that it says
end            last line of a start that ended in order
============== ====================================================================================================

The turns (mitosis to stimulated) have the keys of :class:`drivers.virtual.turns.Turn`. ``lineage`` names a cell alike
in every run of a seed; ids do not. ``exposure`` numbers all exposures, ``frame`` the delivered ones of a position. A
frame may come some lines after the exposure's own.

``dose.csv`` has the columns ``exposure, minute, cell, dose_s``: beside each *cells* line, a row for each cell that has
received light since the last. ``dose_s`` is in seconds of full light.

``faults.jsonl`` tells what each fault did (:mod:`drivers.virtual.faults`): ``kind, clock_s`` and its figures, for the
exposure of that number where ``exposure`` is given: ``offset_um`` of stage or focus from where it says to be,
``factor`` of the light, ``x_y_radius_um`` of what floated by (from the middle of the sensor), ``pixels``, ``cells``,
``asked_um``.
"""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from drivers.virtual.cycle import Phase, Population
from drivers.virtual.labels import Scene
from drivers.virtual.microscope import Shot, View
from drivers.virtual.night import Effect
from drivers.virtual.options import VirtualOptions
from drivers.virtual.turns import line_of, lineage_name
from stream.frame import Frame

SPECIMEN = "specimen.jsonl"
DOSE = "dose.csv"
FAULTS = "faults.jsonl"
_NAMES = np.array([phase.name.lower() for phase in Phase])


class Annals:
    """Writes ``specimen.jsonl`` and ``dose.csv``; every call comes from one thread or another, in its own time.

    Parameters
    ----------
    folder
        Exists.
    options
        What the first line says, and how often all cells are listed.
    """

    def __init__(self, folder: Path, options: VirtualOptions) -> None:
        self._lines = (folder / SPECIMEN).open("a", encoding="utf-8")
        self._doses = (folder / DOSE).open("a", encoding="utf-8")
        self._faults = (folder / FAULTS).open("a", encoding="utf-8")
        self._doses.write("exposure,minute,cell,dose_s\n")
        self._options = options
        self._lock = threading.Lock()
        self._begun = False
        self._minute = 0.0
        self._next_min = 0.0
        self._told: dict[int, float] = {}

    def exposed(self, shot: Shot) -> None:
        """Write what happened up to an exposure, and who is in mitosis at it."""
        cells = shot.cells
        if cells is None:
            return
        with self._lock:
            if not self._begun:
                self._begin(cells)
            self._minute = shot.minute
            for turn in shot.turns:
                self._write(line_of(turn))
            at = {"minute": round(shot.minute, 4), "exposure": shot.counter, "clock_s": round(shot.clock_s, 4)}
            busy = cells[(cells["phase"] >= Phase.PROPHASE) & (cells["phase"] <= Phase.TELOPHASE)]
            self._write({"kind": "mitotic", **at, **_columns(busy)})
            if shot.minute >= self._next_min:
                self._next_min = shot.minute + self._options.truth_cells_min
                self._write({"kind": "cells", **at, **_columns(cells)})
                self._list_doses(shot, cells)
            self._lines.flush()
            for effect in shot.faults:
                self._note({"clock_s": shot.clock_s, "exposure": shot.counter, **effect})

    def went_wrong(self, effect: Effect) -> None:
        """Write what a fault did between exposures."""
        with self._lock:
            self._note(effect)

    def delivered(self, frame: Frame, scene: Scene, view: View | None) -> None:
        """Say which exposure became which frame, and where it truly lay."""
        height, width = scene.shape
        left, top = scene.x0_um - scene.pixel_um / 2, scene.y0_um - scene.pixel_um / 2
        with self._lock:
            self._write(
                {
                    "kind": "frame",
                    "minute": round(scene.minute, 4),
                    "exposure": scene.counter,
                    "field": frame.field,
                    "frame": frame.frame,
                    "position": frame.index.p,
                    "channel": frame.channel,
                    "exposure_ms": frame.exposure_ms,
                    "power": round(view.power, 5) if view else None,
                    "x_um": [round(left, 3), round(left + width * scene.pixel_um, 3)],
                    "y_um": [round(top, 3), round(top + height * scene.pixel_um, 3)],
                    "z_um": round(view.stage_um[2], 3) if view else None,
                    "stage_um": [round(part, 3) for part in frame.stage_um],
                }
            )

    def close(self) -> None:
        """Write the last line."""
        with self._lock:
            if self._lines.closed:
                return
            with ExitStack() as stack:  # each, whatever a full disk says to another
                for file in (self._faults, self._doses, self._lines):
                    stack.callback(file.close)
                self._write({"kind": "end", "minute": round(self._minute, 4)})

    def _begin(self, cells: Population) -> None:
        self._begun = True
        options = self._options
        self._write(
            {
                "kind": "start",
                "minute": 0.0,
                "seed": options.seed,
                "minutes_per_second": options.minutes_per_second,
                "specimen_um": options.specimen_um,
                "size_px": options.size_px,
                "pixel_um": options.pixel_um,
            }
        )
        for cell in cells:
            began_min = float(cell["began_min"])
            self._write(
                {
                    "kind": "present",
                    "minute": 0.0,
                    "cell": int(cell["id"]),
                    "lineage": lineage_name(int(cell["founder"]), int(cell["path"])),
                    "x_um": round(float(cell["x"]), 3),
                    "y_um": round(float(cell["y"]), 3),
                    "phase": str(_NAMES[cell["phase"]]),
                    "began_min": None if np.isnan(began_min) else round(began_min, 4),
                }
            )

    def _list_doses(self, shot: Shot, cells: Population) -> None:
        before, self._told = self._told, dict(zip(cells["id"].tolist(), cells["dose_s"].tolist(), strict=True))
        for cell, dose_s in self._told.items():
            if dose_s != before.get(cell, 0.0):
                self._doses.write(f"{shot.counter},{shot.minute:.3f},{cell},{dose_s:.6g}\n")
        self._doses.flush()

    def _note(self, effect: Effect) -> None:
        if not self._faults.closed:
            told = {key: round(value, 4) if isinstance(value, float) else value for key, value in effect.items()}
            self._faults.write(json.dumps(told, separators=(",", ":")) + "\n")
            self._faults.flush()

    def _write(self, line: dict[str, Any]) -> None:
        self._lines.write(json.dumps(line, separators=(",", ":")) + "\n")


def _columns(cells: Population) -> dict[str, list[Any]]:
    return {
        "cell": cells["id"].tolist(),
        "x_um": np.round(cells["x"], 2).tolist(),
        "y_um": np.round(cells["y"], 2).tolist(),
        "phase": _NAMES[cells["phase"]].tolist(),
    }
