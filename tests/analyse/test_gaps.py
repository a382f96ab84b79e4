"""What is lost inside the pipeline is missed by the next moment of its field, in every stage that did not see it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from stream.analyse.chain import Work
from stream.analyse.entrance import Entrance
from stream.analyse.pipeline import Drained, Pipeline
from stream.clock import FakeClock
from stream.config import ChainSettings
from stream.errors import StageError
from stream.stages import Moment
from tests.cases.hand_analysis import Blind, frame


def moment(number: int, missed: int = 0, field: str = "c:p0") -> Moment:
    return Moment(frame(number, field=field), missed=missed)


def drained(pipeline: Pipeline) -> None:
    pipeline.drain()
    while not isinstance(pipeline.next(10), Drained):
        pass


def out_of(entrance: Entrance) -> list[tuple[str, int, int]]:
    entrance.close()
    found = []
    while (one := entrance.take()) is not None:
        found.append((one.frame.field, one.frame.frame, one.missed))
    return found


def test_what_is_dropped_for_room_is_missed_by_the_next_of_its_field() -> None:
    entrance = Entrance(2, drops=True)
    shown = [moment(0), moment(0, field="c:p1"), moment(1), moment(3, missed=1), moment(1, field="c:p1"), moment(4)]
    dropped = [entrance.put(one) for one in shown]
    assert [one and (one.frame.field, one.frame.frame) for one in dropped] == [
        None, None, ("c:p0", 0), ("c:p1", 0), ("c:p0", 1), ("c:p0", 3)
    ]  # fmt: skip
    assert out_of(entrance) == [("c:p1", 1, 1), ("c:p0", 4, 4)]


def test_what_is_left_out_is_missed_by_the_next_and_not_by_those_that_wait() -> None:
    entrance = Entrance(4, drops=False)
    entrance.put(moment(0))
    for late in (moment(1), moment(3, missed=1)):
        entrance.leave_out(late)
    for one in (moment(0, field="c:p1"), moment(4), moment(5)):
        entrance.put(one)
    assert out_of(entrance) == [("c:p0", 0, 0), ("c:p1", 0, 0), ("c:p0", 4, 3), ("c:p0", 5, 0)]


def test_an_entrance_that_drops_nothing_waits_for_room() -> None:
    entrance = Entrance(1, drops=False)
    entrance.put(moment(0))
    putting = threading.Thread(target=entrance.put, args=(moment(1),))
    putting.start()
    taken = [entrance.take(), entrance.take()]
    assert [one and one.frame.frame for one in taken] == [0, 1]
    putting.join(10)
    assert out_of(entrance) == []


def test_frames_beyond_the_deadline_are_missed_by_the_next() -> None:
    clock, blind = FakeClock(), Blind()
    pipeline = Pipeline(ChainSettings(deadline_ms=100.0), lambda field: blind.as_chain(), clock)
    late_from, late_to = 3, 8
    for number in range(10):
        pop_ns = clock() - (500_000_000 if late_from <= number < late_to else 0)
        pipeline.submit(Moment(frame(number, t_pop_ns=pop_ns)))
    drained(pipeline)
    assert blind.seen == [(0, 0), (1, 0), (2, 0), (8, 5), (9, 0)]


FAILS = ("denoise", "segment", "divide")


@pytest.mark.parametrize("where", FAILS)
def test_a_frame_on_which_a_stage_failed_is_missed_there_and_after_it(where: str) -> None:
    seen: dict[str, list[tuple[int, int]]] = {name: [] for name in FAILS}

    def watched(name: str) -> Callable[[Work], None]:
        def stage(work: Work) -> None:
            number = work.moment.frame.frame
            if (name, number) in ((where, 1), (where, 2)):
                raise StageError("not this one")
            seen[name].append((number, work.moment.missed))

        return stage

    pipeline = Pipeline(ChainSettings(), lambda field: Blind(**{name: watched(name) for name in FAILS}).as_chain())
    for number in range(4):
        pipeline.submit(moment(number))
    drained(pipeline)
    assert [seen[name] for name in FAILS] == [_expected(name, where) for name in FAILS]


def _expected(stage: str, failing: str) -> Sequence[tuple[int, int]]:
    before = FAILS.index(stage) < FAILS.index(failing)
    return [(0, 0), (1, 0), (2, 0), (3, 0)] if before else [(0, 0), (3, 2)]
