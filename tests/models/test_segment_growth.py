"""The size of the cells is followed slowly, within limits, and announced before it changes."""

from __future__ import annotations

import numpy as np
import pytest

from models.segment.growth import AHEAD, ENOUGH, FARTHEST, FIRST, STEP, Growth


def _after(growth: Growth, told_px: float, sizes_px: list[float], cells: int = ENOUGH) -> list[float]:
    """Return the diameters told in turn, while cells of these sizes are seen."""
    told = []
    for size in sizes_px:
        told_px *= growth.due()
        growth.see(np.full(cells, np.pi / 4 * size**2, np.float32), told_px)
        told.append(told_px)
    return told


def test_a_change_is_announced_before_it_comes() -> None:
    growth = Growth()
    assert set(_after(growth, 20.0, [22.0] * (FIRST + 10))) == {20.0}, "how wide the network draws does not matter"
    announced = []
    for number in range(30):
        if growth.see(np.full(ENOUGH, np.pi / 4 * 20.0**2, np.float32), 20.0):
            announced.append(number)
            break
    waits = [growth.due() for _ in range(AHEAD)]
    assert announced
    assert waits[:-1] == [1.0] * (AHEAD - 1)
    assert waits[-1] == pytest.approx(np.exp(-STEP))


def test_what_cannot_be_a_cell_is_not_followed() -> None:
    sizes = [20.0] * (FIRST + 2) + [4.0] * 400
    told = _after(Growth(), 20.0, sizes)
    assert np.log(20.0 / min(told)) == pytest.approx(FARTHEST, abs=STEP)
    back = _after(growth := Growth(), 20.0, sizes + [20.0] * 400)
    assert back[-1] == pytest.approx(20.0, rel=1.5 * STEP)
    assert growth.wait == 0


def test_few_cells_say_nothing() -> None:
    assert set(_after(Growth(), 20.0, [20.0] * 10 + [10.0] * 50, ENOUGH - 1)) == {20.0}


def test_a_packed_state_is_the_same_again() -> None:
    sizes = [20.0 * 0.995**k for k in range(60)]
    growth = Growth()
    told = _after(growth, 20.0, sizes[:25])[-1]
    again = Growth(*growth.packed())
    assert _after(again, told, sizes[25:]) == _after(growth, told, sizes[25:])
    assert again == growth
