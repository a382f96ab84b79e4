"""Which frames a field is written after, when writing takes its share of the time at most."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from stream.analyse.afford import Affordable

SHARE = 0.01


def play(cost_s: Callable[[int], float], interval_s: Callable[[int], float], frames: int) -> list[int]:
    """Return the frames after which a field was written."""
    affordable, now_s, written = Affordable(SHARE), 0.0, []
    for number in range(frames):
        if affordable.ask("c:p0", round(now_s * 1e9)):
            affordable.spent("c:p0", cost_s(number))
            written.append(number)
        now_s += interval_s(number)
    return written


def test_what_fits_is_written_after_every_frame() -> None:
    assert play(lambda n: 0.004, lambda n: 0.41, 50) == list(range(50))


def test_a_slow_write_among_fast_ones_costs_nothing() -> None:
    assert play(lambda n: 0.015 if n == 20 else 0.001, lambda n: 0.41, 50) == list(range(50))


def test_a_slow_first_write_costs_a_few_frames_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert play(lambda n: 0.004 if n else 0.02, lambda n: 0.6, 50) == [0, *range(4, 50)]
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "c:p0: writing its state takes 20 ms, its frames come every 600 ms: kept no more for now",
        "c:p0: its state is kept again",
    ]


def test_what_does_not_fit_is_tried_ever_more_rarely_and_never_takes_more_than_its_share(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames, cost_s, interval_s = 100_000, 0.004, 0.033
    written = play(lambda n: cost_s, lambda n: interval_s, frames)
    assert len(written) < 100
    gaps = [later - earlier for earlier, later in pairwise(written)]
    assert gaps == sorted(gaps)
    assert gaps[0] * interval_s * SHARE >= cost_s
    assert gaps[-1] * interval_s < 120, "it is tried every few minutes at least"
    assert len(caplog.records) == 1


def test_a_plan_that_becomes_slow_is_written_again() -> None:
    written = play(lambda n: 0.004, lambda n: 0.033 if n < 1000 else 1.0, 1010)
    assert written[-9:] == list(range(1001, 1010))


def test_fields_have_times_of_their_own() -> None:
    affordable = Affordable(SHARE)
    asked = []
    for step in range(40):
        for field, every in (("fast", 1), ("slow", 10)):
            if step % every == 0 and affordable.ask(field, step * 100_000_000):
                affordable.spent(field, 0.005)
                asked.append((field, step))
    assert [step for field, step in asked if field == "slow"] == [0, 10, 20, 30]
    assert [step for field, step in asked if field == "fast"] == [0, 5, 15, 35]


def test_no_share_is_never() -> None:
    assert not Affordable(0.0).ask("c:p0", 0)
