"""Other people's trackers: what they return becomes a lineage, and the table does without those that are not there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from benchmarks import followers, tracking
from benchmarks.culture import Culture
from benchmarks.followers import NotInstalled, btrack_with, laptrack_with, lineage_of
from stream.stages import Segmented

OTHERS = {"btrack": btrack_with(20.0), "laptrack": laptrack_with(1.0)}


@dataclass
class Track:
    """As btrack's: a number, its mother's (its own where it has none) and its cells; negative ones fill gaps."""

    ID: int
    parent: int
    refs: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def shots() -> list[Segmented]:
    culture = Culture(20, 200)
    return [culture.shoot() for _ in range(4)]


def test_tracks_of_btrack_become_a_lineage(shots: list[Segmented]) -> None:
    """Cells count through the movie; a cell that no track has is a track of its own, and a lost mother is none."""
    first, second = (len(one.segmentation.cells) for one in shots[:2])
    tracks = [Track(7, 7, [0, first]), Track(9, 7, [1, -1, first + second]), Track(12, 99, [2])]
    found = lineage_of(tracks, shots)
    assert [len(ids) for ids in found.id_of_cell] == [len(one.segmentation.cells) for one in shots]
    assert (found.id_of_cell[0][0], found.id_of_cell[1][0], found.id_of_cell[2][0]) == (1, 1, 2)
    assert (found.id_of_cell[0][1], found.id_of_cell[0][2]) == (2, 3)
    assert found.parent == {2: 1}
    ids, counts = np.unique(np.concatenate(found.id_of_cell), return_counts=True)
    assert ids.tolist() == list(range(1, len(ids) + 1))
    assert (counts[3:] == 1).all()


@pytest.mark.parametrize(("name", "follower"), OTHERS.items(), ids=OTHERS.keys())
def test_a_tracker_that_is_not_there_says_so(
    monkeypatch: pytest.MonkeyPatch, shots: list[Segmented], name: str, follower: followers.Follower
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotInstalled, match=f"^{name}: not installed: "):
        follower(shots)


def test_the_table_does_without_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, shots: list[Segmented]
) -> None:
    monkeypatch.setitem(sys.modules, "btrack", None)
    monkeypatch.setattr(tracking, "detections", lambda *_: shots)
    monkeypatch.setattr(sys, "argv", ["tracking", "--kept", str(tmp_path), "--only", "btrack", "nuclei=set/01"])
    tracking.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("btrack, cells of 20 (offline): left out; btrack: not installed: ")
    assert not any(line.startswith("| btrack") for line in said)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_btrack_follows_cells(shots: list[Segmented]) -> None:
    """Where it installs: hardly moving cells keep their track."""
    try:
        found = btrack_with(20.0)(shots)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    assert len(set(np.concatenate(found.id_of_cell).tolist())) < 1.5 * len(shots[0].segmentation.cells)
