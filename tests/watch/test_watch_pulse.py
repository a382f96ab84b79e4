"""How often frames come, from a video to a time-lapse."""

from __future__ import annotations

import pytest

from stream.watch.pulse import Rate

# Times of frames, and now, in s; then the rate.
RATES = {
    "nothing": ([], 1.0, 0.0),
    "one frame": ([0.0], 1.0, 0.0),
    "a video": ([0.1 * n for n in range(50)], 5.0, 10.0),
    "every 3 s": ([3.0 * n for n in range(10)], 27.1, 1 / 3),
    "every 3 s, just before the next": ([3.0 * n for n in range(10)], 29.9, 1 / 3),
    "every 10 s": ([10.0 * n for n in range(10)], 99.0, 0.1),
    "every 5 min": ([300.0 * n for n in range(10)], 2999.0, 1 / 300),
    "silence after a video": ([0.1 * n for n in range(50)], 104.9, 0.02),
}


@pytest.mark.parametrize(("at_s", "now_s", "per_s"), RATES.values(), ids=RATES)
def test_a_rate_is_that_of_the_last_seconds_or_of_the_last_two_frames(
    at_s: list[float], now_s: float, per_s: float
) -> None:
    rate = Rate()
    for at in at_s:
        rate.add(round(at * 1e9))
    assert rate.per_s(round(now_s * 1e9)) == pytest.approx(per_s)
