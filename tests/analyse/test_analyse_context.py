"""What policies learn about an event beyond its record, and for whom a command is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from stream.analyse.chain import Decision
from stream.analyse.commander import Commander
from stream.analyse.context import Contexts
from stream.ancestry import Ancestry, grow
from stream.cells import STATES, Segmentation, make_cells
from stream.command import Acquire, Command, Pause, Recentre, SetInterval
from stream.event import TICK, Event, Status, event_id
from stream.frame import Frame, Index
from stream.lineage import Tracks
from stream.stages import Moment, Wish
from tests.cases import family


def decision(number: int, ids: Sequence[int], parents: Sequence[int], states: Sequence[Sequence[float]]) -> Decision:
    """A frame of 100 x 200 px of 0.5 µm with cells side by side; cell i has 10 i mean counts."""
    n = len(ids)
    frame = Frame(
        "r", "Camera", "s", 0, number, "Camera:p1", number, np.zeros((100, 200), np.uint16), index=Index(p=1),
        affine_um=((0.5, 0.0), (0.0, 0.5)), stage_um=(10.0, 20.0, 0.0), exposure_ms=25.0,
    )  # fmt: skip
    label = np.array(ids, np.int32)
    centres = np.array([(50.0, 10.0 * i) for i in ids], np.float32).reshape(n, 2)
    cells = make_cells(
        label, centres, np.zeros((n, 4), np.int32), np.ones(n, np.float32), np.array(ids, np.float32)[:, None] * 10,
        state_prob=np.array(states, np.float32).reshape(n, len(STATES)),
    )  # fmt: skip
    tracks = Tracks(
        np.array(ids, np.int64), np.array(parents, np.int64), np.zeros(n, np.int64), np.full(n, number, np.int64),
        np.zeros(n, np.int8), label.copy(), np.zeros((n, 2)), np.zeros((n, 2)),
    )  # fmt: skip
    moment = Moment(frame, elapsed_s=float(number))
    return Decision(moment, Segmentation(np.zeros((100, 200), np.int32), cells), tracks, ())


def division(parent: int, daughters: tuple[int, ...]) -> Event:
    name = event_id("Camera:p1", 1, "division", parent)
    return Event(
        "division", name, 0, "provisional", "Camera:p1", 1, 1, 0.9, parent, daughters, (0.0, 0.0), ((1.0, 1.0),) * 2
    )


CALM, BEFORE, AFTER = (0.9, 0.05, 0.05, np.nan), (0.0, 0.7, 0.4, np.nan), (0.1, 0.3, 0.8, np.nan)


def test_a_division_knows_its_daughters_depth_and_age() -> None:
    contexts = Contexts()
    contexts.see(decision(0, [1, 2], [0, 0], [CALM, CALM]))
    contexts.see(decision(3, [2, 3, 4], [0, 1, 1], [CALM, AFTER, BEFORE]))
    last = decision(5, [2, 5, 6], [0, 3, 3], [CALM, AFTER, CALM])
    contexts.see(last)
    known = contexts.of(division(3, (5, 6)), last)
    assert (known.generation, known.age_s, known.exposed_ms) == (1, 2.0, 75.0)
    assert known.mean_counts == (55.0,)
    assert known.states[:3] == pytest.approx((0.9, 0.3, 0.8))
    assert np.isnan(known.states[3])
    assert known.in_state == (2, 0, 1, 0)
    assert known.dividing == 1
    assert known.cells_yx_px == ((50.0, 50.0), (50.0, 60.0))
    assert known.area_mm2 == pytest.approx(100 * 200 * 0.25e-6)


def test_daughters_keep_their_places_where_one_is_hidden() -> None:
    contexts, last = Contexts(), decision(0, [2, 6], [0, 3], [CALM, CALM])
    contexts.see(last)
    seen = {
        (5, 6): (None, (50.0, 60.0)),
        (6, 5): ((50.0, 60.0), None),
        (7, 8): (None, None),
    }
    for daughters, places in seen.items():
        assert contexts.of(division(3, daughters), last).cells_yx_px == places
    assert contexts.of(division(2, ()), last).cells_yx_px == ((50.0, 20.0),)
    assert contexts.of(division(3, ()), last).cells_yx_px == (None,)


def test_what_awaits_another_word_is_counted_by_kind_after_all_that_a_frame_says() -> None:
    contexts = Contexts()
    first, second = division(1, (3, 4)), division(2, (5, 6))
    warned = replace(division(7, ()), kind="mitosis", event_id=event_id("Camera:p1", 1, "mitosis", 7))
    known: list[tuple[int, int, int | None]] = []
    for number, events in enumerate(
        [
            (first, warned),
            (replace(first, status="confirmed", revision=1), second),
            (replace(second, status="retracted", revision=1),),
        ]
    ):
        seen = replace(shown(number, {1: 0, 2: 0}), events=events)
        if number == 2:  # an analysis that was started again goes on counting
            again = Contexts()
            again.load("Camera:p1", msgpack.unpackb(msgpack.packb(contexts.save("Camera:p1"))))
            contexts = again
        contexts.see(seen)
        clock = contexts.tick(seen).context
        known.append((*(contexts.of(one, seen).pending for one in (first, warned)), clock and clock.pending))
    assert known == [(1, 1, 2), (1, 1, 2), (0, 1, 1)]


def test_a_long_night_of_families_keeps_depth_and_not_the_dead() -> None:
    contexts, last = Contexts(), decision(0, [1], [0], [CALM])
    contexts.see(last)
    for number in range(1, 1200):  # one daughter after the other: each track lasts one frame
        last = decision(number, [number + 1], [number], [CALM])
        contexts.see(last)
    assert contexts.of(division(1200, ()), last).generation == 1199
    (family,) = contexts._families.values()
    assert len(family.lives) < 600


def shown(number: int, born_of: dict[int, int], *taken_back: tuple[int, tuple[int, ...]]) -> Decision:
    """A frame with tracks and their parents, after which divisions are taken back."""
    seen = decision(number, list(born_of), list(born_of.values()), [CALM] * len(born_of))
    return replace(seen, events=tuple(said("retracted", *division) for division in taken_back))


def said(status: Status, parent: int, daughters: tuple[int, ...]) -> Event:
    return replace(division(parent, daughters), status=status)


def stands(contexts: Contexts, after: Decision, *track_ids: int) -> list[tuple[int, float]]:
    """Return depth and age of tracks."""
    known = [contexts.of(division(one, ()), after) for one in track_ids]
    return [(one.generation, one.age_s) for one in known]


FIRST, SECOND = (1, (3, 4)), (3, (5, 6))
GROWN = [
    shown(0, {1: 0, 2: 0}),
    shown(1, {2: 0, 3: 1, 4: 1}),
    shown(2, {2: 0, 4: 1, 5: 3, 6: 3}),
    shown(3, {2: 0, 4: 1, 5: 3, 6: 3}),
]
TAKEN_BACK = {
    "none": ((), [(0, 6.0), (1, 5.0), (2, 4.0), (2, 4.0)]),
    "the first: her daughters are one generation up": ((FIRST,), [(0, 6.0), (0, 5.0), (1, 4.0), (1, 4.0)]),
    "the second": ((SECOND,), [(0, 6.0), (1, 5.0), (1, 5.0), (0, 4.0)]),
    "both: one cell all the time": ((FIRST, SECOND), [(0, 6.0), (0, 5.0), (0, 6.0), (0, 4.0)]),
}


@pytest.mark.parametrize("name", TAKEN_BACK)
def test_a_division_that_was_taken_back_counts_no_more(name: str) -> None:
    taken, wanted = TAKEN_BACK[name]
    for order in itertools.permutations(taken):
        contexts = Contexts()
        for seen in GROWN:
            contexts.see(seen)
        for number, one in enumerate(order, 4):
            contexts.see(shown(number, {2: 0, 4: 1, 5: 3, 6: 3}, one))
        last = shown(6, {2: 0, 4: 1, 5: 3, 6: 3})
        contexts.see(last)
        assert stands(contexts, last, 2, 4, 5, 6) == wanted


def test_who_is_born_after_a_division_was_taken_back_counts_from_what_is_left() -> None:
    contexts = Contexts()
    for seen in (*GROWN[:2], shown(2, {2: 0, 3: 1, 4: 1}, FIRST)):
        contexts.see(seen)
    last = shown(3, {2: 0, 5: 3, 6: 3, 7: 4, 8: 4})
    contexts.see(last)
    assert stands(contexts, last, 3, 4, 5, 7) == [(0, 3.0), (0, 2.0), (1, 0.0), (1, 0.0)]


@pytest.mark.parametrize("status", ["provisional", "confirmed"])
def test_a_division_counts_while_it_is_not_taken_back(status: Status) -> None:
    contexts, last = Contexts(), replace(GROWN[1], events=(said(status, *FIRST),))
    contexts.see(GROWN[0])
    contexts.see(last)
    assert stands(contexts, last, 3, 4) == [(1, 0.0), (1, 0.0)]


def test_of_a_mother_that_was_never_seen_all_daughters_are_founders() -> None:
    contexts, last = Contexts(), shown(2, {3: 1, 4: 1}, FIRST, (8, (9, 10)), (11, ()))
    contexts.see(GROWN[1])
    assert stands(contexts, GROWN[1], 3, 4) == [(1, 0.0), (1, 0.0)]
    contexts.see(last)
    assert stands(contexts, last, 3, 4) == [(0, 1.0), (0, 1.0)]


def test_a_mother_that_goes_on_is_not_forgotten() -> None:
    contexts, last = Contexts(), shown(900, {3: 1})
    for seen in (*GROWN[:2], shown(2, {3: 1, 4: 1}, FIRST), *(shown(number, {3: 1}) for number in range(3, 900)), last):
        contexts.see(seen)
    assert stands(contexts, last, 3) == [(0, 900.0)]
    (kept,) = contexts._families.values()
    assert set(kept.lives) == {1, 3}


def test_depth_and_age_are_those_of_the_ancestry() -> None:
    contexts, ancestry, compared = Contexts(), Ancestry(family.FIELD), 0
    for one in family.movie():
        after = Decision(Moment(one.frame, elapsed_s=one.elapsed_s), one.segmentation, one.tracks, one.events)
        contexts.see(after)
        ancestry.step(one.frame.frame, one.tracks, one.segmentation.cells, one.elapsed_s, one.events)
        tree = grow(ancestry.history())
        for track_id in one.segmentation.cells.label.tolist():
            life = tree.lives[tree.cell_of[track_id]]
            known = contexts.of(replace(division(track_id, ()), field=family.FIELD), after)
            assert (known.generation, known.age_s) == (life.generation, life.age_s), (one.frame.frame, track_id)
            compared += 1
    assert compared > 80
    assert any(event.status == "retracted" for event in family.said())


def test_the_clock_tells_where_everybody_is() -> None:
    contexts, seen = Contexts(), decision(0, [1, 2], [0, 0], [CALM, BEFORE])
    contexts.see(seen)
    one = contexts.tick(seen)
    assert (one.kind, one.field, one.cell_count, one.elapsed_s) == (TICK, "Camera:p1", 2, 0.0)
    assert one.context is not None
    assert (one.context.dividing, one.context.mean_counts) == (1, (15.0,))
    at = dict(one.context.places_um)
    assert at[2][0] - at[1][0] == pytest.approx(5.0)  # ten pixels
    assert one.position_um[1] == pytest.approx(at[1][1], abs=0.3)


def test_an_empty_field_has_a_context_too() -> None:
    contexts, seen = Contexts(), decision(0, [], [], [])
    contexts.see(seen)
    known = contexts.tick(seen).context
    assert known is not None
    assert (known.mean_counts, known.dividing, known.places_um) == ((), 0, ())


class _Wishing:
    """Policies that always wish for the same."""

    asks, on_frames = True, False

    def __init__(self, wish: Wish) -> None:
        self.wish = wish

    def offer(self, event: Event) -> list[tuple[str, Wish]]:
        return [("p", self.wish)]


class _Ledger:
    def sent(self, command: Command, policy: str = "") -> None:
        """Keep nothing."""


SEQUENCE = Acquire.model_validate({"sequence": {"z_plan": {"range": 2, "step": 1}}})
PLACES = {
    "a schedule is the plan's": (Wish(SetInterval(interval_ms=1)), None),
    "unless it is the event's": (Wish(SetInterval(interval_ms=1), position="event"), 1),
    "a place is the event's": (Wish(Recentre(target_um=(0, 0))), 1),
    "a sequence, too": (Wish(SEQUENCE), 1),
    "a pause is everybody's": (Wish(Pause()), None),
    "another position": (Wish(SEQUENCE, position=4), 4),
    "none in particular": (Wish(SEQUENCE, position="all"), None),
}


@pytest.mark.parametrize(("wish", "position"), PLACES.values(), ids=PLACES)
def test_a_command_is_for_the_position_that_its_wish_means(wish: Wish, position: int | None) -> None:
    sent: list[Command] = []
    frame = decision(0, [1], [0], [CALM]).moment.frame
    Commander(_Wishing(wish), _Ledger(), sent.append, 500.0).act_on([division(1, (2, 3))], frame)
    assert [(command.target.camera, command.target.position) for command in sent] == [("Camera", position)]
    assert replace(frame, commands=()).ref == sent[0].cause.frame
