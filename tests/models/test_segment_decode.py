import cv2
import numpy as np
import pytest
from ideal_maps import CHANNELS, Floats, Ints, centres_of, ideal
from scipy import ndimage, spatial

from models.segment.decode import Decoded, DecodeSettings, decode
from stream.errors import StageError

OBJECT_PX = 26.0
SETTINGS = DecodeSettings(OBJECT_PX)


def colony(side: int, seed: int, apart: float = 0.8, spread: float = 0.15) -> Ints:
    """Touching discs of different sizes around random places."""
    rng = np.random.default_rng(seed)
    places = np.zeros((0, 2))
    for place in rng.uniform(5, side - 5, (2000, 2)):
        if not len(places) or ((places - place) ** 2).sum(1).min() > (apart * OBJECT_PX) ** 2:
            places = np.vstack([places, place])
    at = np.stack(np.indices((side, side)), -1).reshape(-1, 2)
    distance, nearest = spatial.cKDTree(places).query(at)
    radius = OBJECT_PX / 2 * np.exp(rng.normal(0, spread, len(places)))
    inside = (distance < radius[nearest]).reshape(side, side)
    return np.where(inside, nearest.reshape(side, side) + 1, 0).astype(np.int32)


def discs(shape: tuple[int, int], cells: list[tuple[float, float, float]]) -> Ints:
    """Labels of discs (y, x, diameter)."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for k, (cy, cx, diameter) in enumerate(cells, 1):
        labels[np.hypot(y - cy, x - cx) < diameter / 2] = k
    return labels


def overlap(truth: Ints, labels: Ints) -> Floats:
    """Return the best IoU of each true cell."""
    wide = int(labels.max()) + 1
    high = int(truth.max()) + 1
    both = np.bincount((truth.astype(np.int64) * wide + labels).ravel(), minlength=high * wide).reshape(high, wide)
    union = both.sum(1)[:, None] + both.sum(0)[None] - both
    return (both[1:, 1:] / union[1:, 1:]).max(1)[both.sum(1)[1:] > 0] if wide > 1 else np.zeros(high - 1)


def check(found: Decoded) -> None:
    """Whatever was decoded: every cell is one piece and its row says what the labels show."""
    assert sorted(np.unique(found.labels[found.labels > 0])) == list(range(1, found.count + 1))
    for k, box in enumerate(ndimage.find_objects(found.labels), 1):
        mine = found.labels[box] == k
        assert ndimage.label(mine, np.ones((3, 3)))[1] == 1
        assert mine.sum() == found.area_px[k - 1]
        assert [side.start for side in box] + [side.stop for side in box] == found.bbox_px[k - 1].tolist()
    if found.count:
        assert found.centre_px == pytest.approx(centres_of(found.labels)[1:], abs=0.01)


@pytest.mark.parametrize(
    ("noise", "least", "mean"), [(0.0, 0.85, 0.96), (0.03, 0.8, 0.96), (0.08, 0.5, 0.94)],
    ids=["perfect maps", "a little noise", "noise"],
)  # fmt: skip
def test_touching_cells_are_found(noise: float, least: float, mean: float) -> None:
    truth = colony(320, 3)
    found = decode(*ideal(truth, OBJECT_PX, noise=noise), CHANNELS, SETTINGS)
    check(found)
    match = overlap(truth, found.labels)
    assert len(match) <= found.count <= len(match) + 50 * noise
    assert (match.min() > least, match.mean() > mean) == (True, True)


def test_each_cell_says_where_it_was_and_whether_it_divides() -> None:
    truth = colony(256, 1)
    found = decode(*ideal(truth, OBJECT_PX, moved_px=(3.0, -5.0)), CHANNELS, SETTINGS)
    whose = np.array([np.bincount(truth[found.labels == k])[1:].argmax() + 1 for k in range(1, found.count + 1)])
    assert found.previous_px == pytest.approx(centres_of(truth)[whose] - [3.0, -5.0], abs=0.5)
    assert found.newborn == pytest.approx(whose % 2, abs=0.1)
    assert found.dividing == pytest.approx((whose % 5 == 0).astype(float), abs=0.1)
    assert found.score.min() > 0.8


def test_some_wrong_votes_for_the_previous_place_hardly_count() -> None:
    foreground, maps = ideal(discs((64, 64), [(32, 32, 26)]), OBJECT_PX)
    maps[3:5, 18, 13:20] += 30.0
    found = decode(foreground, maps, CHANNELS, SETTINGS)
    assert found.previous_px[0] == pytest.approx([32, 32], abs=1.0)


def test_planes_that_are_not_predicted_are_unknown() -> None:
    foreground, maps = ideal(discs((64, 64), [(32, 32, 26)]), OBJECT_PX)
    found = decode(foreground, maps[:3], CHANNELS[:3], SETTINGS)
    assert found.count == 1
    assert np.isnan([*found.previous_px[0], found.newborn[0], found.dividing[0]]).all()


def _two_peaks(foreground: Floats, maps: Floats) -> None:
    maps[0, 14, 16] = maps[0, 18, 16] = 0.95


def _no_seed(foreground: Floats, maps: Floats) -> None:
    maps[0] *= 0.2


def _hole(foreground: Floats, maps: Floats) -> None:
    foreground[30:36, 28:34] = 0.1


def _crumb(foreground: Floats, maps: Floats) -> None:
    foreground[4:6, 4:7] = 1.0


def _stray(foreground: Floats, maps: Floats) -> None:
    foreground[32, 45:58] = 1.0
    foreground[31:34, 50] = 0.0
    maps[1:3, 14:18, 22:29] = 0.0


def _short_votes(foreground: Floats, maps: Floats) -> None:
    maps[1:3] *= 0.5


def _plateau(foreground: Floats, maps: Floats) -> None:
    maps[0, 13:20, 13:20] = 0.9


@pytest.mark.parametrize(
    ("name", "spoil", "cells"),
    [
        ("two peaks that name the same centre are one cell", _two_peaks, 1),
        ("a cell without a seed is a cell", _no_seed, 1),
        ("a hole is closed", _hole, 1),
        ("a crumb is no cell", _crumb, 1),
        ("what hangs on by nothing is no part of it", _stray, 1),
        ("votes that fall short are passed on", _short_votes, 1),
        ("a plateau is one seed", _plateau, 1),
    ],
)
def test_one_cell_stays_one(name: str, spoil: object, cells: int) -> None:
    truth = discs((64, 64), [(32, 32, 28)])
    foreground, maps = ideal(truth, OBJECT_PX)
    spoil(foreground, maps)  # type: ignore[operator]
    found = decode(foreground, maps, CHANNELS, SETTINGS)
    check(found)
    assert found.count == cells, name
    assert overlap(truth, found.labels)[0] > 0.97, name


def test_an_unseeded_cell_between_others_keeps_its_pixels() -> None:
    truth = discs((96, 128), [(48, 30, 26), (48, 98, 26), (48, 64, 26)])
    foreground, maps = ideal(truth, OBJECT_PX)
    maps[0, :, 26:39] = 0.0
    found = decode(foreground, maps, CHANNELS, SETTINGS)
    assert (found.count, overlap(truth, found.labels).min() > 0.97) == (3, True)
    assert found.score.min() < 0.1 < found.score.max()


def test_pixels_without_a_vote_go_to_the_nearest_cell() -> None:
    truth = discs((96, 96), [(48, 34, 26), (48, 60, 26)])
    foreground, maps = ideal(truth, OBJECT_PX)
    maps[1:3, 22:27, 21:26] = -60.0
    found = decode(foreground, maps, CHANNELS, SETTINGS)
    check(found)
    assert (found.count, overlap(truth, found.labels).min() > 0.9) == (2, True)


@pytest.mark.parametrize(("zoom", "least"), [(0.5, 0.85), (2.5, 0.9), (1.3, 0.93)])
def test_labels_are_drawn_at_the_size_of_the_frame(zoom: float, least: float) -> None:
    side = 256
    truth = colony(side, 5)
    shape = (round(side / zoom), round(side / zoom) + 3)
    foreground, maps = ideal(truth, OBJECT_PX, moved_px=(4.0, 4.0))
    outline = cv2.resize(foreground, shape[::-1], interpolation=cv2.INTER_LINEAR)
    scale = (side / shape[0], side / shape[1])
    found = decode(foreground, maps, CHANNELS, SETTINGS, outline, scale)
    check(found)
    rows, columns = (((np.arange(n) + 0.5) * k).astype(int) for n, k in zip(shape, scale, strict=True))
    shown = truth[rows][:, columns]
    assert found.labels.shape == shape
    assert overlap(shown, found.labels).mean() > least
    inner = (found.bbox_px[:, :2] > 0).all(1) & (found.bbox_px[:, 2:] < shape).all(1)
    moved = (found.centre_px - found.previous_px)[inner]
    assert np.median(moved, 0) == pytest.approx([4 / scale[0], 4 / scale[1]], abs=0.5)


def test_the_padding_below_and_to_the_right_is_not_drawn() -> None:
    foreground, maps = ideal(discs((96, 96), [(30, 30, 26), (66, 78, 26)]), OBJECT_PX)
    found = decode(foreground, maps, CHANNELS, SETTINGS, foreground[:71, :83])
    check(found)
    assert found.labels.shape == (71, 83)
    assert found.count == 2
    assert found.bbox_px[:, 2:].max(0).tolist() == [71, 83]


@pytest.mark.parametrize(
    ("foreground", "cells"), [(np.zeros((32, 48), np.float32), 0), (np.ones((32, 48), np.float32), 1)],
    ids=["nothing", "one carpet"],
)  # fmt: skip
def test_pictures_without_seeds(foreground: Floats, cells: int) -> None:
    found = decode(foreground, np.zeros((7, 16, 24), np.float32), CHANNELS, SETTINGS)
    check(found)
    assert found.count == cells


def test_the_same_maps_give_the_same_cells() -> None:
    foreground, maps = ideal(colony(256, 2), OBJECT_PX, noise=0.2)
    one, two = (decode(foreground.copy(), maps.copy(), CHANNELS, SETTINGS) for _ in range(2))
    assert (one.labels == two.labels).all()
    assert one.previous_px.tobytes() == two.previous_px.tobytes()


@pytest.mark.parametrize(
    ("foreground", "maps", "channels", "match"),
    [
        ((31, 48), (7, 15, 24), CHANNELS, "does not fit"),
        ((32, 48), (7, 32, 48), CHANNELS, "does not fit"),
        ((32, 48), (6, 16, 24), CHANNELS, "does not fit"),
        ((32, 48), (4, 16, 24), CHANNELS[3:], "without a plane"),
    ],
)
def test_what_does_not_fit_is_refused(
    foreground: tuple[int, ...], maps: tuple[int, ...], channels: tuple[str, ...], match: str
) -> None:
    with pytest.raises(StageError, match=match):
        decode(np.zeros(foreground, np.float32), np.zeros(maps, np.float32), channels, SETTINGS)


@pytest.mark.parametrize("off", ["seed", "own"])
def test_a_network_without_seeds_or_without_offsets_still_tells_cells_apart(off: str) -> None:
    truth = discs((128, 160), [(30, 30, 24), (30, 90, 24), (90, 50, 26), (90, 77, 26)])
    foreground, maps = ideal(truth, OBJECT_PX)
    kept = [i for i, name in enumerate(CHANNELS) if not name.startswith(off)]
    found = decode(foreground, maps[kept], [CHANNELS[i] for i in kept], SETTINGS)
    check(found)
    assert found.count == 4
    assert overlap(truth, found.labels).min() > 0.7
