"""Families of a scripted movie: live, from facts, and after a restart they are the same, and they are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.ancestry import ROW, Ancestry, History, Life, Tree, Word, grow, told
from stream.cells import make_cells
from stream.event import Event, event_id
from stream.facts.lineage import fields, read_history, read_spots
from stream.lineage import Tracks
from tests.cases import family
from tests.cases.family import FIELD


def live(until: int = family.FRAMES[-1], before: Ancestry | None = None) -> Ancestry:
    ancestry = before or Ancestry(FIELD)
    done = ancestry.frame or 0
    for shown in family.movie():
        if done < shown.frame.frame <= until:
            ancestry.step(
                shown.frame.frame, shown.tracks, shown.segmentation.cells, shown.elapsed_s, events=shown.events
            )
    return ancestry


@pytest.fixture(scope="module")
def tree() -> Tree:
    return grow(live().history())


LIVES: dict[str, tuple[int, dict[str, Any]]] = {
    "seen from the start, divides": (
        1,
        {
            "parent_id": 0, "daughter_ids": (2, 3), "generation": 0, "began": "first_frame", "ended": "divided",
            "born": 10, "last": 12, "division_frame": 13, "age_frames": 3, "age_s": 6.0, "age_is_minimum": True,
            "cycle_frames": None, "cycle_s": None, "division_probability": 0.9375, "division_status": "confirmed",
            "area_px": 36.0, "mean_counts": 1100.0, "daughters_area_ratio": 16 / 25,
            "daughters_intensity_ratio": 1200 / 1300,
        },
    ),
    "born and divided: a whole cycle": (
        2,
        {
            "parent_id": 1, "daughter_ids": (5, 6), "founder_id": 1, "generation": 1, "began": "division",
            "ended": "divided", "cycle_frames": 5, "cycle_s": 10.0, "age_is_minimum": False,
            "daughters_area_ratio": 9 / 36,
        },
    ),
    "unseen for a frame": (3, {"track_ids": (3,), "last": 21, "ended": "alive", "age_frames": 8, "generation": 1}),
    "a frame that nobody decided counts": (7, {"parent_id": 4, "born": 14, "age_frames": 7, "age_s": 14.0}),
    "comes into view, divides into three": (
        4,
        {
            "began": "appeared", "daughter_ids": (7, 8, 9), "division_probability": 0.625, "daughters_area_ratio": 1.0,
            "age_is_minimum": True, "daughters_intensity_ratio": 1700 / 1900,
        },
    ),
    "a division that was taken back": (
        10,
        {
            "track_ids": (10, 11), "daughter_ids": (), "born": 10, "last": 21, "ended": "alive", "age_frames": 11,
            "division_frame": None, "division_probability": None, "daughters_area_ratio": None,
        },
    ),
    "nobody's daughter": (12, {"parent_id": 0, "began": "appeared", "ended": "lost", "generation": 0}),
    "leaves": (13, {"ended": "left", "last": 14}),
    "dies": (14, {"ended": "died", "end_probability": 0.875, "last": 16}),
    "is lost": (15, {"ended": "lost", "age_frames": 3, "age_s": 6.0}),
    "granddaughter": (6, {"generation": 2, "founder_id": 1, "parent_id": 2, "area_px": 9.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", LIVES)
def test_a_life(tree: Tree, name: str) -> None:
    cell, wanted = LIVES[name]
    life = tree.lives[cell]
    found = {key: getattr(life, key) for key in wanted}
    assert found == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in wanted.items()}


def test_cells_are_complete_and_mothers_come_first(tree: Tree) -> None:
    assert set(tree.lives) == family.CELLS
    order = list(tree.lives)
    assert all(order.index(life.parent_id) < order.index(cell) for cell, life in tree.lives.items() if life.parent_id)
    assert [life.cell_id for life in tree.family(6)] == [1, 2, 3, 5, 6]
    assert tree.cell_of[11] == 10


def test_figures_are_over_whole_cycles_only(tree: Tree) -> None:
    said = told(tree)
    assert (said["cells"], said["divisions"], said["generations"]) == (len(family.CELLS), 3, 2)
    assert (said["whole_cycles"], said["median_cycle_frames"], said["median_cycle_s"]) == (1, 5.0, 10.0)
    assert said["median_daughters_area_ratio"] == 0.64
    assert [life["cell_id"] for life in told(tree, 12)["lives"]] == [12]


@pytest.mark.parametrize("until", [10, 13, 14, 17, 18, 19, 21])
def test_the_facts_tell_what_was_known_live(tmp_path: Path, until: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "movie", lambda whole=family.movie: (s for s in whole() if s.frame.frame <= until))
    run = family.record(tmp_path / "run", labels=False)
    assert fields(run) == [FIELD]
    assert told(grow(read_history(run, FIELD))) == told(grow(live(until).history()))


@pytest.mark.parametrize("until", family.FRAMES[:-1])
def test_a_restart_between_two_frames_changes_nothing(tree: Tree, until: int) -> None:
    again = live(before=Ancestry(FIELD, live(until).history()))
    assert told(grow(again.history())) == told(tree)


def test_a_provisional_division_counts_until_it_is_taken_back() -> None:
    before, after = grow(live(18).history()), grow(live(19).history())
    assert before.lives[10].daughter_ids == (11, 12)
    assert (before.lives[10].division_status, before.lives[12].generation) == ("provisional", 1)
    assert after.lives[10].daughter_ids == ()


def test_a_late_word_of_an_older_revision_changes_nothing() -> None:
    ancestry = live()
    ancestry.said([event for event in family.said() if event.revision == 0])
    assert grow(ancestry.history()).lives[1].division_status == "confirmed"


def test_tracks_whose_end_was_never_heard_are_lost() -> None:
    ancestry = Ancestry(FIELD)
    for shown in family.movie():
        told_later = family.without(shown, 13) if shown.frame.frame >= 16 else shown
        ancestry.step(shown.frame.frame, told_later.tracks)
    life: Life = grow(ancestry.history()).lives[13]
    assert (life.ended, life.last, life.area_px, life.age_s) == ("lost", 14, None, None)


PARENTS: dict[str, tuple[tuple[int, int], tuple[int, int], dict[int, int]]] = {
    "ends before her child": ((1, 3), (4, 9), {2: 1}),
    "ends in her child's first frame": ((1, 4), (4, 9), {}),
    "is her own child's child": ((5, 9), (1, 4), {1: 2}),
}


@pytest.mark.parametrize("name", PARENTS)
def test_a_parent_ends_before_her_child_or_is_none(name: str) -> None:
    one, two, parents = PARENTS[name]
    rows = np.zeros(2, ROW)
    rows["track"], rows["parent"], rows["born"], rows["last"] = (1, 2), (2, 1), *zip(one, two, strict=True)
    history = History(FIELD, 1, 9, rows)
    assert history.parents() == parents
    assert history.of_tracks(np.array([1])).parents() == {}
    assert len(grow(history).lives) == 2 - len(parents)


def one_frame(number: int, *ids: int) -> Tracks:
    n = len(ids)
    same = np.full(n, number, np.int64)
    return Tracks(
        np.array(ids, np.int64), np.zeros(n, np.int64), same.copy(), same, np.zeros(n, np.int8),
        np.array(ids, np.int32), np.zeros((n, 2)), np.zeros((n, 2)),
    )  # fmt: skip


def test_a_tracker_need_not_count_upwards() -> None:
    ancestry = Ancestry(FIELD)
    for number, ids in enumerate([(50, 60), (7, 55), (1,)]):
        labels = np.array(ids, np.int32)
        zeros = np.zeros((len(ids), 2), np.float32)
        areas = labels.astype(np.float32)
        cells = make_cells(labels, zeros, np.zeros((len(ids), 4), np.int32), areas, zeros)
        ancestry.step(number, one_frame(number, *ids), cells)
    rows = ancestry.history().rows
    assert rows["track"].tolist() == [1, 7, 50, 55, 60]
    assert rows["area_px"].tolist() == [1, 7, 50, 55, 60]
    assert rows["born"].tolist() == [2, 1, 0, 1, 0]


def test_the_past_costs_a_row_for_each_track_and_a_history_is_a_copy() -> None:
    ancestry = Ancestry(FIELD)
    for number in range(300):
        first = 10 * number + 1
        ancestry.step(number, one_frame(number, *range(first, first + 10)))
    history = ancestry.history()
    assert (len(ancestry), history.rows.nbytes) == (3000, 3000 * ROW.itemsize)
    assert ROW.itemsize < 64
    ancestry.step(300, one_frame(300, 3001))
    assert len(history.rows) == 3000


def warnings(number: int) -> list[Event]:
    """Return warnings of mitosis for the sixteen cells."""
    like = family.said()[0]
    return [
        replace(
            like, kind="mitosis", event_id=event_id(FIELD, number, "mitosis", one), frame=number, parent_id=one,
            daughter_ids=(),
        )
        for one in family.TRACKS
    ]  # fmt: skip


def test_warnings_of_mitosis_cost_nothing_and_change_nothing(tree: Tree) -> None:
    ancestry = live()
    words = ancestry.history().words
    for number in range(500):
        ancestry.said(warnings(number))
    assert ancestry.history().words == words
    assert told(grow(ancestry.history())) == told(tree)


def test_warnings_of_before_are_not_taken_up_either(tree: Tree) -> None:
    before = live().history()
    many = tuple(Word.of(event) for number in range(500) for event in warnings(number))
    again = Ancestry(FIELD, replace(before, words=(*before.words, *many)))
    assert again.history().words == before.words
    assert told(grow(again.history())) == told(tree)


def test_places_are_as_measured(tmp_path: Path) -> None:
    spots = read_spots(family.record(tmp_path / "run", labels=False), FIELD)
    assert len(spots) == sum(len(family.seen(number)) for number in family.FRAMES)
    one = spots[(spots["track"] == 3) & (spots["frame"] == 14)][0]
    y, x = family.place_px(3, 14)
    assert one.tolist()[2:6] == (y + 2.0, x + 2.0, 25.0, 1300.0)
