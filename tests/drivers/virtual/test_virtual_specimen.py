"""The specimen: its life is decided by seed and time alone."""

import numpy as np
import pytest

from drivers.virtual.cycle import SPLIT_UM, Phase
from drivers.virtual.options import VirtualOptions
from drivers.virtual.shapes import COLUMN, lobes
from drivers.virtual.specimen import Specimen, Turn

QUICK = VirtualOptions(cells=60, fields=1, cycle_min=400.0, deaths_per_day=0.5, seed=3)


def grown(options: VirtualOptions, *minutes: float) -> Specimen:
    specimen = Specimen(options)
    for part in minutes:
        specimen.advance(part)
    return specimen


@pytest.mark.parametrize(
    "cut", [[120.0], [60.0, 60.0], [1.2] * 100, [0.7] * 171 + [0.3]], ids=["one", "two", "frames", "odd"]
)
def test_life_depends_on_the_time_and_not_on_how_it_was_cut(cut: list[float]) -> None:
    whole, parts = grown(QUICK, 120.0), grown(QUICK, *cut)
    assert whole.cells.tobytes() == parts.cells.tobytes()


def test_another_seed_is_another_life() -> None:
    other = grown(QUICK.model_copy(update={"seed": 4}), 1.2)
    assert other.cells["x"].tobytes() != grown(QUICK, 1.2).cells["x"].tobytes()


def turns_of(specimen: Specimen, minutes: float) -> list[Turn]:
    specimen.advance(minutes)
    return list(specimen.take_turns())


def test_every_division_gives_two_daughters_apart_by_the_stated_distance() -> None:
    specimen = Specimen(QUICK)
    seen = 0
    for _ in range(400):
        before = {int(c["id"]): c.copy() for c in specimen.cells}
        for turn in turns_of(specimen, 0.3):
            if turn.kind != "divided":
                continue
            seen += 1
            one, other = (specimen.cells[specimen.cells["id"] == k][0] for k in turn.daughters)
            distance = np.hypot(one["x"] - other["x"], one["y"] - other["y"])
            assert distance == pytest.approx(SPLIT_UM, abs=0.01)
            assert before[turn.cell]["phase"] == Phase.ANAPHASE
            assert one["mother"] == other["mother"] == turn.cell
            # They leave in opposite directions.
            assert np.cos(one["axis"] - other["axis"]) == pytest.approx(-1.0)
    assert seen > 5


def test_mitosis_condenses_light_and_halves_it() -> None:
    specimen = grown(QUICK, 200.0)
    light: dict[int, list[float]] = {}
    brightness = {phase: [] for phase in Phase}
    for _ in range(100):
        specimen.advance(1.2)
        table = lobes(specimen.cells, QUICK.nucleus_um)
        area = np.pi * table[:, COLUMN["long"]] * table[:, COLUMN["short"]]
        level = table[:, COLUMN["light"]] / area
        for phase in Phase:
            brightness[phase].extend(level[table[:, COLUMN["phase"]] == phase])
        for row in table[table[:, COLUMN["phase"]] == Phase.TELOPHASE]:
            light.setdefault(int(row[COLUMN["mother"]]), []).append(row[COLUMN["light"]])
        for row in table[table[:, COLUMN["phase"]] == Phase.ANAPHASE]:
            # One of the two plates of a mother: as much as a daughter.
            light.setdefault(int(row[COLUMN["cell"]]), []).append(row[COLUMN["light"]])
    shares = [values for values in light.values() if len(values) > 4]
    assert shares
    assert all(np.allclose(values, values[0], rtol=0.05) for values in shares)
    assert np.median(brightness[Phase.METAPHASE]) > 3 * np.median(brightness[Phase.INTERPHASE])


def test_cells_keep_their_distance_and_their_pace() -> None:
    specimen = grown(VirtualOptions(cells=100, fields=1, seed=1), 60.0)
    before = {int(c["id"]): (c["x"], c["y"]) for c in specimen.cells}
    specimen.advance(1.2)
    resting = specimen.cells[specimen.cells["phase"] == Phase.INTERPHASE]
    moved = [np.hypot(c["x"] - before[int(c["id"])][0], c["y"] - before[int(c["id"])][1]) for c in resting]
    assert max(moved) < 1.3  # two pixels
    apart = np.hypot(resting["x"][:, None] - resting["x"], resting["y"][:, None] - resting["y"])
    np.fill_diagonal(apart, np.inf)
    assert np.percentile(apart.min(axis=1), 5) > 8.0


def test_a_dish_fills_up_and_rests() -> None:
    options = VirtualOptions(cells=10, fields=1, size_px=(256, 256), cycle_min=130.0, deaths_per_day=0.0, seed=2)
    specimen = grown(options, 1300.0)
    full = len(specimen.cells)
    specimen.advance(260.0)
    # Ten and two cycles: without crowding 10000 cells, then four times as many.
    assert 50 < full < 200
    assert len(specimen.cells) < 1.3 * full


def test_light_bleaches_only_what_it_falls_on() -> None:
    specimen = Specimen(QUICK)
    lit = specimen.cells["x"] > 0
    specimen.bleach(QUICK.bleach_s, lit)
    assert specimen.cells["left"][lit] == pytest.approx(np.exp(-1.0), rel=0.01)
    assert (specimen.cells["left"][~lit] > 0.99).all()
