"""A page whose node is started again goes on with the totals and rows that it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.command import Ack, AckState, Command, SetExposure
from stream.event import Event, Status, event_id
from stream.facts import rig as rig_file
from stream.facts.analysis import AnalysisFacts
from stream.facts.rig import RigFacts
from stream.frame import Gap
from stream.watch import recall
from stream.watch.feed import Feed
from stream.watch.state import LiveState
from stream.wire.messages import EventsOf, Fact
from tests.cases import family

TOTALS = ("counts", "command_counts", "losses")


def an_exit(frame: int, reason: str = "", revision: int = 0, status: Status = "confirmed") -> Event:
    name = event_id(family.FIELD, frame, "exit", 7)
    return Event("exit", name, revision, status, family.FIELD, frame, frame, 1.0, 7, (), (0.0, 0.0), (), reason)


def moved_off(frame: int) -> list[Event]:
    """A cell that the picture moved off, known so by the first word alone."""
    return [an_exit(frame, "picture_moved", 0, "provisional"), an_exit(frame, "end_of_stream", 1)]


def a_division(revision: int, status: Status) -> Event:
    name, mother = event_id(family.FIELD, 21, "division", 9), (1.0, 1.0)
    emitted, spots = 21 + revision, ((1.0, 2.0), (3.0, 4.0))
    return Event("division", name, revision, status, family.FIELD, 21, emitted, 0.5, 9, (20, 21), mother, spots)


class Run:
    """A run whose page hears everything that is recorded."""

    def __init__(self, folder: Path) -> None:
        self.rig, self.analysis = RigFacts(folder), AnalysisFacts(folder)
        self.live = LiveState()
        self._feed = Feed(self.live)
        self._ref = next(family.movie()).frame.ref

    def event(self, event: Event) -> None:
        self.analysis.event(event)
        self._feed.take("analyse", EventsOf(self._ref, (event,)))

    def ask(self, name: str, *states: AckState) -> None:
        command = Command(command_id=name, action=SetExposure(exposure_ms=5.0), issued_wall_ns=1)
        self.rig.command(command)
        for state in states:
            ack = Ack(command_id=name, state=state, reason="as a test says", readback={"exposure_ms": 5.0})
            self.rig.transition(ack)
            said = {"fact": "ack", "command": command.model_dump(mode="json"), "ack": ack.model_dump(mode="json")}
            self._feed.take("acquire", Fact(self._ref, said))

    def lose(self, gap: Gap) -> None:
        self.rig.gap(gap)
        self._feed.take("acquire", gap)
        self.analysis.loss("wire", "deadline", 2)
        self._feed.take("analyse", Fact(self._ref, {"fact": "loss", "stage": "wire", "reason": "deadline", "count": 2}))

    def close(self) -> None:
        self.rig.close()
        self.analysis.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    for shown in family.movie():
        made.rig.frame(shown.frame)
    left = [*moved_off(400), *moved_off(401)[:1]]
    for event in (*family.said(), a_division(0, "provisional"), *map(an_exit, range(300)), *left):
        made.event(event)
    for n in range(120):
        made.ask(f"c{n}", AckState.ACCEPTED, *([AckState.APPLIED] if n else []))
    made.lose(Gap("Camera", family.FIELD, "s", 0, 3, 2, "dropped"))
    yield made
    made.close()


def again(folder: Path) -> LiveState:
    before = recall.read(folder)
    assert before is not None
    live = LiveState()
    live.take_up(before)
    return live


def by_id(rows: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """Return rows by their id, without what is counted or stamped anew."""
    anew = ("n", "change", "thumb", "wall_ms", "begun_wall_ms", "ack_wall_ms")
    return {row[name]: {key: value for key, value in row.items() if key not in anew} for row in rows}


def test_totals_and_rows_are_those_of_a_page_that_was_there_all_the_time(run: Run, tmp_path: Path) -> None:
    run.rig.flush()
    run.analysis.flush()
    facts, before = again(tmp_path).facts(), run.live.facts()
    assert before["losses"] == [["driver", "dropped", 2], ["wire", "deadline", 2]]
    for total in TOTALS:
        assert facts[total] == before[total]
    assert by_id(facts["events"], "event_id") == by_id(before["events"], "event_id")
    assert by_id(facts["commands"], "command_id") == by_id(before["commands"], "command_id")
    assert facts["commands"][0]["command_id"] == "c0", "it is not answered yet"


def test_what_was_open_is_closed_and_counted_once(run: Run, tmp_path: Path) -> None:
    run.rig.flush()
    run.analysis.flush()
    live = again(tmp_path)
    before = live.facts()["counts"]
    for event in (a_division(0, "provisional"), a_division(1, "confirmed"), *family.said(), *moved_off(401)):
        live.events([event])
    after = live.facts()["counts"]
    assert before.pop("division.provisional") == before.pop("moved_off.provisional") == 1
    assert after == before | {"division.confirmed": before["division.confirmed"] + 1, "moved_off.confirmed": 2}
    assert after["exit.confirmed"] == 300


def test_a_page_begins_where_there_are_no_facts_or_none_that_can_be_read(tmp_path: Path) -> None:
    assert recall.read(tmp_path) is None
    (tmp_path / rig_file.FILE).write_bytes(b"no database")
    assert recall.read(tmp_path) is None
