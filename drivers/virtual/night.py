"""The faults of a night at work: on the light, the stage, the pixels, the camera and the cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from drivers.virtual import faults as f
from drivers.virtual.dirt import passing, smear
from drivers.virtual.optics import Area
from drivers.virtual.options import VirtualOptions
from drivers.virtual.specimen import Specimen
from drivers.virtual.view import View

Floats = NDArray[np.float32]
Kind = TypeVar("Kind", bound=f.AnyFault)
Effect = dict[str, Any]
"""What one fault did: ``kind`` and its figures."""
Trouble = Literal["", "drops", "drops_silently", "stops", "raises", "hangs"]


class Night:
    """Applies the faults of the options; without any, it does nothing and costs nothing.

    Parameters
    ----------
    options
        ``faults``, seed and sizes.
    """

    def __init__(self, options: VirtualOptions) -> None:
        self._options = options
        self._faults = options.faults
        self.soils = any(isinstance(fault, f.Bubbles | f.Debris | f.DeadPixels | f.HotPixels) for fault in self._faults)
        """Whether :meth:`soil` may have something to draw."""
        self.troubles = any(isinstance(fault, f.CameraDies | f.CameraHangs | f.DroppedFrames) for fault in self._faults)
        """Whether :meth:`camera` may have something to say."""
        self._slack_um = (0.0, 0.0)
        self._left: set[int] = set()
        self._wrong_pixels: dict[int, NDArray[np.int64]] = {}
        self.listener: Callable[[Effect], None] = lambda effect: None
        """Told of what happens between exposures."""

    def seen(self, view: View, clock_s: float, counter: int) -> tuple[View, list[Effect]]:
        """Return the view as it truly is, and what made it so."""
        if not self._faults:
            return view, []
        effects: list[Effect] = []
        x, y, z = view.stage_um
        power = view.power
        for _, fault in self._begun(clock_s, f.AnyFault):
            match fault:
                case f.StageDrift():
                    minutes = fault.lasted_s(clock_s) / 60.0
                    dx, dy = fault.um_per_min[0] * minutes, fault.um_per_min[1] * minutes
                    x, y = x + dx, y + dy
                    effects.append({"kind": fault.kind, "offset_um": (dx, dy)})
                case f.StageBacklash():
                    x, y = x + self._slack_um[0], y + self._slack_um[1]
                    effects.append({"kind": fault.kind, "offset_um": self._slack_um})
                case f.FocusDrift():
                    dz = fault.um_per_min * fault.lasted_s(clock_s) / 60.0
                    z += dz
                    effects.append({"kind": fault.kind, "offset_um": dz})
                case f.LampFlicker() if fault.on(clock_s):
                    factor = max(1.0 + fault.rms * float(self._chance(7, counter).standard_normal()), 0.0)
                    power *= factor
                    effects.append({"kind": fault.kind, "factor": factor})
                case f.LampDecay():
                    factor = 0.5 ** (fault.lasted_s(clock_s) / 60.0 / fault.half_life_min)
                    power *= factor
                    effects.append({"kind": fault.kind, "factor": factor})
        return replace(view, stage_um=(x, y, z), power=power), effects

    def soil(self, photons: Floats, area: Area, view: View, clock_s: float) -> list[Effect]:
        """Draw dirt and wrong pixels into the photons, (y, x), not binned; return what was drawn."""
        effects: list[Effect] = []
        light_ms = view.exposure_ms * view.power
        for which, fault in self._begun(clock_s, f.Bubbles, f.Debris):
            blobs = passing(fault, clock_s, self._options, which)
            for blob in blobs:
                smear(photons, area, fault, blob, light_ms, self._options)
            if blobs:
                places = [[round(b.x_um, 2), round(b.y_um, 2), round(b.radius_um, 2)] for b in blobs]
                effects.append({"kind": fault.kind, "x_y_radius_um": places})
        for which, fault in self._begun(clock_s, f.DeadPixels, f.HotPixels):
            if fault.on(clock_s):
                rows, columns = self._wrong(which, fault.fraction, area)
                if isinstance(fault, f.DeadPixels):
                    photons[rows, columns] = 0.0
                else:
                    electrons = fault.e_per_s * view.exposure_ms * 1e-3
                    photons[rows, columns] += electrons / self._options.quantum_efficiency
                effects.append({"kind": fault.kind, "pixels": len(rows)})
        return effects

    def befall(self, specimen: Specimen, clock_s: float) -> None:
        """Let the cells feel it, before their time passes."""
        if not self._faults:
            return
        specimen.warmth = 1.0
        for _, cold in self._begun(clock_s, f.TemperatureDrop):
            if cold.on(clock_s):
                specimen.warmth *= cold.pace
        for which, fault in self._begun(clock_s, f.CellsLeave):
            if which not in self._left:
                self._left.add(which)
                count = specimen.detach(fault.fraction, fault.flow_um_min, which)
                self.listener({"kind": fault.kind, "clock_s": clock_s, "cells": count})

    def camera(self, clock_s: float, counter: int) -> Trouble:
        """Return what the camera does instead of delivering the next exposure."""
        for which, fault in self._begun(clock_s, f.CameraDies, f.CameraHangs, f.DroppedFrames):
            if not fault.on(clock_s):
                continue
            trouble: Trouble = "hangs"
            if isinstance(fault, f.CameraDies):
                trouble = fault.how
            elif isinstance(fault, f.DroppedFrames):
                if self._chance(8, which, counter).random() >= fault.fraction:
                    continue
                trouble = "drops_silently" if fault.silent else "drops"
            self.listener({"kind": fault.kind, "clock_s": clock_s, "exposure": counter})
            return trouble
        return ""

    def hang_s(self, clock_s: float) -> float | None:
        """Return how long the camera still hangs; None: for ever."""
        ends = [fault.at_s + fault.for_s - clock_s if fault.for_s else None
                for _, fault in self._begun(clock_s, f.CameraHangs) if fault.on(clock_s)]  # fmt: skip
        lasting = [end for end in ends if end is not None]
        return max(lasting, default=0.0) if len(lasting) == len(ends) else None

    def moves(self, asked_um: tuple[float, float], at_um: tuple[float, float], clock_s: float) -> tuple[float, float]:
        """Return how far a move gets. Raises RuntimeError where the stage refuses."""
        for _, fault in self._begun(clock_s, f.RefusingStage):
            if fault.on(clock_s):
                self.listener({"kind": fault.kind, "clock_s": clock_s, "asked_um": asked_um})
                if fault.how == "raises":
                    raise RuntimeError("the stage's controller does not answer")
                way_um = np.hypot(asked_um[0] - at_um[0], asked_um[1] - at_um[1])
                part = max(way_um - fault.short_um, 0.0) / way_um if way_um else 0.0
                asked_um = (at_um[0] + part * (asked_um[0] - at_um[0]), at_um[1] + part * (asked_um[1] - at_um[1]))
        return asked_um

    def takes_ms(self, clock_s: float) -> float:
        """Return how long a move takes."""
        return float(sum(fault.takes_ms for _, fault in self._begun(clock_s, f.SlowStage) if fault.on(clock_s)))

    def moved(self, by_um: tuple[float, float], clock_s: float) -> None:
        """Take up the slack of a move: what follows a turn around is lost in the gear, up to its play."""
        for _, fault in self._begun(clock_s, f.StageBacklash):
            half_um = fault.um / 2
            sx, sy = (slack - by for slack, by in zip(self._slack_um, by_um, strict=True))
            self._slack_um = (float(np.clip(sx, -half_um, half_um)), float(np.clip(sy, -half_um, half_um)))

    def _begun(self, clock_s: float, *kinds: Any) -> Iterator[tuple[int, Any]]:
        for which, fault in enumerate(self._faults):
            if fault.at_s <= clock_s and isinstance(fault, kinds):
                yield which, fault

    def _wrong(self, which: int, fraction: float, area: Area) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        width, height = self._options.size_px
        if which not in self._wrong_pixels:
            count = max(1, round(fraction * width * height))
            self._wrong_pixels[which] = self._chance(9, which).choice(width * height, count, replace=False)
        rows, columns = np.divmod(self._wrong_pixels[which], width)
        rows, columns = rows - area.y_px, columns - area.x_px
        inside = (rows >= 0) & (rows < area.height) & (columns >= 0) & (columns < area.width)
        return rows[inside], columns[inside]

    def _chance(self, *which: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self._options.seed, *which]))
