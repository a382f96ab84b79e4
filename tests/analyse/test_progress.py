"""What the rig is told of how far the analysis has come."""

from __future__ import annotations

from typing import Literal

import pytest

from stream.analyse.progress import Progress
from tests.cases.hand_analysis import frame

Step = tuple[Literal["received", "decided", "failed"], int, str]

A, B = "c:p0", "c:p1"


def steps(*said: tuple[str, str]) -> list[Step]:
    """Frames in the order in which they were taken: their fields, and how they ended."""
    words: dict[str, Literal["received", "decided", "failed"]] = {"+": "decided", "-": "failed"}
    return [step for n, (field, end) in enumerate(said) for step in (("received", n, field), (words[end], n, field))]


CASES: dict[str, tuple[list[Step], int | None]] = {
    "nothing yet": ([], None),
    "a channel that nobody waits for": ([*steps((A, "+")), ("received", 1, A)], 1),
    "all is decided": (steps((A, "+"), (A, "+")), 1),
    "every frame fails": (steps((A, "-"), (A, "-"), (A, "-")), None),
    "frames fail from the third on": (steps((A, "+"), (A, "+"), (A, "-"), (A, "-")), 1),
    "more frames are received in vain": ([*steps((A, "+"), (A, "-"), (A, "-")), ("received", 3, A)], 0),
    "a single frame fails": (steps((A, "+"), (A, "-")), 1),
    "single frames fail now and then": (steps((A, "-"), (A, "+"), (A, "-"), (A, "+"), (A, "-")), 4),
    "two fail, and the next is decided": (steps((A, "+"), (A, "-"), (A, "-"), (A, "+")), 3),
    "single frames of two fields fail": (steps((A, "+"), (B, "+"), (A, "-"), (B, "-")), 3),
    "one field fails, the other does once": (steps((A, "+"), (B, "+"), (A, "-"), (A, "-"), (B, "-")), 1),
    "a later decision covers another field": (steps((A, "+"), (B, "-"), (A, "+")), 2),
}


@pytest.mark.parametrize(("said", "settled"), CASES.values(), ids=CASES)
def test_up_to_which_frame_everything_is_settled(said: list[Step], settled: int | None) -> None:
    progress = Progress()
    for word, number, field in said:
        getattr(progress, word)(frame(number, field=field).ref)
    ref, in_flight = progress.settled(lambda: 0)
    assert (ref and ref.frame, in_flight) == (settled, 0)


def test_once_a_frame_is_settled_there_is_always_one() -> None:
    """A frame that calls for no decision comes first: none at all would be what an analysis says that has begun."""
    progress = Progress()
    progress.received(frame(0).ref)
    assert progress.settled(lambda: 0) == (frame(0).ref, 0)
    progress.received(frame(1).ref)
    assert progress.settled(lambda: 1) == (frame(0).ref, 1)
    progress.failed(frame(1).ref)
    assert progress.settled(lambda: 0) == (frame(0).ref, 0)


def test_what_is_on_its_way_is_not_settled() -> None:
    progress = Progress()
    for word, number, field in [*steps((A, "+")), ("received", 1, A)]:
        getattr(progress, word)(frame(number, field=field).ref)
    assert progress.settled(lambda: 1) == (frame(0).ref, 1)


def test_a_frame_that_comes_while_they_are_counted_is_not_settled() -> None:
    progress = Progress()

    def count() -> int:
        progress.received(frame(0).ref)
        return 0

    assert progress.settled(count) == (None, 0)
