"""How the page says what it knows: its own scripts, asked one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream.watch.chromium import Chromium
from stream.watch.server import Server
from stream.watch.state import LiveState


@pytest.fixture(scope="module")
def page(browser: Chromium) -> Iterator[Chromium]:
    served = Server(LiveState(), port=0)
    browser.open(f"http://127.0.0.1:{served.start()}/")
    yield browser
    served.stop()


@pytest.mark.parametrize(
    ("per_s", "said"),
    [
        ("null", ["–", "s"]),
        ("0", ["0.0", "s"]),
        ("48.2", ["48", "s"]),
        ("1.0", ["1.0", "s"]),
        ("0.1", ["6.0", "min"]),
        ("0.5", ["30", "min"]),
        ("1/300", ["0.20", "min"]),
    ],
)
def test_slow_frames_count_by_the_minute(page: Chromium, per_s: str, said: list[str]) -> None:
    assert page.evaluate(f"import('./words.js').then(({{ rate }}) => rate({per_s}))") == said


@pytest.mark.parametrize(("age_s", "warned"), [(20 * 60, False), (31 * 60, True)])
def test_a_frame_is_missed_when_the_plan_s_longest_interval_is_long_over(
    page: Chromium, age_s: int, warned: bool
) -> None:
    facts = f"{{frame_age_ms: {age_s * 1000}, status: {{interval_ms: 1000, longest_interval_ms: 600000}}}}"
    said = page.evaluate(f"import('./vitals.js').then(({{ trouble }}) => trouble({facts}, 0))")
    assert ((said or ["", ""])[1].startswith("No new frame")) is warned


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ("{}", "none announced, died or left"),
        ("{'exit.confirmed': 3, 'moved_off.confirmed': 249}", "3 left, 249 out of the picture since it moved"),
    ],
)
def test_cells_that_the_picture_moved_off_have_not_left(page: Chromium, counts: str, said: str) -> None:
    assert page.evaluate(f"import('./vitals.js').then(({{ otherCells }}) => otherCells({counts}))") == said
