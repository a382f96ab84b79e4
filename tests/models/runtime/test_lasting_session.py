"""A session outlives its failures, but not for ever."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.runtime.lasting import REOPENED, LastingSession
from models.runtime.session import Floats, Session
from stream.errors import RuntimeUnavailable, StageError

SHAPES = {"picture": (1, 4)}
PICTURE = np.ones((1, 4), np.float32)


class Fake:
    """Doubles a picture until it is told to fail; of no use after that, as a session on a GPU is."""

    precision = "fp16"

    def __init__(self, number: int) -> None:
        self.runtime, self.reason = "trial", f"opening {number}"
        self.fails = self.broken = False
        self.closed = 0

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        if self.broken or self.closed:
            raise StageError("of no use any more")
        if any(one.shape != (1, 4) or not np.isfinite(one).all() for one in inputs):
            raise StageError("the input breaks the rules")
        if self.fails:
            self.broken = True
            raise StageError("the output is not finite")
        return tuple(2 * one for one in inputs)

    def close(self) -> None:
        self.closed += 1


class Opened:
    """Opens fakes, and keeps them."""

    def __init__(self) -> None:
        self.all: list[Fake] = []
        self.refuses = 0
        self.new_ones_fail = False

    def __call__(self) -> Session:
        if self.refuses:
            self.refuses -= 1
            raise RuntimeUnavailable("the driver is gone")
        self.all.append(Fake(len(self.all) + 1))
        self.all[-1].fails = self.new_ones_fail
        return self.all[-1]


@pytest.fixture
def opened() -> Opened:
    return Opened()


def test_after_a_failed_run_it_is_closed_and_opened_anew_at_the_next_frame(opened: Opened) -> None:
    session = LastingSession(opened, SHAPES)
    opened.all[0].fails = True
    with pytest.raises(StageError, match="not finite"):
        session.run(PICTURE)
    assert [one.closed for one in opened.all] == [1], "closed at once, opened when it is wanted"
    assert (session.run(PICTURE)[0] == 2).all()
    assert [one.closed for one in opened.all] == [1, 0]
    assert session.reason == "opening 2"


BAD: dict[str, Callable[[], Floats]] = {
    "NaN": lambda: PICTURE * np.float32(np.nan),
    "another shape": lambda: np.ones((1, 5), np.float32),
}


@pytest.mark.parametrize("case", BAD)
def test_an_input_that_breaks_the_rules_changes_nothing(opened: Opened, case: str) -> None:
    session = LastingSession(opened, SHAPES)
    for _ in range(2 * REOPENED):
        with pytest.raises(StageError, match="breaks the rules"):
            session.run(BAD[case]())
    assert (session.run(PICTURE)[0] == 2).all()
    assert len(opened.all) == 1


@pytest.mark.parametrize("how", ["runs fail", "openings fail"])
def test_what_fails_each_time_is_given_up_and_says_so(opened: Opened, how: str) -> None:
    session = LastingSession(opened, SHAPES)
    opened.all[0].fails = opened.new_ones_fail = True
    opened.refuses = REOPENED if how == "openings fail" else 0
    for _ in range(1 + REOPENED):
        with pytest.raises(StageError, match=r"not finite|driver is gone"):
            session.run(PICTURE)
    last = "driver is gone" if how == "openings fail" else "not finite"
    for _ in range(2):
        with pytest.raises(
            StageError, match=rf"trial \(fp16\) failed each time .* 3 times in a row, .*{last}.* choose"
        ):
            session.run(PICTURE)
    assert len(opened.all) == 1 + (REOPENED if how == "runs fail" else 0)
    assert all(one.closed for one in opened.all)


def test_only_failures_in_a_row_count(opened: Opened) -> None:
    session = LastingSession(opened, SHAPES)
    for _ in range(3 * REOPENED):
        opened.all[-1].fails = True
        with pytest.raises(StageError, match="not finite"):
            session.run(PICTURE)
        assert (session.run(PICTURE)[0] == 2).all()


def test_what_was_closed_is_not_opened_again(opened: Opened) -> None:
    session = LastingSession(opened, SHAPES)
    session.close()
    session.close()
    with pytest.raises(StageError, match="trial: the session was closed"):
        session.run(PICTURE)
    assert [one.closed for one in opened.all] == [1]
