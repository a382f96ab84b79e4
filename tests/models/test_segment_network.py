from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blob_net import blob_onnx, spots
from numpy.typing import NDArray
from segment_scene import discs, grid

from models import zoo
from models.segment import auto, sight
from models.segment.auto import AutoSegmenter
from models.segment.fit import fitted
from models.segment.growth import STEP
from models.segment.network import NetworkSegmenter
from stream.analyse.chain import Chain
from stream.cells import STATES, Segmentation
from stream.config import ChainSettings
from stream.errors import ConfigError, RuntimeUnavailable, StageError
from stream.frame import Frame
from stream.stages import Moment

SHAPE = (192, 224)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "blobs.onnx"
    blob_onnx(path)
    return path


def moment(pixels: NDArray[np.generic], number: int = 0, missed: int = 0, **known: object) -> Moment:
    frame = Frame("run", "cam", "s", 0, number, "cam:p0", number, np.array(pixels), **known)  # type: ignore[arg-type]
    return Moment(frame, missed=missed)


def step(segmenter: NetworkSegmenter, pixels: NDArray[np.generic], number: int = 0, **known: object) -> Segmentation:
    return segmenter.step(moment(pixels, number, **known))  # type: ignore[arg-type]


def places(found: Segmentation) -> list[tuple[float, float]]:
    return sorted((float(y), float(x)) for y, x in np.round(found.cells.centroid_px, 1))


def test_cells_and_their_table(model: Path) -> None:
    centres = grid(SHAPE, 40)
    found = step(NetworkSegmenter({"model": str(model), "diameter_px": 26.0}), spots(SHAPE, centres, 26.0))
    cells = found.cells
    assert np.array(places(found)) == pytest.approx(np.array(sorted(centres)), abs=0.5)
    assert cells.area_px == pytest.approx(np.pi * 13**2, rel=0.25)
    assert cells.mean_counts[:, 0] == pytest.approx(np.full(len(cells), 1000 + 0.72 * 200), rel=0.03)
    assert (found.labels[tuple(np.rint(cells.centroid_px).astype(int).T)] == cells.label).all()
    assert ((cells.score > 0.5) & (cells.score <= 1)).all()
    known = dict(zip(STATES, cells.state_prob.T, strict=True))
    assert np.isnan(known["dead"]).all()
    assert known["interphase"] + known["mitosis"] + known["newborn"] == pytest.approx(1.0, abs=1e-5)
    assert cells.features == pytest.approx(np.stack([known["newborn"], known["mitosis"]], 1))
    assert np.isnan(cells.prev_centre_px).all(), "there was no frame before the first"


@pytest.mark.parametrize(("look", "cells"), [("raw", 0), ("denoised", 1)])
def test_denoised_pixels_are_looked_at_where_asked_and_raw_ones_measured(model: Path, look: str, cells: int) -> None:
    centres = grid(SHAPE, 40)
    raw = np.full(SHAPE, 700, np.uint16)
    shown = Moment(moment(raw).frame, denoised=spots(SHAPE, centres, 26.0).astype(np.float32) + 0.4)
    found = NetworkSegmenter({"model": str(model), "diameter_px": 26.0, "look": look}).step(shown)
    assert len(found.cells) == cells * len(centres)
    assert (found.cells.mean_counts == 700).all()


@pytest.mark.parametrize("offset", [0.0, 32768.0, 64000.0])
@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.5], ids=lambda zoom: f"cells of {26 / zoom:g} px")
def test_each_cell_says_where_it_was(model: Path, zoom: float, offset: float) -> None:
    diameter = 26.0 / zoom
    centres = grid((240, 240), round(1.8 * diameter))
    before = [(y - 0.1 * diameter, x + 0.06 * diameter) for y, x in centres]
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": diameter})
    step(segmenter, spots((240, 240), before, diameter, offset=offset), 0)
    cells = step(segmenter, spots((240, 240), centres, diameter, offset=offset), 1).cells
    assert len(cells) == len(centres)
    moved = (cells.centroid_px - cells.prev_centre_px) / diameter
    assert np.median(moved, 0) == pytest.approx([0.1, -0.06], abs=0.03)


@pytest.mark.parametrize("diameter", [9.0, 16.0, 26.0, 45.0, 80.0])
def test_the_size_of_the_cells_is_measured(model: Path, diameter: float) -> None:
    side = int(max(200, 6 * diameter))
    centres = grid((side, side), round(1.7 * diameter))
    segmenter = NetworkSegmenter({"model": str(model)})
    found = step(segmenter, spots((side, side), centres, diameter))
    assert len(found.cells) == len(centres)
    assert segmenter._diameter_px == pytest.approx(diameter, rel=0.2)
    assert ("blobs" in segmenter.choice, f"{segmenter._diameter_px:.1f} px" in segmenter.choice) == (True, True)


def test_empty_frames_show_no_cells_and_the_first_cells_choose(model: Path) -> None:
    segmenter = NetworkSegmenter({"model": str(model)})
    blank = np.full(SHAPE, 1000, np.uint16)
    assert [len(step(segmenter, blank, k).cells) for k in range(2)] == [0, 0]
    assert "no frame has shown cells" in segmenter.choice
    assert len(step(segmenter, spots(SHAPE, grid(SHAPE, 40), 20.0), 2).cells) == len(grid(SHAPE, 40))


def dark(number: int) -> NDArray[np.uint16]:
    """What a camera gives without light: its noise, and a few broken pixels."""
    rng = np.random.default_rng(number)
    noise = np.rint(rng.normal(100, 3, (320, 320)))
    return np.where(rng.random(noise.shape) < 1e-4, 900, noise).clip(0).astype(np.uint16)


@pytest.mark.parametrize("segment", ["auto", "nuclei-fast", "phase-fast"])
def test_frames_before_the_light_is_on_choose_nothing(segment: str) -> None:
    centres = grid((320, 320), 50)
    lit = [discs((320, 320), centres, 10.0, offset=100.0, noise=10.0, seed=k) for k in range(3)]
    options: dict[str, Any] = {"fast": True} if segment == "auto" else {}
    told = []
    for before in (0, 5):
        chain = Chain(ChainSettings(segment=segment, segment_options=options))
        pictures = [dark(k) for k in range(before)] + lit
        cells = [len(chain.step(moment(pixels, k)).segmentation.cells) for k, pixels in enumerate(pictures)]
        assert cells[:before] == [0] * before
        told.append((chain.choice, cells[before:]))
    assert told[0] == told[1]
    assert told[0][1] == [len(centres)] * 3 or segment == "phase-fast"


def test_a_frame_without_light_amid_others_shows_nothing_and_changes_nothing() -> None:
    centres = grid((320, 320), 50)
    lit = [discs((320, 320), centres, 10.0, offset=100.0, noise=10.0, seed=k) for k in range(4)]
    segmenter = NetworkSegmenter({"model": "nuclei-fast"})
    cells = [len(step(segmenter, p, k).cells) for k, p in enumerate([*lit[:2], dark(0), dark(1), *lit[2:]])]
    assert cells == [len(centres)] * 2 + [0, 0] + [len(centres)] * 2


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (8, 2048), (2048, 12)])
def test_narrow_pictures_are_looked_at(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).poisson(50 * np.ones(shape)).astype(np.uint16)
    pixels[: shape[0] // 2, : shape[1] // 2 + 1] += 200
    assert step(NetworkSegmenter({"model": "nuclei-fast"}), pixels).labels.shape == shape


def test_cells_are_found_where_the_pictures_blobs_are_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    centres, looked_for = grid((256, 256), 50), []

    def misled(image: NDArray[np.float32]) -> float:
        looked_for.append(True)
        return 80.0  # uneven light

    monkeypatch.setattr("models.segment.fit.blob_diameter_px", misled)
    segmenter = NetworkSegmenter({"model": "nuclei-fast"})
    found = step(segmenter, discs((256, 256), centres, 8.0))
    assert looked_for
    assert len(found.cells) == len(centres)
    assert segmenter._diameter_px == pytest.approx(16.0, rel=0.25)
    assert len(step(NetworkSegmenter({"model": "nuclei-fast"}), np.full((256, 256), 1000, np.uint16)).cells) == 0


def test_a_lone_pair_of_cells_is_not_measured_all_night(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def counted(*given: Any) -> tuple[float | None, int]:
        searched.append(len(searched))
        return fitted(*given)

    monkeypatch.setattr("models.segment.network.fitted", counted)
    segmenter = NetworkSegmenter({"model": str(model)})
    pair = spots(SHAPE, grid(SHAPE, 40)[:2], 20.0)
    for k in range(130):
        step(segmenter, pair, k)
    assert len(searched) == 8, "on frames 1, 2, 4, 8, 16, 32, 64 and 128"


def test_a_saved_state_changes_nothing(model: Path) -> None:
    centres = grid(SHAPE, 40)
    pictures = [spots(SHAPE, [(y + k, x) for y, x in centres], 24.0) for k in range(4)]
    whole, cut = (NetworkSegmenter({"model": str(model)}) for _ in range(2))
    for k in range(2):
        step(whole, pictures[k], k)
        step(cut, pictures[k], k)
    resumed = NetworkSegmenter({"model": str(model)})
    resumed.load(cut.save())
    for k in (2, 3):
        one, two = step(whole, pictures[k], k), step(resumed, pictures[k], k)
        assert (one.labels == two.labels).all()
        assert one.cells.prev_centre_px.tobytes() == two.cells.prev_centre_px.tobytes()
    assert resumed.save() == whole.save()


def _shrinking(model: Path, **options: object) -> Iterator[tuple[NetworkSegmenter, NDArray[np.uint16]]]:
    """Yield a segmenter and the next picture of cells that shrink by a seventh, and stay so."""
    segmenter = NetworkSegmenter({"model": str(model), **options})
    centres = grid((200, 200), 34)
    for k in range(56):
        yield segmenter, spots((200, 200), centres, 24.0 * float(np.exp(-0.005 * np.clip(k - 8, 0, 30))))


def test_the_size_that_is_looked_for_follows_the_cells(model: Path) -> None:
    told: list[float] = []
    drawn: list[float] = []
    for number, (segmenter, picture) in enumerate(_shrinking(model)):
        cells = step(segmenter, picture, number).cells
        assert len(cells) == 25
        assert segmenter._diameter_px is not None
        told.append(segmenter._diameter_px)
        drawn.append(float(np.sqrt(np.median(cells.area_px))))
    assert told[11] == told[0], "nothing changes while they stay as they are"
    assert told[-1] / told[0] == pytest.approx(drawn[-1] / drawn[0], rel=STEP)
    assert told[-1] / told[0] < 0.92
    assert {round(float(np.log(b / a)), 3) for a, b in pairwise(told) if a != b} == {-STEP}


def test_a_given_size_stays(model: Path) -> None:
    for number, (segmenter, picture) in enumerate(_shrinking(model, diameter_px=24.0)):
        step(segmenter, picture, number)
    assert segmenter._diameter_px == 24.0


def test_a_state_saved_before_a_change_of_size_changes_nothing(model: Path) -> None:
    resumed = NetworkSegmenter({"model": str(model)})
    changed = 0
    for number, (whole, picture) in enumerate(_shrinking(model)):
        state = whole.save()
        before = whole._diameter_px
        found = step(whole, picture, number)
        resumed.load(state)
        assert (step(resumed, picture, number).labels == found.labels).all()
        assert resumed.save() == whole.save()
        changed += before is not None and before != whole._diameter_px
    assert changed > 1


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x80", b"\x81\xa6schema\x07"])
def test_a_torn_state_is_refused(model: Path, state: bytes) -> None:
    with pytest.raises(StageError, match="saved"):
        NetworkSegmenter({"model": str(model)}).load(state)


AFFINE = ((0.5, 0.0), (0.0, 0.5))


def test_after_a_stage_move_the_earlier_frame_is_seen_from_the_new_place(model: Path) -> None:
    centres = [(y, x) for y, x in grid(SHAPE, 40) if x > 60]
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": 24.0})
    step(segmenter, spots(SHAPE, centres, 24.0), 0, affine_um=AFFINE, stage_um=(0.0, 0.0, 0.0))
    shown = [(y, x - 30.0) for y, x in centres]  # the stage went 15 µm: 30 px
    found = step(segmenter, spots(SHAPE, shown, 24.0), 1, affine_um=AFFINE, stage_um=(15.0, 0.0, 0.0))
    before = found.cells.prev_centre_px - found.cells.centroid_px
    assert np.isfinite(before).all(1).sum() >= len(shown) - 2
    assert np.nanmedian(before, 0) == pytest.approx([0.0, 30.0], abs=0.6), "in the earlier frame's own pixels"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("another binning", {"binning": 2}),
        ("another channel", {"channel": "GFP"}),
        ("far away", {"stage_um": (5000.0, 0.0, 0.0)}),
        ("another pixel size", {"affine_um": ((1.0, 0.0), (0.0, 1.0))}),
    ],
)
def test_frames_that_cannot_be_compared_are_not(model: Path, name: str, change: dict[str, object]) -> None:
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": 24.0})
    same = {"affine_um": AFFINE, "stage_um": (0.0, 0.0, 0.0)}
    picture = spots(SHAPE, grid(SHAPE, 40), 24.0)
    step(segmenter, picture, 0, **same)
    assert np.isfinite(step(segmenter, picture, 1, **same).cells.prev_centre_px).all()
    found = step(segmenter, picture, 2, **(same | change))
    assert (len(found.cells) > 0, np.isnan(found.cells.prev_centre_px).all()) == (True, True), name


@pytest.mark.parametrize(("missed", "known"), [(0, True), (1, True), (2, False), (50, False)])
def test_an_earlier_frame_that_is_too_old_is_not_shown(model: Path, missed: int, known: bool) -> None:
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": 24.0})
    picture = spots(SHAPE, grid(SHAPE, 40), 24.0)
    step(segmenter, picture, 0)
    found = segmenter.step(moment(picture, 1 + missed, missed=missed))
    assert np.isfinite(found.cells.prev_centre_px).all() == known


def test_binning_changes_the_size_that_is_looked_for(model: Path) -> None:
    segmenter = NetworkSegmenter({"model": str(model)})
    step(segmenter, spots(SHAPE, grid(SHAPE, 40), 24.0), 0)
    half = [(y / 2, x / 2) for y, x in grid(SHAPE, 40)]
    found = step(segmenter, spots((96, 112), half, 12.0), 1, binning=2)
    assert len(found.cells) == len(half)
    assert segmenter._diameter_px == pytest.approx(12.0, rel=0.2)


def test_a_brighter_light_does_not_lose_the_past(model: Path) -> None:
    centres = grid(SHAPE, 40)
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": 24.0})
    step(segmenter, spots(SHAPE, centres, 24.0, peak=100), 0, exposure_ms=10.0)
    brighter = spots(SHAPE, centres, 24.0, peak=4000, offset=3000)
    found = step(segmenter, brighter, 1, exposure_ms=400.0)
    assert len(found.cells) == len(centres)
    assert found.cells.prev_centre_px == pytest.approx(found.cells.centroid_px, abs=0.7)


@pytest.mark.parametrize("shape", [(17, 23), (33, 300), (64, 64)], ids=str)
def test_any_shape_is_padded(model: Path, shape: tuple[int, int]) -> None:
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": 12.0})
    found = step(segmenter, spots(shape, [(8.0, 11.0)], 12.0, dtype=np.uint8, offset=10))
    assert (found.labels.shape, len(found.cells)) == (shape, 1)


@pytest.mark.parametrize(
    ("shape", "diameter_px", "zoom"),
    [
        ((512, 512), 13.0, 2.0),
        ((512, 512), 25.8, 1.0),
        ((100, 100), 4.0, sight.MOST_ZOOM),
        ((2048, 2048), 13.0, 1.0),
        ((1024, 1024), 6.0, 2.0),
        ((4096, 4096), 52.0, 0.5),
        ((4096, 4096), 26.0, 1.0),
        ((600, 600), 5000.0, sight.LEAST_ZOOM),
    ],
)
def test_pictures_are_enlarged_within_limits(shape: tuple[int, int], diameter_px: float, zoom: float) -> None:
    assert sight.zoom_for(shape, diameter_px, 26.0) == pytest.approx(zoom, rel=0.01)


def test_wrong_options_say_what_is_known(model: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'diameter_px'"):
        NetworkSegmenter({"model": str(model), "diameter": 3})
    with pytest.raises(ConfigError, match="no network is called 'nucleii'"):
        NetworkSegmenter({"model": "nucleii"})
    asked = NetworkSegmenter({"model": str(model), "runtime": "abacus", "diameter_px": 20.0})
    with pytest.raises(RuntimeUnavailable, match="no runtime is called 'abacus'"):
        step(asked, spots(SHAPE, grid(SHAPE, 40), 20.0))


def test_a_channel_of_another_shape_is_refused(model: Path) -> None:
    segmenter = NetworkSegmenter({"model": str(model), "diameter_px": 24.0})
    one = moment(spots(SHAPE, grid(SHAPE, 40), 24.0))
    with pytest.raises(StageError, match="measured channel"):
        segmenter.step(Moment(one.frame, {"GFP": np.zeros((9, 9), np.uint16)}))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty zoo."""
    monkeypatch.setattr(zoo, "HERE", tmp_path)
    return tmp_path


NUCLEI = spots(SHAPE, grid(SHAPE, 40), 24.0)
PHASE = (6000 - discs(SHAPE, grid(SHAPE, 44), 12.0, contrast=2500.0).astype(int)).astype(np.uint16)


def test_auto_takes_the_network_of_the_kind_that_it_sees(shelf: Path) -> None:
    blob_onnx(shelf / "nuclei.onnx")
    blob_onnx(shelf / "nuclei-fast.onnx", fast=True)
    segmenter = AutoSegmenter({})
    assert segmenter.choice.startswith("undecided")
    assert len(segmenter.step(moment(NUCLEI)).cells) == len(grid(SHAPE, 40))
    assert segmenter.choice.startswith("nuclei, ")
    fast = AutoSegmenter({"fast": True})
    fast.step(moment(NUCLEI))
    assert fast.choice.startswith("nuclei-fast, ")


@pytest.mark.parametrize(("picture", "kind"), [(NUCLEI, "nuclei"), (PHASE, "phase")], ids=["nuclei", "phase"])
def test_auto_without_a_network_is_classical_and_says_why(
    shelf: Path, picture: NDArray[np.generic], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    segmenter = AutoSegmenter({})
    assert len(segmenter.step(moment(picture)).cells) > 10
    assert segmenter.choice.startswith(f"classical-{kind}, ")
    assert f"none of its networks ({kind}" in caplog.text


def test_a_segmenter_says_which_pixels_it_looks_at(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert AutoSegmenter({}).looks_at == "denoised", "without a network it is classical"
    blob_onnx(shelf / "nuclei.onnx")
    for look in ("raw", "denoised"):
        assert AutoSegmenter({"look": look}).looks_at == look
        assert NetworkSegmenter({"look": look}).looks_at == look
    monkeypatch.setattr(auto, "available", lambda: {"openvino": "it is not installed"})
    assert AutoSegmenter({}).looks_at == "denoised", "nothing runs the network"


def test_auto_falls_back_only_where_the_runtime_was_left_open(shelf: Path) -> None:
    blob_onnx(shelf / "nuclei.onnx")
    with pytest.raises(RuntimeUnavailable):
        AutoSegmenter({"runtime": "abacus"}).step(moment(NUCLEI))


def test_auto_tries_every_frame_while_nothing_could_be_opened(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU is busy for three frames."""
    blob_onnx(shelf / "nuclei.onnx")
    segmenter = AutoSegmenter({"runtime": "onnxruntime"})

    def busy(network: NetworkSegmenter) -> None:
        raise RuntimeUnavailable("the GPU is busy")

    with monkeypatch.context() as patch:
        patch.setattr(NetworkSegmenter, "prepare", busy)
        for number in range(3):
            with pytest.raises(RuntimeUnavailable, match="the GPU is busy"):
                segmenter.step(moment(NUCLEI, number))
    assert len(segmenter.step(moment(NUCLEI, 3)).cells) == len(grid(SHAPE, 40))


def test_auto_goes_on_from_a_saved_state(shelf: Path) -> None:
    blob_onnx(shelf / "nuclei.onnx")
    one, two = AutoSegmenter({}), AutoSegmenter({})
    one.step(moment(NUCLEI))
    two.load(one.save())
    here, there = one.step(moment(NUCLEI, 1)), two.step(moment(NUCLEI, 1))
    assert here.cells.prev_centre_px.tobytes() == there.cells.prev_centre_px.tobytes()
    assert np.isfinite(there.cells.prev_centre_px).all()
    (shelf / "nuclei.onnx").unlink()
    with pytest.raises(StageError, match="cannot be used here"):
        AutoSegmenter({}).load(one.save())


def test_the_chain_tracks_what_the_network_finds(model: Path) -> None:
    chain = Chain(ChainSettings(segment="network", segment_options={"model": str(model)}))
    ids = []
    for k in range(3):
        shown = spots(SHAPE, [(y + 2 * k, x) for y, x in grid(SHAPE, 40)], 24.0)
        decision = chain.step(moment(shown, k))
        ids.append(set(decision.segmentation.cells.label.tolist()))
    assert (len(ids[0]), ids[0] == ids[1] == ids[2]) == (len(grid(SHAPE, 40)), True)
    assert chain.choice.startswith("blobs, ")
