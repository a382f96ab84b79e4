"""MDA mode: what comes next, and when. Pure: no core, no clock of its own, so that its promises can be proven.

The base plan is a *clock* of time points. At each of them every position has a *visit*: the parts that the protocol
lays out for it. A position may leave the clock for a schedule of its own (feedback watches a mitosis there) and come
back; the clock goes on meanwhile, so the plan ends when it was planned to end. Work that a command inserts waits in
the order of its arrival.

The rules
---------
1. Of the visits that are due, the one due longest goes first; visits due together go in the protocol's axis order.
   A part that has begun is not interrupted.
2. A position's next visit counts as due only after the last part of the one before has begun. Thus, while a visit
   waits, every other position gets at most the rest of a visit or a whole one, never two.
3. Inserted work is taken while no visit is due, and otherwise at most one shot of it after each part of the plan.
4. A time point that begins more than a whole interval late moves the following ones: the plan slips, it is never
   hurried, and no time point is left out. By how much each event is late is told with the event.

What follows from them: with N positions whose visits have at most m parts and last at most V, and inserted shots that
last at most L, a visit begins at most ``max(V, L) + (N - 1) V + N m L`` after it was due and the last one was over,
however much is asked beside the plan. And an inserted shot that is due waits for at most one part of the plan, when it
is the only job. ``tests/drivers/micromanager/test_schedule.py`` proves both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from drivers.micromanager.plan_clock import Pace, PlanClock

Item = TypeVar("Item")
Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part(Generic[Item]):
    """Items that are taken without anything between them; ``order`` is their place among parts that are due together.

    ``after_ns`` is when an inserted part is due, counted from the beginning of its job; parts of visits leave it 0.
    """

    order: Order
    items: tuple[Item, ...]
    after_ns: int = 0


Pattern = Callable[[int], Sequence[Part[Item]]]
"""The parts of a position's visit number t, in their order."""


@dataclass(frozen=True, slots=True)
class Turn(Generic[Item]):
    """A part whose turn has come: of the visit ``t`` at a position, or of an inserted job."""

    items: tuple[Item, ...]
    due_ns: int
    position: int | None = None
    t: int = 0
    job: str = ""


@dataclass(slots=True)
class _Place(Generic[Item]):
    """A position: the next visit's number ``t``; ``tick``, the time point that it is for; on the plan ``since_ns``."""

    pattern: Pattern[Item]
    tick: int
    since_ns: int
    t: int = 0
    own_ns: int | None = None
    own_due_ns: int = 0
    begun_ns: int | None = None
    ready_ns: int = 0
    parts: deque[Part[Item]] = field(default_factory=deque)
    visit: tuple[int, int] = (0, 0)
    key_ns: int = 0
    leaving: bool = False


@dataclass(slots=True)
class _Job(Generic[Item]):
    parts: deque[Part[Item]]
    begun_ns: int | None = None

    def due_ns(self, now_ns: int) -> int:
        return (now_ns if self.begun_ns is None else self.begun_ns) + self.parts[0].after_ns


class Schedule(Generic[Item]):
    """Which part is taken next.

    Parameters
    ----------
    pace
        The plan's time points.
    patterns
        By position.
    one_by_one
        Whether the protocol takes the whole course of a position before it goes to the next.

    Examples
    --------
    >>> pattern = lambda t: [Part((0,), (f"visit {t}",))]
    >>> schedule = Schedule(Pace(interval_ns=10, ticks=2), {0: pattern}, now_ns=0)
    >>> schedule.take(0).items, schedule.wait_ns(4)
    (('visit 0',), 6)
    >>> schedule.insert("burst", [Part((), ("shot",))])
    >>> schedule.take(4).items, schedule.take(11).due_ns, schedule.complete
    (('shot',), 10, True)
    """

    def __init__(
        self, pace: Pace, patterns: Mapping[int, Pattern[Item]], now_ns: int, *, one_by_one: bool = False
    ) -> None:
        self._clock = PlanClock(pace, now_ns)
        self._one_by_one = one_by_one
        self._places: dict[int, _Place[Item]] = {}
        self._later: dict[int, _Place[Item]] = {}
        self._left: dict[int, _Place[Item]] = {}
        self._jobs: dict[str, _Job[Item]] = {}
        self._plan_had_its_turn = True
        for position, pattern in patterns.items():
            self.add(position, pattern, now_ns)

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions that are visited, those included that wait for the course of another to end."""
        return tuple(sorted(p for p, place in (*self._places.items(), *self._later.items()) if not place.leaving))

    @property
    def jobs(self) -> Mapping[str, int]:
        """How many parts each inserted job still has."""
        return {job_id: len(job.parts) for job_id, job in self._jobs.items()}

    @property
    def complete(self) -> bool:
        """Whether nothing will ever be due again."""
        return not (self._jobs or self._later) and all(self._is_done(place) for place in self._places.values())

    def wait_ns(self, now_ns: int) -> int | None:
        """Return how long until something is due; None: not before a command changes something."""
        self._pass_by(now_ns)
        dues = [due_ns for due_ns, _, _ in self._visits()]
        dues += [job.due_ns(now_ns) for job in self._jobs.values()]
        return max(0, min(dues) - now_ns) if dues else None

    def take(self, now_ns: int) -> Turn[Item] | None:
        """Return the part whose turn it is; None: nothing is due."""
        self._pass_by(now_ns)
        visits = [visit for visit in self._visits() if visit[0] <= now_ns]
        job_id = next((job_id for job_id, job in self._jobs.items() if job.due_ns(now_ns) <= now_ns), None)
        if job_id is not None and (self._plan_had_its_turn or not visits):
            self._plan_had_its_turn = False
            return self._take_job(job_id, now_ns)
        if not visits:
            return None
        self._plan_had_its_turn = True
        return self._take_visit(min(visits)[2], now_ns)

    def more(self, turn: Turn[Item], now_ns: int) -> Turn[Item] | None:
        """Return the visit that the plan has follow at once at the same position, where nothing else waits."""
        place = self._places.get(turn.position) if turn.position is not None else None
        if place is None or place.parts or place.own_ns is not None or self._jobs or not self._clock.bursts:
            return None
        others = [due_ns for due_ns, _, position in self._visits() if position != turn.position]
        return None if min(others, default=now_ns + 2) <= now_ns + 1 else self.take(now_ns + 1)

    def set_interval(self, interval_ns: int | None, now_ns: int, position: int | None = None) -> int:
        """Change the plan's interval, or one position's; None: as planned. Returns the interval that holds now."""
        if position is None:
            self._clock.set_step(interval_ns, now_ns)
            return self._clock.step_ns
        place = self._places.get(position) or self._later[position]
        if interval_ns is None and place.own_ns is not None:
            place.tick, place.since_ns = self._clock.newest, now_ns
        elif interval_ns is not None:
            place.own_due_ns = now_ns if place.begun_ns is None else max(place.begun_ns + interval_ns, now_ns)
        place.own_ns = interval_ns
        return self._clock.step_ns if interval_ns is None else interval_ns

    def interval_ns(self, position: int | None = None) -> int:
        """Return the interval that holds for the plan or for a position."""
        place = self._places.get(position) if position is not None else None
        return place.own_ns if place is not None and place.own_ns is not None else self._clock.step_ns

    def add(self, position: int, pattern: Pattern[Item], now_ns: int) -> None:
        """Visit a position from the next time point on; one that was dropped goes on with its own count of visits."""
        staying = self._places.get(position)
        if staying is not None and staying.leaving:
            staying.leaving, staying.pattern = False, pattern
            staying.tick, staying.since_ns = self._clock.newest, now_ns
            return
        before = self._left.pop(position, None)
        t, ready_ns = (before.t, before.ready_ns) if before is not None else (0, 0)
        place = _Place(pattern, self._clock.newest, now_ns, t=t, own_due_ns=now_ns, ready_ns=ready_ns)
        if self._one_by_one and self._places:
            self._later[position] = place
        else:
            self._places[position] = place

    def drop(self, position: int, *, at_once: bool = False) -> None:
        """Visit a position no more; a visit that has begun is finished, unless ``at_once``."""
        if position in self._later:
            self._left[position] = self._later.pop(position)
        else:
            self._places[position].leaving = True
            if at_once:
                self._places[position].parts.clear()
            self._remove_if_left(position)

    def insert(self, job_id: str, parts: Iterable[Part[Item]]) -> None:
        """Take these parts beside the plan."""
        waiting = deque(parts)
        if waiting:
            self._jobs[job_id] = _Job(waiting)

    def cancel(self, job_id: str) -> int:
        """Take no more of a job; returns how many parts were left."""
        job = self._jobs.pop(job_id, None)
        return len(job.parts) if job is not None else 0

    def resume(self, now_ns: int) -> None:
        """Catch up with nothing that a pause left out."""
        self._clock.resume(now_ns)
        for place in self._places.values():
            place.own_due_ns = max(place.own_due_ns, now_ns)

    def _visits(self) -> Iterator[tuple[int, Order, int]]:
        """Yield, for each position that will be visited, when, its place among visits due together, and its number."""
        for position, place in self._places.items():
            if place.parts:
                yield place.key_ns, place.parts[0].order, position
            elif not place.leaving and not self._is_done(place):
                parts = self._lay_out(place)
                yield max(self._due_ns(place), place.ready_ns), parts[0].order if parts else (), position

    def _lay_out(self, place: _Place[Item]) -> Sequence[Part[Item]]:
        return place.pattern(place.t)

    def _due_ns(self, place: _Place[Item]) -> int:
        planned_ns = place.own_due_ns if place.own_ns is not None else self._clock.due_ns(place.tick)
        return max(planned_ns, place.since_ns)

    def _is_done(self, place: _Place[Item]) -> bool:
        if place.parts:
            return False
        past = self._clock.over if place.own_ns is not None else self._clock.over and place.tick >= self._clock.newest
        return place.leaving or past

    def _take_visit(self, position: int, now_ns: int) -> Turn[Item]:
        place = self._places[position]
        if not place.parts:
            self._begin_visit(place, now_ns)
        part = place.parts.popleft()
        place.ready_ns = now_ns + 1
        t, due_ns = place.visit
        self._remove_if_left(position)
        return Turn(part.items, due_ns, position, t)

    def _begin_visit(self, place: _Place[Item], now_ns: int) -> None:
        due_ns = self._due_ns(place)
        place.parts.extend(self._lay_out(place))
        place.visit, place.key_ns = (place.t, due_ns), max(due_ns, place.ready_ns)
        place.begun_ns, place.ready_ns = due_ns, now_ns + 1
        place.t += 1
        if place.own_ns is not None:
            place.own_due_ns = max(due_ns + place.own_ns, now_ns + 1)
        else:
            self._clock.begin(place.tick, now_ns)
            place.tick += 1
            self._clock.forget_before(min(place.tick for place in self._places.values() if place.own_ns is None))

    def _take_job(self, job_id: str, now_ns: int) -> Turn[Item]:
        job = self._jobs[job_id]
        due_ns = job.due_ns(now_ns)
        if job.begun_ns is None:
            job.begun_ns = now_ns
        part = job.parts.popleft()
        if not job.parts:
            del self._jobs[job_id]
        return Turn(part.items, due_ns, job=job_id)

    def _pass_by(self, now_ns: int) -> None:
        """Keep the plan's clock going while nobody is on it, and skip visits in which nothing is taken."""
        if self._places and all(place.own_ns is not None or place.leaving for place in self._places.values()):
            self._clock.pass_by(now_ns)
        self._next_course(now_ns)
        for place in self._places.values():
            while not place.parts and not self._is_done(place) and not self._lay_out(place):
                if self._due_ns(place) > now_ns:
                    break
                self._begin_visit(place, now_ns)

    def _remove_if_left(self, position: int) -> None:
        place = self._places[position]
        if place.leaving and not place.parts:
            self._left[position] = self._places.pop(position)

    def _next_course(self, now_ns: int) -> None:
        """One by one: go to the next position when the course of this one is over."""
        if self._later and all(self._is_done(place) for place in self._places.values()):
            self._left |= self._places
            self._places.clear()
            position, place = next(iter(self._later.items()))
            del self._later[position]
            self._clock.restart(now_ns)
            place.tick, place.since_ns, place.own_due_ns = 0, now_ns, now_ns
            self._places[position] = place
