"""What is exported is what was recorded: every form is read back by its own library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geff
import numpy as np
import pytest
from ctc_metrics.scripts.validate import validate_sequence
from geff.core_io import read_to_memory
from geff.validate.data import ValidationConfig, validate_data
from numpy.typing import NDArray

from stream.ancestry import grow
from stream.errors import ConfigError, CytoloopError, SourceError, StoreError
from stream.export.recorded import Recorded, open_recorded
from stream.export.write import write
from stream.facts.analysis import AnalysisFacts
from stream.score.truth import numbered_masks, read_mask, read_rows
from tests.cases import family

Row = tuple[int, int, int, int]
SPARE = 65535
"""What the mask's writer calls track 3 after the frame that it missed."""
ROWS = [
    (track, one.born, one.last, 0 if track == 12 else one.parent) for track, one in family.TRACKS.items() if track != 3
]
RES_ROWS = sorted([*ROWS, (3, 13, 16, 1), (SPARE, 18, 21, 3)])
RUN_ROWS = sorted([*ROWS, (3, 13, 21, 1)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.record(tmp_path_factory.mktemp("recorded") / "run")


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.record(tmp_path_factory.mktemp("recorded") / "run", labels=False)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.record(tmp_path_factory.mktemp("recorded") / "run", labels=False, cells=False)


@pytest.fixture(scope="module")
def res(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.evaluated(tmp_path_factory.mktemp("evaluated") / "res")


SOURCES = {"a run": ("run", RUN_ROWS), "a run without labels": ("unlabelled", RUN_ROWS), "a result": ("res", RES_ROWS)}


@pytest.fixture(params=SOURCES, scope="module")
def source(request: pytest.FixtureRequest) -> tuple[Recorded, list[Row]]:
    """Return what was recorded, and the tracks that it must tell."""
    name, rows = SOURCES[request.param]
    return open_recorded(request.getfixturevalue(name)), rows


def tuples(rows: NDArray[np.int64]) -> list[Row]:
    return [tuple(row) for row in rows.tolist()]


# ---- GEFF ---------------------------------------------------------------------------------------------------------


def read_geff(path: Path) -> tuple[Any, dict[str, NDArray[Any]]]:
    memory = read_to_memory(path)
    return memory, {name: prop["values"] for name, prop in memory["node_props"].items()}


def test_geff_keeps_tracks_parents_and_times(tmp_path: Path, source: tuple[Recorded, list[Row]]) -> None:
    found, rows = source
    write(found, "geff", tmp_path / "g")
    graph, _about = geff.read(tmp_path / "g", structure_validation=True)
    frames: dict[int, list[int]] = {}
    for _node, said in graph.nodes(data=True):
        frames.setdefault(said["track_id"], []).append(said["t"])
    parents = {
        graph.nodes[b]["track_id"]: graph.nodes[a]["track_id"]
        for a, b in graph.edges
        if graph.nodes[a]["track_id"] != graph.nodes[b]["track_id"]
    }
    assert [(track, min(seen), max(seen), parents.get(track, 0)) for track, seen in sorted(frames.items())] == rows
    seen = {(n, track) for n in family.FRAMES for track in family.seen(n)}
    assert {(t, 3 if track == SPARE else track) for track, ts in frames.items() for t in ts} == seen


def test_geff_is_valid_in_every_way_that_its_library_knows(tmp_path: Path, source: tuple[Recorded, list[Row]]) -> None:
    write(source[0], "geff", tmp_path / "g")
    memory, _ = read_geff(tmp_path / "g")
    assert memory["metadata"].track_node_props == {"tracklet": "cell_id", "lineage": "founder_id"}
    validate_data(memory, ValidationConfig(graph=True, lineage=True, tracklet=True))


def test_geff_keeps_places_and_what_is_known(tmp_path: Path, run: Path) -> None:
    write(open_recorded(run), "geff", tmp_path / "g")
    memory, nodes = read_geff(tmp_path / "g")
    at = np.nonzero((nodes["track_id"] == 6) & (nodes["t"] == 20))[0][0]
    y, x = family.place_px(6, 20)
    found = {name: nodes[name][at].item() for name in nodes}
    shown = next(shown for shown in family.movie() if shown.frame.frame == 20)
    ((x_um, y_um),) = shown.frame.to_stage_um(np.array([[y + 1.0, x + 1.0]]))
    assert (found.pop("x_um"), found.pop("y_um")) == pytest.approx((x_um, y_um))
    assert found == {
        "t": 20, "y": y + 1.0, "x": x + 1.0, "track_id": 6, "cell_id": 6, "founder_id": 1, "generation": 2,
        "area_px": 9.0, "mean_counts": 1600.0, "time_s": 20.0,
    }  # fmt: skip
    axes = {axis.name: (axis.type, axis.unit, axis.scale, axis.scaled_unit) for axis in memory["metadata"].axes}
    assert axes == {
        "t": ("time", "frame", family.INTERVAL_S, "second"),
        "y": ("space", "pixel", family.PIXEL_UM, "micrometer"),
        "x": ("space", "pixel", family.PIXEL_UM, "micrometer"),
    }


def test_geff_says_how_probable_each_division_was(tmp_path: Path, source: tuple[Recorded, list[Row]]) -> None:
    write(source[0], "geff", tmp_path / "g")
    memory, nodes = read_geff(tmp_path / "g")
    edges, props = memory["edge_ids"].astype(int), memory["edge_props"]
    divides, known = props["division"]["values"], ~props["division_probability"]["missing"]
    assert np.array_equal(divides, known)
    said = {
        (int(nodes["track_id"][a]), int(nodes["track_id"][b])): p
        for (a, b), p in zip(edges[divides], props["division_probability"]["values"][divides], strict=True)
    }
    assert said == {
        (1, 2): 0.9375, (1, 3): 0.9375, (4, 7): 0.625, (4, 8): 0.625, (4, 9): 0.625, (2, 5): 0.96875, (2, 6): 0.96875,
    }  # fmt: skip


def test_uneven_intervals_give_times_and_no_scale(tmp_path: Path, run: Path) -> None:
    found = open_recorded(run)
    uneven = Recorded(
        found.source, found.history, found.spots, found.frames, {f: (f - 10) ** 1.5 for f in found.frames}, 0.5
    )
    write(uneven, "geff", tmp_path / "g")
    memory, nodes = read_geff(tmp_path / "g")
    assert memory["metadata"].axes[0].scale is None
    assert np.allclose(nodes["time_s"], (nodes["t"] - 10) ** 1.5)


# ---- napari -------------------------------------------------------------------------------------------------------


def layer(path: Path) -> dict[str, Any]:
    """Load the file as the line says that is shown to the user."""
    f = np.load(path)
    return {
        "data": f["tracks"],
        "graph": {c: [p] for c, p in f["graph"].tolist()},
        "properties": {k: f[k] for k in f["properties"].tolist()},
    }


def test_napari_keeps_tracks_parents_and_times(tmp_path: Path, source: tuple[Recorded, list[Row]]) -> None:
    found, rows = source
    said = write(found, "napari", tmp_path / "n")
    made = layer(Path(said["out"]))
    tracks, ts = made["data"][:, 0].astype(int), made["data"][:, 1].astype(int)
    parents = {child: only for child, (only,) in made["graph"].items()}
    assert rows == [
        (track, ts[tracks == track].min(), ts[tracks == track].max(), parents.get(track, 0))
        for track in np.unique(tracks).tolist()
    ]


def test_napari_rules(tmp_path: Path, source: tuple[Recorded, list[Row]]) -> None:
    """Sorted by track, then time; each vertex once; whole ids, times not negative; a graph only of known tracks."""
    made = layer(Path(write(source[0], "napari", tmp_path / "n")["out"]))
    data = made["data"]
    assert data.shape[1] == 4
    assert np.isfinite(data).all()
    assert np.array_equal(data[:, :2], np.floor(data[:, :2]))
    assert (data[:, 1] >= 0).all()
    assert np.array_equal(np.lexsort((data[:, 1], data[:, 0])), np.arange(len(data)))
    assert len(np.unique(data[:, :2], axis=0)) == len(data)
    ids = set(data[:, 0].astype(int).tolist())
    assert all(child in ids and set(parents) <= ids for child, parents in made["graph"].items())
    assert all(len(values) == len(data) for values in made["properties"].values())


@pytest.mark.filterwarnings("ignore")
def test_napari_takes_it(tmp_path: Path, source: tuple[Recorded, list[Row]]) -> None:
    layers = pytest.importorskip("napari.layers", reason="napari (58 packages, 650 MB) is not installed")
    made = layer(Path(write(source[0], "napari", tmp_path / "n")["out"]))
    taken = layers.Tracks(**made)
    assert np.array_equal(taken.data, made["data"])
    assert {child: list(parents) for child, parents in taken.graph.items()} == made["graph"]


def test_the_line_that_is_shown_opens_it(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = write(open_recorded(run), "napari", tmp_path / "night.npz")
    taken: dict[str, Any] = {}

    class Viewer:
        def add_tracks(self, data: Any, **known: Any) -> None:
            taken.update(known, data=data)

    monkeypatch.chdir(tmp_path)
    exec(said["load"], {"numpy": np, "viewer": Viewer()})
    assert taken["graph"] == layer(tmp_path / "night.npz")["graph"]
    assert list(taken["properties"]) == ["cell_id", "founder_id", "generation", "area_px"]


# ---- Cell Tracking Challenge --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "res"])
def test_ctc_keeps_masks_and_tracks(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    said = write(open_recorded(request.getfixturevalue(name)), "ctc", tmp_path / "c")
    assert tuples(read_rows(tmp_path / "c" / "res_track.txt")) == RES_ROWS
    assert said["masks"] == len(family.FRAMES)
    for number, path in numbered_masks(tmp_path / "c").items():
        want = [SPARE if track == 3 and number > 17 else track for track in family.seen(number)]
        assert np.unique(read_mask(path))[1:].tolist() == sorted(want)
    assert [words.partition(":")[0] for words in said["missing"]] == ["frames 15"]  # nobody ever decided it


@pytest.mark.parametrize("record", [family.record, family.evaluated])
def test_ctc_passes_the_challenges_own_check(
    tmp_path: Path, record: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "FRAMES", tuple(range(10, 22)))  # that check knows no hole, and counts from 0
    said = write(open_recorded(record(tmp_path / "in")), "ctc", tmp_path / "c")
    assert said["missing"] == []
    rows = read_rows(tmp_path / "c" / "res_track.txt") - [0, 10, 10, 0]
    np.savetxt(tmp_path / "c" / "res_track.txt", rows, "%d")
    assert validate_sequence(str(tmp_path / "c"), threads=1)["Valid"] == 1


def test_masks_that_the_tracks_do_not_know_yet_stay_out(tmp_path: Path) -> None:
    run = family.record(tmp_path / "in")
    (res,) = (run / "labels").iterdir()
    behind = [(label, first, min(last, 17), parent) for label, first, last, parent in RES_ROWS if first <= 17]
    (res / "res_track.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in behind))
    said = write(open_recorded(run), "ctc", tmp_path / "c")
    kept = [frame for frame in family.FRAMES if frame <= 17]
    assert sorted(numbered_masks(tmp_path / "c")) == kept
    assert said["masks"] == len(kept) < len(family.FRAMES)


def test_ctc_without_masks_says_what_is_missing(tmp_path: Path, unlabelled: Path) -> None:
    said = write(open_recorded(unlabelled), "ctc", tmp_path / "c")
    fresh = max(family.TRACKS) + 1
    wanted = sorted([*ROWS, (3, 13, 16, 1), (fresh, 18, 21, 3)])
    assert tuples(read_rows(tmp_path / "c" / "res_track.txt")) == wanted
    assert (said["masks"], len(said["missing"])) == (0, 1)
    assert "masks" in said["missing"][0]


def test_ctc_of_tracks_alone(tmp_path: Path, bare: Path) -> None:
    said = write(open_recorded(bare), "ctc", tmp_path / "c")
    assert tuples(read_rows(tmp_path / "c" / "res_track.txt")) == RUN_ROWS
    assert len(said["missing"]) == 2


# ---- what cannot be exported --------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Path, Path], Any], type[CytoloopError], str]] = {
    "no such form": (lambda run, out: write(open_recorded(run), "csv", out / "x"), ConfigError, "ctc, geff, napari"),
    "no overwriting": (lambda run, out: write(open_recorded(run), "ctc", out), StoreError, "nothing is overwritten"),
    "neither run nor result": (lambda run, out: open_recorded(out), SourceError, "res_track.txt"),
    "no folder": (lambda run, out: open_recorded(out / "nowhere"), SourceError, "is no folder"),
    "no such field": (lambda run, out: open_recorded(run, "B:p1"), SourceError, "but Camera:p0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, run: Path, name: str) -> None:
    act, error, words = REFUSED[name]
    (tmp_path / "something").touch()
    with pytest.raises(error, match=words):
        act(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


@pytest.mark.parametrize("to", ["geff", "napari"])
def test_a_run_without_places_has_no_points(tmp_path: Path, bare: Path, to: str) -> None:
    with pytest.raises(SourceError, match="cells = true"):
        write(open_recorded(bare), to, tmp_path / "out")


def test_a_result_without_cells_is_an_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "res_track.txt").touch()
    found = open_recorded(tmp_path)
    assert (len(grow(found.history).lives), len(found.spots)) == (0, 0)
    assert write(found, "ctc", tmp_path / "c")["tracks"] == 0
    with pytest.raises(SourceError, match="no places"):
        write(found, "geff", tmp_path / "g")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = family.record(tmp_path / "run", labels=False)
    (run / "analysis.sqlite").write_bytes(b"SQLite format 3\0" + bytes(500))
    with pytest.raises(StoreError, match=r"analysis\.sqlite"):
        open_recorded(run)


def test_without_the_extra_it_is_named(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geff.core_io", None)
    with pytest.raises(ConfigError, match=r"cytoloop\[export\]"):
        write(open_recorded(run), "geff", tmp_path / "g")


def test_masks_and_tracks_must_belong_together(tmp_path: Path) -> None:
    res = family.evaluated(tmp_path / "res")
    (res / "res_track.txt").write_text("1 10 12 0\n", encoding="utf-8")
    with pytest.raises(SourceError, match="label 2"):
        open_recorded(res)


def test_of_several_fields_one_is_chosen(tmp_path: Path) -> None:
    run = family.record(tmp_path / "run", labels=False)
    facts = AnalysisFacts(run)
    shown = next(family.movie())
    other = {"field": "Camera:p1", "frame": 3, "epoch": 1}
    facts.decided(
        type(shown.frame)(**{name: getattr(shown.frame, name) for name in type(shown.frame).__slots__} | other),
        1, cells=shown.segmentation.cells, tracks=shown.tracks,
    )  # fmt: skip
    facts.close()
    with pytest.raises(SourceError, match="Camera:p0, Camera:p1; choose one with --field"):
        open_recorded(run)
    assert open_recorded(run, "Camera:p1").frames == [3]


def test_told_times_and_sizes_overrule(res: Path) -> None:
    silent, told = open_recorded(res), open_recorded(res, interval_s=60.0, pixel_um=0.3)
    assert (dict(silent.seconds), silent.pixel_um) == ({}, None)
    assert (told.seconds[16], told.pixel_um) == (360.0, 0.3)
    assert told.history.rows["born_s"][told.history.rows["track"] == 5].tolist() == [480.0]
