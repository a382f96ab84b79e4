"""Living cells in a dish: positions, motion, crowding, cycle, division, death, and what light does to them. No pixels.

Time goes in fixed steps of ``STEP_MIN``, and each cell draws its own numbers by its place in the lineage and the step,
so the state depends on the seed, the time passed and the light received: not on how the time was cut into calls, and
one cell's fate not on another's, but where they touch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.virtual import kernels
from drivers.virtual.chance import drawn, generator_of, normal_table
from drivers.virtual.cycle import MINUTES, MITOSIS_MIN, PARTED_UM, SPLIT_UM, Phase, Population
from drivers.virtual.founders import founders, give_chance
from drivers.virtual.options import VirtualOptions
from drivers.virtual.turns import Turn, TurnKind, turn_of

STEP_MIN = 0.3
PERSISTENCE_MIN = 30.0
SETTLE_MIN = 90.0
MINUTES_PER_DAY = 1440.0
MOBILITY = np.array([1.0, 0.5, 0.25, 0.25, 0.5, 0.3, 0.0])
"""How freely a cell moves in each phase."""
NEXT = {Phase.INTERPHASE: Phase.PROPHASE, Phase.PROPHASE: Phase.METAPHASE, Phase.METAPHASE: Phase.ANAPHASE,
        Phase.TELOPHASE: Phase.INTERPHASE}  # fmt: skip
SAID: dict[Phase, TurnKind] = {Phase.PROPHASE: "mitosis", Phase.DYING: "dying", Phase.LEAVING: "leaving"}
"""The phases whose beginning is told."""
_DIVIDING = len(Phase)
_DETACHING = 2**62


class Specimen:
    """A population that grows; ``cells`` is its present state (read it, do not write it).

    Parameters
    ----------
    options
        Seed, numbers and paces, and what light does.
    """

    def __init__(self, options: VirtualOptions) -> None:
        self._options = options
        self._normal = normal_table()
        self._width_um, self._height_um = options.specimen_um
        self._owed_min = 0.0
        self._steps = 0
        self._flow_um_min = (0.0, 0.0)
        self.warmth = 1.0
        """How fast life goes; 1: at 37 °C."""
        self.minute = -SETTLE_MIN
        self._turns: list[Turn] = []
        self.cells = founders(options, self.minute)
        self._next_id = len(self.cells) + 1
        self.advance(SETTLE_MIN)
        self.take_turns()

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

    def burden(self, seconds_of_full_light: float, inside: NDArray[np.bool_]) -> None:
        """Add to the dose of the cells marked ``inside`` (n,) bool."""
        self.cells["dose_s"][inside] += seconds_of_full_light

    def stimulate(self, seconds_of_full_light: float, inside: NDArray[np.bool_]) -> None:
        """Activate the cells marked ``inside`` (n,) bool: light that counts as dose too."""
        self.burden(seconds_of_full_light, inside)
        rest = np.exp(-seconds_of_full_light / self._options.activation_s)
        self.cells["active"][inside] = 1.0 - (1.0 - self.cells["active"][inside]) * rest
        for i in np.flatnonzero(inside):
            self._turns.append(turn_of("stimulated", self.minute, self.cells[i]))

    def detach(self, fraction: float, flow_um_min: tuple[float, float], salt: int) -> int:
        """Let a part of the resting cells float off with the medium, and return how many; ``salt`` chooses which."""
        self._flow_um_min = flow_um_min
        _, chance = drawn(np.ascontiguousarray(self.cells["key"]), np.uint64(_DETACHING + salt), self._normal)
        going = np.flatnonzero((chance < fraction) & (self.cells["phase"] == Phase.INTERPHASE))
        for i in going:
            self._enter(i, Phase.LEAVING)
        return len(going)

    def _step(self) -> None:
        self._steps += 1
        self.minute = round(self._steps * STEP_MIN - SETTLE_MIN, 6)
        if not len(self.cells):
            return
        noise, chance = drawn(np.ascontiguousarray(self.cells["key"]), np.uint64(self._steps), self._normal)
        pace = self._pace()
        self._move(noise, pace)
        self._age(pace)
        self._die(chance)
        self._turn_over()

    def _pace(self) -> NDArray[np.float64]:
        """How fast each cell lives: light slows what it does not kill."""
        slow_s = self._options.toxic_slow_s
        if slow_s is None:
            return np.full(len(self.cells), self.warmth)
        pace: NDArray[np.float64] = self.warmth * slow_s / np.maximum(self.cells["dose_s"], slow_s)
        return pace

    def _move(self, noise: NDArray[np.float64], pace: NDArray[np.float64]) -> None:
        cells = self.cells
        keep = np.exp(-STEP_MIN / PERSISTENCE_MIN)
        kick = np.sqrt(1.0 - keep**2)
        speed = self._options.speed_um_min / np.sqrt(2.0) * kick
        cells["vx"] = cells["vx"] * keep + speed * noise[:, 0]
        cells["vy"] = cells["vy"] * keep + speed * noise[:, 1]
        cells["spin"] = cells["spin"] * keep + 0.006 * kick * noise[:, 2]
        cells["wobble"] = cells["wobble"] * keep + 0.05 * kick * noise[:, 3:]
        freedom = MOBILITY[cells["phase"]] * STEP_MIN * pace
        push_x, push_y, crowd = kernels.repel(
            np.ascontiguousarray(cells["x"]), np.ascontiguousarray(cells["y"]), self._radii(), 42.0
        )
        telophase = cells["phase"] == Phase.TELOPHASE
        part = np.where(telophase, _parting(cells, pace), 0.0)
        afloat = np.where(cells["phase"] == Phase.LEAVING, STEP_MIN, 0.0)
        flow_x, flow_y = self._flow_um_min
        cells["x"] += freedom * cells["vx"] + STEP_MIN * push_x + part * np.cos(cells["axis"]) + afloat * flow_x
        cells["y"] += freedom * cells["vy"] + STEP_MIN * push_y + part * np.sin(cells["axis"]) + afloat * flow_y
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

    def _age(self, pace: NDArray[np.float64]) -> None:
        cells = self.cells
        free = cells["phase"] == Phase.INTERPHASE
        # Contact inhibition: beyond nine neighbours within 42 µm cycles slow down, so a dish fills up and rests.
        crowded = np.where(free, np.exp(-np.maximum(cells["crowd"] - 9.0, 0.0) / 3.0), 1.0)
        alive = cells["phase"] < Phase.DYING
        cells["clock_min"] += STEP_MIN * np.where(alive, crowded * pace, 1.0)
        cells["age"] = np.where(free, np.minimum(cells["clock_min"] / cells["length_min"], 1.0), cells["age"])
        # Lost fluorescence comes back as protein is made.
        cells["left"] += (1.0 - cells["left"]) * STEP_MIN / 2000.0
        cells["active"] *= np.exp(-STEP_MIN / self._options.activation_min)

    def _die(self, chance: NDArray[np.float64]) -> None:
        cells = self.cells
        hazard = self._options.deaths_per_day * STEP_MIN / MINUTES_PER_DAY
        for i in np.flatnonzero((chance < hazard) & (cells["phase"] == Phase.INTERPHASE)):
            self._enter(i, Phase.DYING, "age")
        lethal_s = self._options.toxic_lethal_s
        if lethal_s is not None:
            for i in np.flatnonzero(
                (cells["dose_s"] > lethal_s * cells["frailty"]) & (cells["phase"] < Phase.ANAPHASE)
            ):
                self._enter(i, Phase.DYING, "light")

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
            elif phase in (Phase.DYING, Phase.LEAVING):
                kind: TurnKind = "died" if phase is Phase.DYING else "left"
                self._turns.append(turn_of(kind, self.minute, self.cells[i]))
                gone.append(i)
            else:
                self._enter(i, NEXT[phase])
        if gone:
            self.cells = np.concatenate([np.delete(self.cells, gone), *born])

    def _enter(self, i: np.intp, phase: Phase, cause: str = "") -> None:
        cell = self.cells[i]
        settled = cell["phase"] == Phase.TELOPHASE
        chance = generator_of(self._options.seed, int(cell["founder"]), int(cell["path"]), int(phase))
        cell["phase"], cell["clock_min"], cell["length_min"] = phase, 0.0, self._length(phase, chance)
        if phase is Phase.PROPHASE:
            cell["age"], cell["began_min"] = 1.0, self.minute
        elif phase is Phase.METAPHASE:
            cell["theta"] += chance.normal(0.0, 0.6)
        if settled or phase in SAID:
            self._turns.append(turn_of(SAID.get(phase, "settled"), self.minute, cell, cause=cause))
        if settled:
            cell["began_min"] = np.nan

    def _length(self, phase: Phase, chance: np.random.Generator) -> float:
        if phase is Phase.INTERPHASE:
            mean = self._options.cycle_min - MITOSIS_MIN * self._options.mitosis_pace
            return float(mean * chance.gamma(44.0, 1 / 44.0))
        return float(MINUTES[phase] * self._options.mitosis_pace * chance.lognormal(-0.01, 0.15))

    def _divide(self, i: np.intp) -> Population:
        mother = self.cells[i]
        pair = np.repeat(self.cells[i : i + 1], 2)
        chance = generator_of(self._options.seed, int(mother["founder"]), int(mother["path"]), _DIVIDING)
        length = self._length(Phase.TELOPHASE, chance)
        wobble = chance.normal(0.0, 0.05, (2, 4))
        for side, (daughter, outline) in enumerate(zip(pair, wobble, strict=True)):
            axis = mother["theta"] + (side - 0.5) * np.pi
            daughter["id"], daughter["mother"], daughter["born_min"] = self._next_id, mother["id"], self.minute
            daughter["path"] = 2 * mother["path"] + side
            daughter["phase"], daughter["clock_min"], daughter["length_min"] = Phase.TELOPHASE, 0.0, length
            daughter["age"], daughter["axis"], daughter["wobble"] = 0.0, axis, outline
            daughter["x"] += SPLIT_UM / 2 * np.cos(axis)
            daughter["y"] += SPLIT_UM / 2 * np.sin(axis)
            speed = self._options.speed_um_min
            daughter["vx"], daughter["vy"] = speed * np.cos(axis), speed * np.sin(axis)
            daughter["texture"] = chance.random(2) * 64.0
            daughter["spin"] = 0.0
            self._next_id += 1
        give_chance(pair, self._options)
        self._turns.append(turn_of("divided", self.minute, mother, tuple(int(k) for k in pair["id"])))
        return pair


def _parting(cells: Population, pace: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a daughter is pushed in one step: fast at first, then slower, in all half of what is left to part."""
    fraction = np.clip(cells["clock_min"] / cells["length_min"], 0.0, 1.0)
    ahead = np.clip((cells["clock_min"] + STEP_MIN * pace) / cells["length_min"], 0.0, 1.0)
    way = (PARTED_UM - SPLIT_UM) / 2
    pushed: NDArray[np.float64] = way * ((1 - fraction) ** 2 - (1 - ahead) ** 2)
    return pushed
