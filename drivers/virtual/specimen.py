"""Living cells in a dish: positions, motion, crowding, cycle, division, death. No pixels here.

Time goes in fixed steps of ``STEP_MIN``, and every step draws the same random numbers from one generator, so the state
depends on the seed and the time passed, not on how the time was cut into calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.virtual import kernels
from drivers.virtual.cycle import CELL, MINUTES, MITOSIS_MIN, PARTED_UM, SPLIT_UM, Phase, Population
from drivers.virtual.options import VirtualOptions

STEP_MIN = 0.3
PERSISTENCE_MIN = 30.0
SETTLE_MIN = 90.0
MINUTES_PER_DAY = 1440.0
MOBILITY = np.array([1.0, 0.5, 0.25, 0.25, 0.5, 0.3])
"""How freely a cell moves in each phase."""
NEXT = {Phase.INTERPHASE: Phase.PROPHASE, Phase.PROPHASE: Phase.METAPHASE, Phase.METAPHASE: Phase.ANAPHASE,
        Phase.TELOPHASE: Phase.INTERPHASE}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that happened to a cell, for the record: born, divided or died, in specimen minutes."""

    minute: float
    kind: str
    cell: int
    mother: int = 0
    daughters: tuple[int, ...] = ()


class Specimen:
    """A population that grows; ``cells`` is its present state (read it, do not write it).

    Parameters
    ----------
    options
        Seed, numbers and paces.
    """

    def __init__(self, options: VirtualOptions) -> None:
        self._options = options
        self._rng = np.random.default_rng(np.random.SeedSequence([options.seed, 1]))
        self._width_um, self._height_um = options.specimen_um
        self._next_id = 1
        self._owed_min = 0.0
        self.minute = -SETTLE_MIN
        self._turns: list[Turn] = []
        self.cells = self._seed_cells(options.cells * options.fields**2)
        self.advance(SETTLE_MIN)
        self.take_turns()
        self.minute = 0.0

    def advance(self, minutes: float) -> None:
        """Let ``minutes`` pass."""
        self._owed_min += minutes
        while self._owed_min >= STEP_MIN - 1e-9:
            self._owed_min -= STEP_MIN
            self._step()

    def take_turns(self) -> tuple[Turn, ...]:
        """Return what happened since the last call."""
        turns, self._turns = tuple(self._turns), []
        return turns

    def bleach(self, seconds_of_full_light: float, inside: NDArray[np.bool_]) -> None:
        """Shine on the cells marked ``inside`` (n,) bool."""
        if seconds_of_full_light > 0:
            self.cells["left"][inside] *= np.exp(-seconds_of_full_light / self._options.bleach_s)

    def _step(self) -> None:
        self.minute += STEP_MIN
        noise = self._rng.standard_normal((len(self.cells), 7))
        chance = self._rng.random(len(self.cells))
        self._move(noise)
        self._age()
        self._die(chance)
        self._turn_over()

    def _move(self, noise: NDArray[np.float64]) -> None:
        cells = self.cells
        keep = np.exp(-STEP_MIN / PERSISTENCE_MIN)
        kick = np.sqrt(1.0 - keep**2)
        speed = self._options.speed_um_min / np.sqrt(2.0) * kick
        cells["vx"] = cells["vx"] * keep + speed * noise[:, 0]
        cells["vy"] = cells["vy"] * keep + speed * noise[:, 1]
        cells["spin"] = cells["spin"] * keep + 0.006 * kick * noise[:, 2]
        cells["wobble"] = cells["wobble"] * keep + 0.05 * kick * noise[:, 3:]
        freedom = MOBILITY[cells["phase"]] * STEP_MIN
        push_x, push_y, crowd = kernels.repel(
            np.ascontiguousarray(cells["x"]), np.ascontiguousarray(cells["y"]), self._radii(), 42.0
        )
        telophase = cells["phase"] == Phase.TELOPHASE
        part = np.where(telophase, _parting(cells), 0.0)
        cells["x"] += freedom * cells["vx"] + STEP_MIN * push_x + part * np.cos(cells["axis"])
        cells["y"] += freedom * cells["vy"] + STEP_MIN * push_y + part * np.sin(cells["axis"])
        cells["theta"] += freedom * cells["spin"]
        cells["crowd"] = crowd
        self._keep_inside("x", "vx", self._width_um / 2)
        self._keep_inside("y", "vy", self._height_um / 2)

    def _radii(self) -> NDArray[np.float64]:
        grown = np.clip(self.cells["clock_min"] / 60.0, 0.45, 1.0)
        free = self.cells["phase"] == Phase.INTERPHASE
        radius: NDArray[np.float64] = self._options.nucleus_um / 2 * np.where(free, grown, 0.45)
        return radius

    def _keep_inside(self, axis: str, velocity: str, half_um: float) -> None:
        position = self.cells[axis]
        outside = np.abs(position) > half_um
        if outside.any():
            self.cells[velocity][outside] *= -1.0
            np.clip(position, -half_um, half_um, out=position)

    def _age(self) -> None:
        cells = self.cells
        free = cells["phase"] == Phase.INTERPHASE
        # Contact inhibition: beyond nine neighbours within 42 µm cycles slow down, so a dish fills up and rests.
        pace = np.where(free, np.exp(-np.maximum(cells["crowd"] - 9.0, 0.0) / 3.0), 1.0)
        cells["clock_min"] += STEP_MIN * pace
        cells["age"] = np.where(free, np.minimum(cells["clock_min"] / cells["length_min"], 1.0), cells["age"])
        # Lost fluorescence comes back as protein is made.
        cells["left"] += (1.0 - cells["left"]) * STEP_MIN / 2000.0

    def _die(self, chance: NDArray[np.float64]) -> None:
        hazard = self._options.deaths_per_day * STEP_MIN / MINUTES_PER_DAY
        doomed = (chance < hazard) & (self.cells["phase"] == Phase.INTERPHASE)
        for i in np.flatnonzero(doomed):
            self._enter(i, Phase.DYING)

    def _turn_over(self) -> None:
        done = np.flatnonzero(self.cells["clock_min"] >= self.cells["length_min"])
        if not len(done):
            return
        gone, born = [], []
        for i in done:
            phase = Phase(int(self.cells["phase"][i]))
            if phase is Phase.ANAPHASE:
                born.append(self._divide(i))
                gone.append(i)
            elif phase is Phase.DYING:
                self._turns.append(Turn(self.minute, "died", int(self.cells["id"][i])))
                gone.append(i)
            else:
                self._enter(i, NEXT[phase])
        if gone:
            self.cells = np.concatenate([np.delete(self.cells, gone), *born])

    def _enter(self, i: np.intp, phase: Phase) -> None:
        cell = self.cells[i]
        cell["phase"], cell["clock_min"], cell["length_min"] = phase, 0.0, self._length(phase)
        if phase is Phase.PROPHASE:
            cell["age"] = 1.0
        elif phase is Phase.METAPHASE:
            cell["theta"] += self._rng.normal(0.0, 0.6)

    def _length(self, phase: Phase) -> float:
        if phase is Phase.INTERPHASE:
            mean = self._options.cycle_min - MITOSIS_MIN * self._options.mitosis_pace
            return float(mean * self._rng.gamma(44.0, 1 / 44.0))
        return float(MINUTES[phase] * self._options.mitosis_pace * self._rng.lognormal(-0.01, 0.15))

    def _divide(self, i: np.intp) -> Population:
        mother = self.cells[i]
        pair = np.repeat(self.cells[i : i + 1], 2)
        length = self._length(Phase.TELOPHASE)
        wobble = self._rng.normal(0.0, 0.05, (2, 4))
        for daughter, sign, outline in zip(pair, (-1.0, 1.0), wobble, strict=True):
            axis = mother["theta"] + sign * np.pi / 2
            daughter["id"], daughter["mother"], daughter["born_min"] = self._next_id, mother["id"], self.minute
            daughter["phase"], daughter["clock_min"], daughter["length_min"] = Phase.TELOPHASE, 0.0, length
            daughter["age"], daughter["axis"], daughter["wobble"] = 0.0, axis, outline
            daughter["x"] += SPLIT_UM / 2 * np.cos(axis)
            daughter["y"] += SPLIT_UM / 2 * np.sin(axis)
            speed = self._options.speed_um_min
            daughter["vx"], daughter["vy"] = speed * np.cos(axis), speed * np.sin(axis)
            daughter["texture"] = self._rng.random(2) * 64.0
            daughter["spin"] = 0.0
            self._next_id += 1
        ids = tuple(int(k) for k in pair["id"])
        self._turns.append(Turn(self.minute, "divided", int(mother["id"]), int(mother["mother"]), ids))
        return pair

    def _seed_cells(self, count: int) -> Population:
        rng = self._rng
        cells = np.zeros(count, CELL)
        cells["id"] = np.arange(1, count + 1)
        self._next_id = count + 1
        # A growing population has more young than old cells: density 2 ln2 2^-age.
        cells["age"] = -np.log2(1.0 - rng.random(count) / 2.0)
        cells["length_min"] = (self._options.cycle_min - MITOSIS_MIN) * rng.gamma(44.0, 1 / 44.0, count)
        cells["clock_min"] = cells["age"] * cells["length_min"]
        cells["born_min"] = self.minute - cells["clock_min"]
        side = int(np.ceil(np.sqrt(count)))
        spots = rng.permutation(side * side)[:count]
        cells["x"] = ((spots % side + rng.uniform(0.05, 0.95, count)) / side - 0.5) * self._width_um
        cells["y"] = ((spots // side + rng.uniform(0.05, 0.95, count)) / side - 0.5) * self._height_um
        speed = self._options.speed_um_min / np.sqrt(2.0)
        cells["vx"], cells["vy"] = rng.normal(0.0, speed, (2, count))
        cells["theta"] = rng.uniform(0.0, np.pi, count)
        cells["size"] = rng.lognormal(0.0, 0.12, count)
        cells["aspect"] = 1.12 + 0.22 * rng.gamma(2.0, 0.5, count)
        cells["glow"] = rng.lognormal(-0.03, 0.25, count)
        cells["left"] = 1.0
        cells["wobble"] = rng.normal(0.0, 0.05, (count, 4))
        cells["texture"] = rng.random((count, 2)) * 64.0
        return cells


def _parting(cells: Population) -> NDArray[np.float64]:
    """How far a daughter is pushed in one step: fast at first, then slower, in all half of what is left to part."""
    fraction = np.clip(cells["clock_min"] / cells["length_min"], 0.0, 1.0)
    ahead = np.clip((cells["clock_min"] + STEP_MIN) / cells["length_min"], 0.0, 1.0)
    way = (PARTED_UM - SPLIT_UM) / 2
    pushed: NDArray[np.float64] = way * ((1 - fraction) ** 2 - (1 - ahead) ** 2)
    return pushed
