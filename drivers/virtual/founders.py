"""The cells that a dish begins with."""

from __future__ import annotations

import numpy as np

from drivers.virtual.chance import drawn, keys_of, normal_table
from drivers.virtual.cycle import CELL, MITOSIS_MIN, Population
from drivers.virtual.options import VirtualOptions

_FRAILTY_STEP = np.uint64(2**63)


def founders(options: VirtualOptions, minute: float) -> Population:
    """Spread cells of all ages over the dish; their ids count from 1."""
    rng = np.random.default_rng(np.random.SeedSequence([options.seed, 1]))
    count = options.cells * options.fields**2
    width_um, height_um = options.specimen_um
    cells = np.zeros(count, CELL)
    cells["id"] = cells["founder"] = np.arange(1, count + 1)
    cells["path"] = 1
    # A growing population has more young than old cells: density 2 ln2 2^-age.
    cells["age"] = -np.log2(1.0 - rng.random(count) / 2.0)
    cells["length_min"] = (options.cycle_min - MITOSIS_MIN) * rng.gamma(44.0, 1 / 44.0, count)
    cells["clock_min"] = cells["age"] * cells["length_min"]
    cells["born_min"] = minute - cells["clock_min"]
    cells["began_min"] = np.nan
    side = int(np.ceil(np.sqrt(count)))
    spots = rng.permutation(side * side)[:count]
    cells["x"] = ((spots % side + rng.uniform(0.05, 0.95, count)) / side - 0.5) * width_um
    cells["y"] = ((spots // side + rng.uniform(0.05, 0.95, count)) / side - 0.5) * height_um
    speed = options.speed_um_min / np.sqrt(2.0)
    cells["vx"], cells["vy"] = rng.normal(0.0, speed, (2, count))
    cells["theta"] = rng.uniform(0.0, np.pi, count)
    cells["size"] = rng.lognormal(0.0, 0.12, count)
    cells["aspect"] = 1.12 + 0.22 * rng.gamma(2.0, 0.5, count)
    cells["glow"] = rng.lognormal(-0.03, 0.25, count)
    cells["left"] = 1.0
    cells["wobble"] = rng.normal(0.0, 0.05, (count, 4))
    cells["texture"] = rng.random((count, 2)) * 64.0
    give_chance(cells, options)
    return cells


def give_chance(cells: Population, options: VirtualOptions) -> None:
    """Give cells their own chance, and the frailty that follows from it."""
    cells["key"] = keys_of(options.seed, cells["founder"], cells["path"])
    noise, _ = drawn(np.ascontiguousarray(cells["key"]), _FRAILTY_STEP, normal_table())
    cells["frailty"] = np.exp(options.toxic_spread * noise[:, 0])
