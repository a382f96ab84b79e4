"""Families on the page: what was published is what is told, and a page that starts again has missed nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stream.ancestry import grow, told
from stream.facts.lineage import read_history
from stream.facts.rig import RigFacts
from stream.watch import families as module
from stream.watch.families import Families
from stream.watch.server import Server
from stream.watch.state import LiveState
from stream.wire.messages import CellsOf, EventsOf, Fact, TracksOf
from tests.cases import family
from tests.cases.family import FIELD


def feed(families: Families, *, after: int = 0, until: int = family.FRAMES[-1]) -> None:
    """Hand over the movie in the order in which the analysis publishes a frame."""
    for shown in family.movie():
        if after < shown.frame.frame <= until:
            ref, stamps = shown.frame.ref, shown.frame.stamps
            families.take(CellsOf(ref, shown.segmentation.cells, stamps))
            families.take(TracksOf(ref, shown.tracks, stamps))
            families.take(EventsOf(ref, shown.events, stamps))
            families.take(Fact(ref, {"fact": "decided"}))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return family.record(tmp_path / "run", labels=False)


def test_the_page_tells_what_the_facts_keep(recorded: Path) -> None:
    families = Families()
    feed(families)
    assert families.fields() == [FIELD]
    assert families.told(FIELD) == told(grow(read_history(recorded, FIELD)))


def test_a_page_that_starts_again_takes_up_the_facts(recorded: Path) -> None:
    families = Families(recorded)
    feed(families, after=17)
    assert families.told(FIELD) == told(grow(read_history(recorded, FIELD)))


@pytest.mark.parametrize("after", [0, 17], ids=["from the start", "a page that starts again"])
def test_ages_of_a_replay_are_those_of_its_recording_however_fast_it_is_played(tmp_path: Path, after: int) -> None:
    run_dir = family.record(tmp_path / "run", labels=False)
    rig = RigFacts(run_dir)
    rig.meta("devices", {"driver": "replay", "interval_ms": 300_000.0})
    rig.close()
    recorded = told(grow(read_history(run_dir, FIELD)))
    if not after:
        (run_dir / "analysis.sqlite").unlink()
    families = Families(run_dir)
    feed(families, after=after)
    assert families.told(FIELD) == recorded
    assert {life["age_s"] / life["age_frames"] for life in recorded["lives"] if life["age_frames"]} == {300.0}


def test_a_page_on_another_machine_begins_where_it_is(tmp_path: Path) -> None:
    families = Families(tmp_path)
    feed(families, after=17)
    lives = {life["cell_id"]: life for life in families.told(FIELD)["lives"]}
    assert (lives[7]["born"], lives[7]["area_px"], lives[7]["age_s"]) == (14, None, None)
    assert lives[5]["area_px"] == 36.0
    assert 1 not in lives


def test_cells_of_another_frame_are_not_taken_for_this_one() -> None:
    families = Families()
    first, second, *_ = family.movie()
    families.take(CellsOf(first.frame.ref, first.segmentation.cells))
    families.take(TracksOf(second.frame.ref, second.tracks))
    assert families.told(FIELD, 4)["lives"][0]["area_px"] is None


def see(families: Families, *positions: int) -> None:
    shown = next(family.movie())
    for number in positions:
        ref = type(shown.frame.ref)("run", "Camera", "s", 0, 0, f"Camera:p{number}", 10)
        families.take(TracksOf(ref, shown.tracks))


def test_a_plan_of_many_tiles_keeps_all_of_them() -> None:
    families = Families()
    see(families, *range(100), *range(100))
    assert families.fields() == [f"Camera:p{number}" for number in range(100)]


def test_the_fields_that_were_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIELDS", 3)
    families = Families()
    see(families, 0, 1, 2, 0)
    families.told("Camera:p1")
    see(families, 3)
    assert families.fields() == ["Camera:p0", "Camera:p1", "Camera:p3"]


@pytest.fixture
def port() -> Iterator[int]:
    families = Families()
    feed(families)
    server = Server(LiveState("tonight"), port=0, families=families)
    yield server.start()
    server.stop()


ASKED = {
    "the only field": ("", 200),
    "by name": (f"?field={FIELD}", 200),
    "one family": (f"?field={FIELD}&track=6", 200),
    "another field": ("?field=Camera:p7", 404),
    "another track": ("?track=4711", 404),
    "no number": ("?track=six", 400),
    "a digit of another kind": ("?track=²", 400),
    "more digits than a number has": (f"?track={'9' * 5000}", 400),
}


@pytest.mark.parametrize("name", ASKED)
def test_lineage_is_asked_over_http(port: int, name: str) -> None:
    query, status = ASKED[name]
    answer = httpx.get(f"http://127.0.0.1:{port}/api/lineage{query}", trust_env=False)
    assert answer.status_code == status
    if status == 200:
        cells = [life["cell_id"] for life in answer.json()["lives"]]
        assert cells == ([1, 2, 3, 5, 6] if "track" in query else cells)
        assert (answer.json()["divisions"], set(cells) <= family.CELLS) == (3, True)
    else:
        assert "there is no" in answer.text or "is no number" in answer.text
