"""Policies that behave, raise, hang and talk nonsense, on their time budget."""

from __future__ import annotations

import subprocess
import sys
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from feedback_cases import event

from stream.command import Pause, Resume
from stream.errors import PolicyError
from stream.event import TICK, Context, Event
from stream.feedback.rules import RulesPolicy, RulesState
from stream.feedback.runner import PolicyRunner
from stream.metrics import REGISTRY
from stream.stages import Wish

LONG_MS = 30_000.0
SHORT_MS = 200.0


class Counting:
    """Wishes for a pause and counts in its state."""

    def start(self) -> int:
        return 0

    def decide(self, state: int, event: Event) -> tuple[int, Sequence[Wish]]:
        return state + 1, [Wish(Pause(), reason=str(state))]


class Failing(Counting):
    """Raises at its second event."""

    def decide(self, state: int, event: Event) -> tuple[int, Sequence[Wish]]:
        if event.revision == 1:
            raise ZeroDivisionError("no cells")
        return super().decide(state, event)


class Hanging(Counting):
    """Does not return from revision 1 until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.asked = 0

    def decide(self, state: int, event: Event) -> tuple[int, Sequence[Wish]]:
        self.asked += 1
        if event.revision == 1:
            assert self.let_go.wait(30)
        return super().decide(state, event)


class Saying(Counting):
    """Answers what it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def decide(self, state: int, event: Event) -> Any:
        return self.answer


def dropped(policy: str, reason: str) -> float:
    labels = {"policy": policy, "reason": reason}
    return REGISTRY.get_sample_value("cytoloop_policy_dropped_total", labels) or 0.0


def test_wishes_come_in_the_order_of_the_policies_with_their_names() -> None:
    runner = PolicyRunner([("a", Counting()), ("b", Saying((0, [Wish(Resume())])))], LONG_MS)
    assert [(name, wish.action.kind) for name, wish in runner.offer(event())] == [("a", "pause"), ("b", "resume")]
    assert [wish.reason for name, wish in runner.offer(event()) if name == "a"] == ["1"]  # the state went on
    runner.close()


class Clocked(Counting):
    """Asks for the clock."""

    on_frames = True


def test_the_clock_goes_only_to_those_who_asked_for_it() -> None:
    runner = PolicyRunner([("a", Counting()), ("b", Clocked())], LONG_MS)
    assert (runner.asks, runner.on_frames) == (True, True)
    assert [name for name, _ in runner.offer(event(kind=TICK))] == ["b"]
    assert [(name, wish.reason) for name, wish in runner.offer(event())] == [("a", "0"), ("b", "1")]
    runner.close()
    none = PolicyRunner([("a", Counting())], LONG_MS)
    assert (none.asks, none.on_frames) == (True, False)
    none.close()


def test_no_policies_wish_for_nothing() -> None:
    assert PolicyRunner([], LONG_MS).offer(event()) == []


def test_an_exception_costs_the_wish_and_leaves_the_state(caplog: pytest.LogCaptureFixture) -> None:
    before = dropped("failing", "exception")
    told: list[tuple[str, str, str]] = []
    runner = PolicyRunner(
        [("failing", Failing()), ("good", Counting())],
        LONG_MS,
        on_dropped=lambda name, reason, one: told.append((name, reason, one.event_id)),
    )
    runner.offer(event())
    assert [(name, wish.reason) for name, wish in runner.offer(event(revision=1))] == [("good", "1")]
    assert [(name, wish.reason) for name, wish in runner.offer(event())] == [("failing", "1"), ("good", "2")]
    assert dropped("failing", "exception") == before + 1
    assert runner.dropped == {("failing", "exception"): 1}
    assert told == [("failing", "exception", event().event_id)]
    assert "policy 'failing' raised ZeroDivisionError: no cells" in caplog.text
    runner.close()


NONSENSE = {
    "nothing": None,
    "no pair": [1, 2, 3],
    "a triple": (0, [], []),
    "one wish without a list": (0, Wish(Pause())),
    "no wishes at all": (0, None),
    "an action instead of a wish": (0, [Pause()]),
    "a wish for a word": (0, [Wish("pause")]),  # type: ignore[arg-type]
    "one good, one bad": (0, [Wish(Pause()), 3]),
    "an age below 0": (0, [Wish(Pause(), max_age_ms=-5)]),
    "an age that is no number": (0, [Wish(Pause(), max_age_ms=float("nan"))]),
    "a priority in words": (0, [Wish(Pause(), priority="high")]),  # type: ignore[arg-type]
    "a reason that is no text": (0, [Wish(Pause(), reason=3)]),  # type: ignore[arg-type]
    "a place that nobody knows": (0, [Wish(Pause(), position="everywhere")]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_dropped_whole(answer: Any) -> None:
    runner = PolicyRunner([("odd", Saying(answer))], LONG_MS)
    assert runner.offer(event()) == []
    assert runner.dropped == {("odd", "nonsense"): 1}
    runner.close()


def test_a_hanging_policy_is_left_alone_until_it_returns_and_its_late_answer_is_thrown_away() -> None:
    hanging = Hanging()
    runner = PolicyRunner([("hanging", hanging), ("good", Counting())], SHORT_MS)
    runner.offer(event())
    assert [name for name, _ in runner.offer(event(revision=1))] == ["good"]
    assert [name for name, _ in runner.offer(event())] == ["good"]
    assert hanging.asked == 2  # not asked while it hung
    assert runner.dropped == {("hanging", "overrun"): 1, ("hanging", "busy"): 1}
    late = runner._workers[0]._last
    assert late is not None
    hanging.let_go.set()
    assert late.done.wait(30)
    after = [(name, wish.reason) for name, wish in runner.offer(event()) if name == "hanging"]
    assert after == [("hanging", "1")]  # as if the late answer had never been
    runner.close()


class SlowRules(RulesPolicy):
    """Rules that do not return from revision 1 until they are let go."""

    let_go = threading.Event()

    def decide(self, state: RulesState, event: Event) -> tuple[RulesState, Sequence[Wish]]:
        if event.revision == 1:
            assert self.let_go.wait(30)
        return super().decide(state, event)


BACK = """
[[rule]]
name = "back"
on = ["mitosis.confirmed", "mitosis.retracted"]
pending = {max = 0}
do = [{kind = "pause"}]
"""


def test_a_last_word_that_rules_were_too_slow_for_does_not_count_as_pending() -> None:
    slow = SlowRules(RulesPolicy.from_data(tomllib.loads(BACK)).rules)
    runner = PolicyRunner([("slow", slow)], SHORT_MS)

    def offer(status: str, parent: int, pending: int, revision: int = 0) -> list[str]:
        now = Context(pending=pending)
        one = event(status, kind="mitosis", parent=parent, revision=revision, context=now)
        return [wish.reason for _, wish in runner.offer(one)]

    assert offer("provisional", parent=1, pending=1) == []
    assert offer("confirmed", parent=1, pending=0, revision=1) == []
    assert runner.dropped == {("slow", "overrun"): 1}
    late = runner._workers[0]._last
    assert late is not None
    slow.let_go.set()
    assert late.done.wait(30)
    assert offer("provisional", parent=2, pending=1) == []
    assert offer("retracted", parent=2, pending=0) == ["back"]
    runner.close()


def test_a_policy_that_cannot_start_is_refused() -> None:
    class Broken(Counting):
        def start(self) -> int:
            raise OSError("no such model")

    with pytest.raises(PolicyError, match=r"policy 'broken': start\(\) raised OSError: no such model"):
        PolicyRunner([("broken", Broken())], LONG_MS)


HANGS_FOR_EVER = """
import threading
from feedback_cases import event
from stream.feedback.runner import PolicyRunner

class Forever:
    def start(self): return None
    def decide(self, state, event): threading.Event().wait()

runner = PolicyRunner([("forever", Forever())], 50)
print(runner.offer(event()), runner.dropped)
runner.close()
"""


def test_a_policy_that_hangs_for_ever_does_not_hold_up_the_end_of_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS_FOR_EVER],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[] {('forever', 'overrun'): 1}\n"
