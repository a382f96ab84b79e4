"""Bubbles and specks of dirt that float through the field: when and where each passes follows from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.virtual.faults import Bubbles, Debris
from drivers.virtual.optics import YOUNG_PHOTONS, Area
from drivers.virtual.options import VirtualOptions

Floats = NDArray[np.float32]
_SOFT = 0.25
"""Width of an edge as a fraction of the radius."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One that is in the field: its centre relative to that of the sensor, and its radius, in µm."""

    number: int
    x_um: float
    y_um: float
    radius_um: float


def passing(fault: Bubbles | Debris, clock_s: float, options: VirtualOptions, which: int) -> list[Blob]:
    """Return what is in the field now; ``which`` is the fault's place in the list, for its chance."""
    width, height = options.size_px
    half_um = np.hypot(width, height) * options.pixel_um / 2 + 2 * fault.radius_um
    crossing_s, every_s = 2 * half_um / fault.speed_um_s, 60.0 / fault.per_min
    lasted_s, blobs = clock_s - fault.at_s, []
    # Each enters within its own interval; those that entered after the fault's end never came.
    first = max(int((lasted_s - crossing_s) // every_s), 0)
    for number in range(first, int(max(lasted_s, 0.0) // every_s) + 1):
        chance = np.random.default_rng(np.random.SeedSequence([options.seed, 6, which, number]))
        enters_s = (number + chance.random()) * every_s
        way = fault.speed_um_s * (lasted_s - enters_s) - half_um
        if not -half_um <= way <= half_um or (fault.for_s is not None and enters_s > fault.for_s):
            continue
        angle, aside = chance.uniform(0.0, 2 * np.pi), chance.uniform(-0.6, 0.6) * half_um
        x = way * np.cos(angle) - aside * np.sin(angle)
        y = way * np.sin(angle) + aside * np.cos(angle)
        blobs.append(Blob(number, float(x), float(y), float(fault.radius_um * chance.lognormal(0.0, 0.3))))
    return blobs


def smear(
    photons: Floats, area: Area, fault: Bubbles | Debris, blob: Blob, light_ms: float, options: VirtualOptions
) -> None:
    """Draw one into the photons of ``area``."""
    width, height = options.size_px
    pixel = area.pixel_um
    column = blob.x_um / pixel + (width - 1) / 2 - area.x_px
    row = blob.y_um / pixel + (height - 1) / 2 - area.y_px
    reach = blob.radius_um * (1 + 3 * _SOFT) / pixel
    i0, i1 = max(int(row - reach), 0), min(int(row + reach) + 2, area.height)
    j0, j1 = max(int(column - reach), 0), min(int(column + reach) + 2, area.width)
    if i0 >= i1 or j0 >= j1:
        return
    y, x = np.mgrid[i0:i1, j0:j1]
    r = np.hypot(x - column, y - row) * (pixel / blob.radius_um)
    disc = np.clip((1.0 - r) / _SOFT + 0.5, 0.0, 1.0)
    part = photons[i0:i1, j0:j1]
    if isinstance(fault, Bubbles):
        part *= (1.0 - 0.5 * disc + 0.8 * np.exp(-(((r - 1.0) / (_SOFT / 2)) ** 2))).astype(np.float32)
    elif fault.contrast < 0:
        part *= (1.0 + fault.contrast * disc).astype(np.float32)
    else:
        young = YOUNG_PHOTONS * options.brightness * light_ms / 10.0 * (pixel / 0.65) ** 2
        part += (fault.contrast * young * disc).astype(np.float32)
