"""The light ledger: units, what counts, what it refuses, and that it never understates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from useq import MDASequence

from stream.acquire.budget import Caps, Level
from stream.acquire.dose import DoseLedger
from stream.acquire.outline import outline
from stream.clock import wall_ns
from stream.command import Acquire, Action, Cause, Command, SetExposure, SetInterval, SetLight, Stimulate
from stream.facts.rig import Dose
from stream.frame import Frame, Stamps
from stream.safety import DoseSettings

FIELD = "c:p0"
MASK = (((0, 0), (0, 2), (2, 2)),)


def frame(n: int = 0, exposure_ms: float = 10.0, popped_ms: float = 0.0, **more: Any) -> Frame:
    stamps = Stamps(t_pop_ns=round(popped_ms * 1e6))
    made = Frame("r", "c", "s", 0, n, FIELD, n, np.zeros((2, 2), np.uint8), exposure_ms=exposure_ms, stamps=stamps)
    return replace(made, **more)


def command(action: Action, name: str = "x", origin: str = "policy") -> Command:
    return Command(command_id=name, action=action, cause=Cause(origin=origin), issued_wall_ns=wall_ns())


def ledger(power: float | None = 0.5, spent_ms: float = 0.0, stays_open: bool = False, **dose: Any) -> DoseLedger:
    before = {FIELD: Dose(0, 0.0, spent_ms, 0.0, None)} if spent_ms else {}
    return DoseLedger(DoseSettings(**dose), before, power, stays_open=stays_open)


def spent_s(dose: DoseLedger) -> float:
    return float(dose.told()["fields"][FIELD]["full_power_s"])


def test_joules_per_square_centimetre() -> None:
    """20 mW/mm² at half power for 1 s are 10 mJ/mm², which is 1 J/cm²."""
    dose = ledger(mw_per_mm2=20.0, photons_per_s_um2=1e9)
    dose.took(frame(exposure_ms=1000))
    told = dose.told()
    assert told["unit"] == "J/cm2"
    assert told["fields"][FIELD]["j_per_cm2"] == pytest.approx(1.0)
    assert told["fields"][FIELD]["photons_per_um2"] == pytest.approx(5e8)


def test_a_budget_in_joules_is_one_in_seconds_at_full_power() -> None:
    """1 J/cm² at 20 mW/mm² (2 W/cm²) is half a second."""
    assert ledger(mw_per_mm2=20.0, budget_j_per_cm2=1.0).told()["budget_full_power_s"] == pytest.approx(0.5)
    both = ledger(mw_per_mm2=20.0, budget_j_per_cm2=1.0, budget_full_power_s=0.2)
    assert both.told()["budget_full_power_s"] == pytest.approx(0.2), "the one that is reached first holds"


def test_without_calibration_it_says_so() -> None:
    told = ledger().told()
    assert told["unit"] == "unit not calibrated: s at full power"


def test_light_of_unknown_power_counts_as_full() -> None:
    dose = ledger(power=None)
    assert dose.took(frame()).power is None
    assert spent_s(dose) == pytest.approx(0.010)


def test_a_change_holds_from_the_frame_that_shows_it() -> None:
    """Frames on their way when the light was lowered had the brighter light; so had those before it was raised."""
    dose = ledger(power=0.8)
    low = command(SetLight(power=0.2), "low")
    dose.asked(low)
    dose.answered(low, {"power": 0.2})
    assert dose.took(frame(0)).power == 0.8
    assert dose.took(frame(1, commands=("low",))).power == 0.2
    high = command(SetLight(power=0.9), "high")
    dose.asked(high)
    assert dose.took(frame(2)).power == 0.2
    assert dose.took(frame(3, commands=("high",))).power == 0.9, "also when the frame is faster than the answer"
    dose.answered(high, {"power": 0.9})
    assert dose.took(frame(4)).power == 0.9


def test_a_dark_frame_costs_nothing_and_a_failed_light_is_unknown() -> None:
    dose = ledger()
    off = command(SetLight(on=False), "off")
    dose.asked(off)
    dose.answered(off, {"on": False})
    assert dose.took(frame(0, commands=("off",))).power == 0.0
    torn = command(SetLight(on=True, power=0.1), "torn")
    dose.asked(torn)
    dose.answered(torn, None)
    assert dose.took(frame(1)).power is None
    refused = command(SetLight(power=0.1), "refused")
    dose.asked(refused)
    dose.refused(refused)
    assert dose.took(frame(2)).power is None


def test_an_open_shutter_lights_between_frames_too() -> None:
    dose = ledger(stays_open=True)
    dose.opened(0)
    dose.took(frame(0, popped_ms=100))
    assert dose.took(frame(1, popped_ms=200)).between_ms == pytest.approx(45.0)  # 90 ms at half power
    assert spent_s(dose) == pytest.approx(0.100)
    burnt = dose.burns(round(300e6))
    assert burnt is not None
    assert burnt.cost_ms == pytest.approx(50.0)
    dose.took(frame(2, popped_ms=400))
    assert spent_s(dose) == pytest.approx(0.200), "what was counted while no frame came is not counted again"
    dose.burns(round(500e6), closing=True)
    dose.took(frame(3, popped_ms=500))
    assert dose.burns(round(900e6)) is None
    assert spent_s(dose) == pytest.approx(0.255)


def test_an_open_shutter_counts_lost_frames_by_time_alone() -> None:
    dose = ledger(stays_open=True)
    dose.opened(0)
    dose.took(frame(0, popped_ms=100))
    assert dose.missed(FIELD, 50).cost_ms == 0.0
    dose.took(frame(1, popped_ms=200))
    assert spent_s(dose) == pytest.approx(0.100)
    dose.missed("c:p1", 1)
    assert dose.told()["fields"]["c:p1"]["full_power_s"] == 0.0, "nobody knows how it would have been exposed"


def test_lost_frames_of_a_sequence_cost_what_was_promised_to_it() -> None:
    dose = ledger(power=1.0, budget_full_power_s=1.0)
    dose.took(frame(exposure_ms=10))
    first = stack(6, 100)
    dose.asked(command(first, "first"), FIELD, outline(first.sequence, (0, 0, 0), 10.0, 100))
    assert dose.missed(f"{FIELD}/first", 6).cost_ms == pytest.approx(600)
    assert refuses(dose, stack(1, 50)) is None, "nothing is promised any more"


def test_levels_are_reached_once_and_light_for_closing_is_kept_back() -> None:
    dose = ledger(power=1.0, warn_full_power_s=0.02, throttle_full_power_s=0.05, budget_full_power_s=0.1)
    reached = [dose.took(frame(n)).reached for n in range(10)]
    assert [level for level in reached if level is not None] == [Level.WARN, Level.THROTTLE, Level.SPENT]
    assert reached.index(Level.SPENT) == 7, "two more frames fit"


def test_the_sum_goes_on_after_a_restart() -> None:
    dose = ledger(spent_ms=95.0, budget_full_power_s=0.1)
    assert dose.spent_fields() == []
    assert dose.took(frame()).reached is Level.SPENT
    assert ledger(spent_ms=101.0, budget_full_power_s=0.1).spent_fields() == [FIELD]


def test_what_is_spent_stays_dark() -> None:
    """Also a light so faint that the next frames would fit."""
    dose = ledger(power=1.0, budget_full_power_s=0.1)
    while dose.took(frame()).reached is not Level.SPENT:
        pass
    off = command(SetLight(on=False), "off", "rig")
    assert refuses(dose, SetLight(on=False), origin="rig") is None
    dose.asked(off)
    dose.answered(off, {"on": False})
    dose.took(frame(commands=("off",)))
    assert "of its budget" in str(refuses(dose, SetLight(on=True, power=0.001), origin="operator"))
    assert refuses(dose, SetLight(power=0.001), origin="operator") is None, "it is off"
    assert refuses(dose, SetExposure(exposure_ms=5000), origin="operator") is None, "it is dark"


def test_a_light_that_opens_by_itself_is_closed_again() -> None:
    dose = ledger(power=1.0, budget_full_power_s=0.1)
    reached = [dose.took(frame()).reached for _ in range(80)]
    assert reached.count(Level.SPENT) == 3


def stack(frames: int, exposure_ms: float) -> Acquire:
    plan = {"interval": 0, "loops": frames}
    return Acquire(sequence=MDASequence(time_plan=plan, channels=[{"config": "A", "exposure": exposure_ms}]))


def refuses(dose: DoseLedger, action: Action, name: str = "x", origin: str = "policy") -> str | None:
    asked = command(action, name, origin)
    plan = outline(action.sequence, (0, 0, 0), 10.0, 1000) if isinstance(action, Acquire) else None
    return dose.refuses(asked, FIELD, 0, plan)


def test_what_would_exceed_the_budget_is_refused_whoever_asks() -> None:
    dose = ledger(power=0.5, budget_full_power_s=1.0)
    dose.took(frame(exposure_ms=100))
    for origin in ("policy", "operator"):
        assert refuses(dose, stack(10, 100), origin=origin) is None
        assert "of the budget" in str(refuses(dose, stack(20, 100), origin=origin))
        assert refuses(dose, Stimulate(mask_yx_px=MASK, duration_ms=700), origin=origin) is None
        assert "of the budget" in str(refuses(dose, Stimulate(mask_yx_px=MASK, duration_ms=900), origin=origin))
        assert "of its budget" in str(refuses(dose, SetExposure(exposure_ms=2000), origin=origin))
        assert refuses(dose, SetLight(on=False), origin=origin) is None


def test_what_is_promised_to_a_sequence_is_not_promised_again() -> None:
    dose = ledger(power=1.0, budget_full_power_s=1.0)
    dose.took(frame(exposure_ms=10))
    first = stack(6, 100)
    dose.asked(command(first, "first"), FIELD, outline(first.sequence, (0, 0, 0), 10.0, 100))
    assert "of the budget" in str(refuses(dose, stack(4, 100)))
    for n in range(6):  # its frames pay for it
        dose.took(frame(n, exposure_ms=100, field=f"{FIELD}/first"))
    assert refuses(dose, stack(1, 50)) is None
    second = command(stack(1, 50), "second")
    dose.asked(second, FIELD, outline(stack(1, 50).sequence, (0, 0, 0), 10.0, 100))
    dose.ended("second", False, 0)
    assert refuses(dose, stack(1, 50)) is None


def test_the_light_closes_early_enough_for_a_burst_that_the_hardware_has_begun() -> None:
    dose = ledger(power=1.0, budget_full_power_s=1.0)
    dose.took(frame(exposure_ms=10))
    burst = stack(10, 50)
    dose.asked(command(burst, "burst"), FIELD, outline(burst.sequence, (0, 0, 0), 10.0, 100))
    assert dose.took(frame(exposure_ms=300)).reached is None, "a burst that waits can still be taken in the dark"
    assert dose.took(frame(exposure_ms=50, field=f"{FIELD}/burst")).reached is None
    assert dose.took(frame(exposure_ms=200)).reached is Level.SPENT, "nine frames of 50 ms are still to come"


CAPPED = {
    "a shorter interval": SetInterval(interval_ms=100),
    "the plan's interval": SetInterval(),
    "more light": SetLight(power=0.5),
    "a longer exposure": SetExposure(exposure_ms=20),
}


@pytest.mark.parametrize("case", CAPPED)
def test_feedback_may_not_undo_the_sparing_of_light_and_an_operator_may(case: str) -> None:
    dose = ledger()
    dose.caps = Caps(interval_ms=200.0, exposure_ms=10.0, power=0.25)
    assert "spares the light" in str(refuses(dose, CAPPED[case]))
    assert refuses(dose, CAPPED[case], origin="operator") is None


def test_the_way_back_keeps_the_light_spared() -> None:
    dose = ledger()
    dose.caps = Caps(interval_ms=200.0, exposure_ms=10.0, power=0.25)
    assert dose.tempered(SetInterval(interval_ms=100)) == SetInterval(interval_ms=200)
    assert dose.tempered(SetLight(power=0.5, on=True)) == SetLight(power=0.25, on=True)
    assert dose.tempered(SetExposure(exposure_ms=5)) == SetExposure(exposure_ms=5)
