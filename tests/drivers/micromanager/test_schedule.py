"""The schedule: the order and the times of a plan, and the promises that nothing asked beside it can break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.micromanager.plan_clock import Pace
from drivers.micromanager.schedule import Part, Schedule, Turn

Parts = Sequence[Part[str]]


def single(name: str) -> Callable[[int], Parts]:
    return lambda t: [Part((int(name),), (f"{name}.{t}",))]


def plan(count: int, now_ns: int = 0, one_by_one: bool = False, **pace: Any) -> Schedule[str]:
    patterns = {p: single(str(p)) for p in range(count)}
    return Schedule(Pace(**pace), patterns, now_ns, one_by_one=one_by_one)


def shots(*names: str, after_ns: Sequence[int] | None = None) -> list[Part[str]]:
    return [Part((), (name,), after) for name, after in zip(names, after_ns or [0] * len(names), strict=True)]


def run(schedule: Schedule[str], until_ns: int, lasts_ns: int = 1, now_ns: int = 0) -> list[tuple[int, str]]:
    """Take what is due until then; each part lasts ``lasts_ns``."""
    taken = []
    while now_ns <= until_ns:
        turn = schedule.take(now_ns)
        if turn is not None:
            taken.append((now_ns, turn.items[0]))
            now_ns += lasts_ns
            continue
        wait_ns = schedule.wait_ns(now_ns)
        if wait_ns is None:
            break
        now_ns += max(wait_ns, 1)
    return taken


def test_a_plan_on_time_takes_its_positions_in_order_at_each_time_point() -> None:
    schedule = plan(2, interval_ns=10, ticks=3)
    assert run(schedule, 100) == [(0, "0.0"), (1, "1.0"), (10, "0.1"), (11, "1.1"), (20, "0.2"), (21, "1.2")]
    assert schedule.complete
    assert schedule.wait_ns(50) is None


def test_phases_of_a_time_plan_follow_each_other() -> None:
    schedule = plan(1, times_ns=(0, 5, 10, 40, 70), ticks=5)
    assert [at for at, _ in run(schedule, 100)] == [0, 5, 10, 40, 70]


def test_parts_that_are_due_together_go_in_the_order_of_the_axes() -> None:
    def pattern(p: int) -> Callable[[int], Parts]:
        return lambda t: [Part((c, p), (f"c{c} p{p} t{t}",)) for c in range(2)]

    schedule = Schedule(Pace(interval_ns=10, ticks=1), {0: pattern(0), 1: pattern(1)}, 0)
    assert [name for _, name in run(schedule, 20)] == ["c0 p0 t0", "c0 p1 t0", "c1 p0 t0", "c1 p1 t0"]


def test_one_by_one_the_course_of_a_position_ends_before_the_next_begins() -> None:
    schedule = plan(2, one_by_one=True, interval_ns=10, ticks=3)
    taken = run(schedule, 100)
    assert [name for _, name in taken] == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert [at for at, _ in taken[3:]] == [21, 31, 41]
    assert schedule.complete


def test_a_fast_position_takes_more_and_the_plan_ends_when_it_was_planned_to() -> None:
    schedule = plan(2, interval_ns=100, ticks=3)
    assert run(schedule, 20) == [(0, "0.0"), (1, "1.0")]
    assert schedule.set_interval(20, 25, position=1) == 20
    fast = run(schedule, 150, now_ns=25)
    assert [at for at, name in fast if name[0] == "1"] == [25, 45, 65, 85, 105, 125, 145]
    assert [at for at, name in fast if name[0] == "0"] == [100]
    assert schedule.set_interval(None, 151, position=1) == 100
    # Back on the plan, its numbers go on; the fast visits took none of the plan's time points.
    assert run(schedule, 1000, now_ns=151) == [(200, "0.2"), (201, "1.8")]
    assert schedule.complete


def test_a_plan_of_which_nobody_is_left_on_the_clock_ends_too() -> None:
    schedule = plan(1, interval_ns=100, ticks=3)
    schedule.set_interval(30, 0, position=0)
    taken = run(schedule, 10_000)
    assert [at for at, _ in taken] == [0, 30, 60, 90, 120, 150, 180]
    assert schedule.complete


def test_an_interval_counts_from_the_time_point_that_began_last() -> None:
    schedule = plan(1, interval_ns=100)
    run(schedule, 10)
    assert schedule.set_interval(30, 10) == 30
    assert [at for at, _ in run(schedule, 70, now_ns=10)] == [30, 60]
    assert schedule.set_interval(None, 75) == 100
    assert [at for at, _ in run(schedule, 300, now_ns=75)] == [160, 260]


def test_a_late_plan_slips_and_leaves_nothing_out() -> None:
    schedule = plan(1, interval_ns=10, ticks=4)
    turns = [schedule.take(now) for now in (0, 35, 36, 46)]
    assert [(turn.t, turn.due_ns) for turn in turns if turn] == [(0, 0), (1, 10), (2, 36), (3, 46)]


def test_a_pause_is_not_caught_up_with() -> None:
    schedule = plan(1, interval_ns=10)
    run(schedule, 15)
    schedule.resume(500)
    assert [at for at, _ in run(schedule, 525, now_ns=500)] == [500, 510, 520]


def test_positions_come_go_and_come_back_with_their_own_numbers() -> None:
    schedule = plan(2, interval_ns=10, ticks=6)
    run(schedule, 5)
    schedule.drop(0)
    schedule.add(2, single("2"), 5)
    assert schedule.positions == (1, 2)
    assert [name for _, name in run(schedule, 15, now_ns=6)] == ["1.1", "2.0"]
    schedule.add(0, single("0"), 16)
    assert [name for _, name in run(schedule, 25, now_ns=16)] == ["0.1", "1.2", "2.1"]


def test_a_visit_that_has_begun_is_finished_when_its_position_is_dropped() -> None:
    schedule = Schedule(Pace(10), {p: lambda t, p=p: [Part((c, p), (f"{p}{c}",)) for c in (0, 1)] for p in (0, 1)}, 0)
    assert [schedule.take(n).items for n in range(2)] == [("00",), ("10",)]  # type: ignore[union-attr]
    schedule.drop(0)
    assert schedule.positions == (1,)
    assert [name for _, name in run(schedule, 15, now_ns=2)] == ["01", "11", "10", "11"]


def test_a_visit_that_has_begun_is_broken_off_where_that_is_asked() -> None:
    schedule = Schedule(Pace(10), {p: lambda t, p=p: [Part((c, p), (f"{p}{c}",)) for c in (0, 1)] for p in (0, 1)}, 0)
    assert [schedule.take(n).items for n in range(2)] == [("00",), ("10",)]  # type: ignore[union-attr]
    schedule.drop(0, at_once=True)
    assert schedule.positions == (1,)
    assert [name for _, name in run(schedule, 15, now_ns=2)] == ["11", "10", "11"]


def test_visits_in_which_nothing_is_taken_pass() -> None:
    schedule = Schedule(Pace(10, 5), {0: lambda t: [] if t % 2 else [Part((0,), (f"{t}",))]}, 0)
    assert run(schedule, 100) == [(0, "0"), (20, "2"), (40, "4")]
    assert schedule.complete


def test_inserted_work_fills_the_time_between_visits_and_takes_turns_with_those_that_are_due() -> None:
    schedule = plan(1, interval_ns=10, ticks=3)
    schedule.insert("a", shots(*"abcdefgh"))
    assert [name for _, name in run(schedule, 100, lasts_ns=4)] == ["a", "0.0", "b", "0.1", "c", "0.2", *"defgh"]
    assert schedule.complete


def test_an_inserted_sequence_keeps_its_own_times_and_can_be_taken_back() -> None:
    schedule = plan(1, interval_ns=1000)
    run(schedule, 1)
    schedule.insert("a", shots(*"abc", after_ns=(0, 50, 100)))
    assert run(schedule, 60, now_ns=10) == [(10, "a"), (60, "b")]
    assert schedule.jobs == {"a": 1}
    assert schedule.cancel("a") == 1
    assert schedule.cancel("a") == 0
    assert run(schedule, 500, now_ns=61) == []


@dataclass
class World:
    """Random durations and commands around a schedule, and the promises checked at every part that is taken."""

    lengths: dict[int, list[int]]
    inserted: int
    schedule: Schedule[str]
    pattern: Callable[[int], Callable[[int], Parts]]
    now_ns: int = 0
    over_ns: dict[int, int] = field(default_factory=dict)
    begun: list[tuple[int, int]] = field(default_factory=list)
    worst: list[tuple[int, int]] = field(default_factory=list)

    def take(self) -> None:
        turn = self.schedule.take(self.now_ns)
        if turn is None:
            wait_ns = self.schedule.wait_ns(self.now_ns)
            self.now_ns += 1 if wait_ns is None else max(wait_ns, 1)
            return
        if turn.job:
            self.now_ns += self.inserted
        else:
            self._visit(turn)

    def _visit(self, turn: Turn[str]) -> None:
        p, part = turn.position, int(turn.items[0])
        assert p is not None
        if part == 0:
            since_ns = max(turn.due_ns, self.over_ns.get(p, 0))
            assert since_ns <= self.now_ns
            others = [q for q, at_ns in self.begun if q != p and since_ns < at_ns]
            assert len(others) == len(set(others)), "another position began two visits meanwhile"
            self.worst.append((self.now_ns - since_ns, self.bound_ns()))
            self.begun.append((p, self.now_ns))
        self.over_ns[p] = self.now_ns + 1
        self.now_ns += self.lengths[p][part]

    def bound_ns(self) -> int:
        visits = [sum(parts) for parts in self.lengths.values()]
        longest, count = max(visits), len(visits)
        most = max(len(parts) for parts in self.lengths.values())
        return max(longest, self.inserted) + (count - 1) * longest + count * most * self.inserted + 2 * count


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, list[tuple[str, int, int]]]:
    count = draw(st.integers(1, 4))
    part = st.integers(1, 30)
    lengths = {p: draw(st.lists(part, min_size=1, max_size=3)) for p in range(count)}
    by_channel = draw(st.booleans())

    def pattern(p: int) -> Callable[[int], Parts]:
        order = (lambda k: (k, p)) if by_channel else (lambda k: (p, k))
        return lambda t: [Part(order(k), (str(k),)) for k in range(len(lengths[p]))]

    pace = Pace(draw(st.integers(0, 60)), draw(st.none() | st.integers(1, 30)))
    schedule = Schedule(pace, {p: pattern(p) for p in range(count)}, 0, one_by_one=draw(st.booleans()))
    kinds = st.sampled_from(["take"] * 6 + ["insert", "own", "plan", "back", "drop", "add", "cancel", "rest"])
    steps = draw(st.lists(st.tuples(kinds, st.integers(0, 3), st.integers(0, 50)), min_size=20, max_size=120))
    return World(lengths, draw(st.integers(1, 40)), schedule, pattern), steps


@given(worlds())
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_asked_beside_the_plan_starves_a_position(
    drawn: tuple[World, list[tuple[str, int, int]]],
) -> None:
    world, steps = drawn
    schedule = world.schedule
    for number, (kind, position, amount) in enumerate(steps):
        position %= len(world.lengths)
        visited = schedule.positions
        match kind:
            case "insert":
                schedule.insert(f"job {number}", shots(*"x" * (amount % 7 + 1)))
            case "own" | "back" if position in visited:
                schedule.set_interval(amount if kind == "own" else None, world.now_ns, position)
            case "plan":
                schedule.set_interval(amount or None, world.now_ns)
            case "drop" if position in visited and len(visited) > 1:
                schedule.drop(position)
            case "add" if position not in visited:
                schedule.add(position, world.pattern(position), world.now_ns)
            case "cancel":
                for job in list(schedule.jobs)[:1]:
                    schedule.cancel(job)
            case "rest":
                world.now_ns += amount * 10
                schedule.resume(world.now_ns)
            case _:
                world.take()
    for late_ns, bound_ns in world.worst:
        assert late_ns <= bound_ns


@pytest.mark.parametrize(("positions", "load"), list(product((1, 3), (0, 1, 50))))
def test_a_plan_without_pause_shares_the_rig_with_what_is_asked_beside_it(positions: int, load: int) -> None:
    schedule = plan(positions, interval_ns=0)
    schedule.insert("a", shots(*["x"] * load))
    taken = [name for _, name in run(schedule, 200)]
    inserted = [place for place, name in enumerate(taken) if name == "x"]
    assert inserted == list(range(0, 2 * load, 2))
    visits = [name for name in taken if name != "x"]
    assert [name[0] for name in visits] == [str(n % positions) for n in range(len(visits))]
