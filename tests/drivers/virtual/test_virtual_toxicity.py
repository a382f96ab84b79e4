"""Light harms by its dose, and only where it falls; what it does not touch lives on as it would have."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.virtual.annals import Annals
from drivers.virtual.cycle import Phase
from drivers.virtual.labels import scene_of
from drivers.virtual.microscope import Microscope, View
from drivers.virtual.options import VirtualOptions
from drivers.virtual.specimen import Specimen
from drivers.virtual.turns import Turn

VIEW = View((0.0, 0.0, 0.0), (0, 0, 256, 256), 1, 20.0, 100.0, 0.5, "nuclei", "16bit")
QUICK = VirtualOptions(cells=25, fields=3, size_px=(256, 256), cycle_min=400.0, deaths_per_day=0.5, seed=3)
TOXIC = QUICK.model_copy(update={"toxic_slow_s": 0.5, "toxic_lethal_s": 1.0})


def lit_life(options: VirtualOptions, light_s: float, reach_um: float = np.inf) -> tuple[Specimen, list[Turn]]:
    """Six hours, a flash of ``light_s`` in the middle of the dish every 1.2 minutes."""
    specimen, turns = Specimen(options), []
    for _ in range(300):
        specimen.advance(1.2)
        turns += specimen.take_turns()
        specimen.burden(light_s, np.hypot(specimen.cells["x"], specimen.cells["y"]) < reach_um)
    return specimen, turns


def divisions(turns: list[Turn]) -> dict[str, Turn]:
    return {turn.lineage: turn for turn in turns if turn.kind == "divided"}


def test_what_light_does_not_reach_divides_at_the_same_time_in_every_run() -> None:
    sparse = TOXIC.model_copy(update={"cells": 15})
    _, dark = lit_life(sparse, 0.0)
    _, lit = lit_life(sparse, 0.02, reach_um=120.0)
    assert any(turn.cause == "light" for turn in lit)
    ones, others = divisions(dark), divisions(lit)
    spared = [name for name, turn in others.items() if turn.dose_s == 0.0]
    assert len(spared) > 40
    late_min = np.array([abs(ones[name].minute - others[name].minute) for name in spared])
    # Neighbours of the dead have more room, and may be a step earlier for it.
    assert (late_min == 0.0).mean() > 0.95
    assert late_min.max() < 3.0


def test_light_slows_the_cycle_and_the_motion() -> None:
    slow = QUICK.model_copy(update={"toxic_slow_s": 0.5, "deaths_per_day": 0.0})
    dark, in_dark = lit_life(slow, 0.0)
    lit, in_light = lit_life(slow, 0.02)
    assert len(divisions(in_light)) < 0.6 * len(divisions(in_dark))
    assert len(lit.cells) < len(dark.cells)
    resting = lit.cells["phase"] == Phase.INTERPHASE
    before = lit.cells["x"][resting].copy()
    lit.burden(1e6, np.ones(len(lit.cells), bool))
    lit.cells["phase"][:] = Phase.INTERPHASE
    lit.advance(0.3)
    pushed = np.abs(lit.cells["x"][resting] - before)
    assert np.median(pushed) < 0.01


def test_a_lethal_dose_kills_each_cell_at_its_own() -> None:
    specimen, turns = lit_life(TOXIC.model_copy(update={"deaths_per_day": 0.0, "toxic_slow_s": None}), 0.005)
    killed = [turn for turn in turns if turn.kind == "dying"]
    assert len(killed) > 50
    assert {turn.cause for turn in killed} == {"light"}
    doses = np.log([turn.dose_s for turn in killed])
    assert np.exp(np.median(doses)) == pytest.approx(1.0, rel=0.1)
    assert 0.1 < doses.std() < 0.3
    assert len(specimen.cells) < 3 * len(killed)


def test_an_empty_dish_is_still_a_dish(tmp_path: Path) -> None:
    options = TOXIC.model_copy(update={"cells": 2, "fields": 1, "toxic_lethal_s": 0.001})
    microscope, annals = Microscope(options, tells=True), Annals(tmp_path, options)
    view = replace(VIEW, period_ms=5_000.0)
    for _ in range(20):
        shot = microscope.expose(view)
        annals.exposed(shot)
        microscope.pass_by(view)
    annals.close()
    assert shot.cells is not None
    assert len(shot.cells) == 0
    assert not scene_of(shot, 0).lobes.size
    assert shot.pixels.mean() > 100.0


def test_by_default_light_harms_nobody() -> None:
    _, dark = lit_life(QUICK, 0.0)
    _, lit = lit_life(QUICK, 10.0)
    assert [(t.minute, t.kind, t.lineage) for t in dark] == [(t.minute, t.kind, t.lineage) for t in lit]


@pytest.mark.parametrize(
    ("channel", "power", "dose_s"), [("nuclei", 0.5, 0.01), ("cytoplasm", 1.0, 0.02), ("phase", 1.0, 0.0)]
)
def test_a_frame_gives_its_dose_to_the_lit_field_alone(channel: str, power: float, dose_s: float) -> None:
    microscope = Microscope(QUICK)
    view = replace(VIEW, power=power, channel=channel)
    microscope.expose(view)
    cells = microscope.specimen.cells
    half_um = 128 * QUICK.pixel_um
    inside = (np.abs(cells["x"]) < half_um - 1) & (np.abs(cells["y"]) < half_um - 1)
    outside = (np.abs(cells["x"]) > half_um + 40) | (np.abs(cells["y"]) > half_um + 40)
    microscope.pass_by(view)
    microscope.rest()
    cells = microscope.specimen.cells
    assert cells["dose_s"][: len(inside)][inside] == pytest.approx(dose_s)
    assert (cells["dose_s"][: len(outside)][outside] == 0.0).all()


@pytest.mark.parametrize(("held_open", "dose_s"), [(False, 0.01), (True, 0.05 + 0.5)], ids=["triggered", "open"])
def test_an_open_shutter_lights_all_the_time(held_open: bool, dose_s: float) -> None:
    microscope = Microscope(QUICK)
    view = replace(VIEW, held_open=held_open)
    microscope.expose(view)
    microscope.pass_by(view)
    microscope.idle(1000.0, view)
    microscope.rest()
    assert microscope.specimen.cells["dose_s"].max() == pytest.approx(dose_s)


def test_daughters_inherit_the_dose() -> None:
    specimen = Specimen(QUICK)
    specimen.burden(0.25, np.ones(len(specimen.cells), bool))
    specimen.advance(60.0)
    daughters = specimen.cells[specimen.cells["born_min"] > 0]
    assert len(daughters)
    assert (daughters["dose_s"] == 0.25).all()
