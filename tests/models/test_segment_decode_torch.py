from collections.abc import Iterator

import numpy as np
import pytest
from ideal_maps import CHANNELS, ideal
from test_segment_decode import OBJECT_PX, SETTINGS, colony, discs, overlap

from models.segment.decode import DecodeSettings, decode
from stream.errors import StageError

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors: threads that wait for each other only take time from what else runs here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("labels", "noise"),
    [
        (colony(256, 11), 0.0),
        (colony(256, 12), 0.05),
        (colony(320, 13, apart=0.6), 0.1),
        (colony(256, 14, apart=1.2, spread=0.5), 0.15),
        (discs((64, 96), [(30, 30, 26)]), 0.1),
        (np.zeros((64, 64), np.int32), 0.0),
    ],
    ids=["perfect", "noise", "crowded", "different sizes", "one cell", "none"],
)
def test_both_decoders_find_the_same_cells(labels: np.ndarray, noise: float) -> None:
    from models.segment.decode_torch import decode_torch

    foreground, maps = ideal(labels, OBJECT_PX, moved_px=(2.0, 1.0), noise=noise)
    here = decode(foreground, maps, CHANNELS, SETTINGS)
    tensors = torch.from_numpy(foreground), torch.from_numpy(maps)
    there = decode_torch(*tensors, CHANNELS, SETTINGS, most_cells=512).fetched()
    assert there.count == here.count
    assert ((here.labels > 0) == (there.labels > 0)).mean() >= 0.995
    if here.count == 0:
        return
    assert (here.labels == there.labels).mean() >= 0.995
    match = overlap(here.labels, there.labels)
    assert (match.min() > 0.75, np.median(match)) == (True, 1.0), "crumbs with two neighbours may go to the other one"
    for column, tolerance in {"centre_px": 0.1, "previous_px": 0.1, "score": 0.02, "newborn": 0.02}.items():
        apart = np.abs(getattr(there, column) - getattr(here, column)).reshape(here.count, -1).max(1)
        assert np.quantile(apart, 0.9) <= tolerance, column
    assert (there.bbox_px == here.bbox_px).mean() > 0.98


def test_what_is_wanted_at_another_size_is_drawn_alike() -> None:
    from models.segment.decode_torch import decode_torch

    foreground, maps = ideal(colony(256, 15), OBJECT_PX, noise=0.05)
    outline, scale = foreground[:252:2, :248:2].copy(), (2.0, 2.0)
    here = decode(foreground, maps, CHANNELS, SETTINGS, outline, scale)
    tensors = (torch.from_numpy(v) for v in (foreground, maps))
    there = decode_torch(
        *tensors, CHANNELS, SETTINGS, torch.from_numpy(outline), scale, most_cells=512
    ).fetched()  # fmt: skip
    assert (here.count, (here.labels == there.labels).mean() >= 0.995) == (there.count, True)
    assert there.centre_px == pytest.approx(here.centre_px, abs=0.5)


def grid_of_cells(count: int) -> np.ndarray:
    """Small cells in rows: one each 8 px."""
    side = 8 * int(np.ceil(np.sqrt(count)))
    places = [(y + 3.5, x + 3.5, 6) for y in range(0, side, 8) for x in range(0, side, 8)]
    return discs((side, side), places[:count])  # type: ignore[arg-type]


def test_there_is_room_for_as_many_cells_as_fit() -> None:
    from models.segment.decode_torch import LEAST_ROOM, decode_torch, room_for

    assert [room_for((side, side), SETTINGS) for side in (64, 512, 1024, 2048)] == [LEAST_ROOM, 494, 1975, 7900]
    labels = grid_of_cells(324)
    small = DecodeSettings(6.0)
    assert labels.max() > LEAST_ROOM
    tensors = tuple(map(torch.from_numpy, ideal(labels, 6.0)))
    assert decode_torch(*tensors, CHANNELS, small).fetched().count == 324


def test_many_peaks_that_name_one_centre_take_the_room_of_one() -> None:
    from models.segment.decode_torch import decode_torch

    foreground, maps = ideal(np.kron(grid_of_cells(36), np.ones((4, 4), np.int32)), 24.0)
    maps[0] *= np.where(np.indices(maps[0].shape).max(0) % 2, 1.0, 0.5)  # every other row and column of blocks dimmer
    settings = DecodeSettings(24.0)
    here = decode(foreground, maps, CHANNELS, settings)
    there = decode_torch(torch.from_numpy(foreground), torch.from_numpy(maps), CHANNELS, settings, most_cells=40)
    assert (here.count, there.fetched().count) == (36, 36)


def no_seeds(maps: np.ndarray) -> None:
    maps[0] = 0


def one_seed(maps: np.ndarray) -> None:
    """Let one seed own every vote, so that all other cells are pieces that came off it."""
    rows, columns = maps.shape[1:]
    maps[0] = 0
    maps[0, 1, 1] = 1
    y, x = np.indices((rows, columns)) * 2 + 0.5
    maps[1], maps[2] = 2.5 - y, 2.5 - x


CROWDED = {"peaks": lambda maps: None, "cells without a seed": no_seeds, "pieces": one_seed}


@pytest.mark.parametrize("case", CROWDED)
def test_cells_for_which_there_is_no_room_are_an_error_and_never_merged(case: str) -> None:
    from models.segment.decode_torch import decode_torch

    foreground, maps = ideal(grid_of_cells(36), 6.0)
    CROWDED[case](maps)
    here = decode(foreground, maps, CHANNELS, DecodeSettings(6.0))
    assert here.count == 36
    tensors = torch.from_numpy(foreground), torch.from_numpy(maps)
    enough = decode_torch(*tensors, CHANNELS, DecodeSettings(6.0), most_cells=36)
    assert enough.fetched().count == 36
    short = decode_torch(*tensors, CHANNELS, DecodeSettings(6.0), most_cells=20)
    with pytest.raises(StageError, match=r"\d+ peaks or pieces found no room among 20.*larger most_cells"):
        short.fetched()
    shown = overlap(short.labels.numpy(), here.labels)
    assert shown.min() > 0.9, "no label covers several cells"


@pytest.mark.parametrize("off", ["seed", "own"])
def test_a_head_that_was_switched_off_is_made_up_for_alike(off: str) -> None:
    from models.segment.decode_torch import decode_torch

    foreground, maps = ideal(colony(192, 18), OBJECT_PX, noise=0.02)
    kept = [i for i, name in enumerate(CHANNELS) if not name.startswith(off)]
    channels, maps = [CHANNELS[i] for i in kept], maps[kept]
    here = decode(foreground, maps, channels, SETTINGS)
    there = decode_torch(torch.from_numpy(foreground), torch.from_numpy(maps), channels, SETTINGS).fetched()
    assert here.count > 10
    assert (there.count, (here.labels == there.labels).mean() >= 0.99) == (here.count, True)


REFUSED = {
    "an odd side": ((31, 48), (7, 15, 24), CHANNELS, "does not fit"),
    "maps of another size": ((32, 48), (7, 32, 48), CHANNELS, "does not fit"),
    "a plane too few": ((32, 48), (6, 16, 24), CHANNELS, "does not fit"),
    "neither seeds nor offsets": ((32, 48), (4, 16, 24), CHANNELS[3:], "without a plane"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str) -> None:
    from models.segment.decode_torch import decode_torch

    foreground, maps, channels, words = REFUSED[case]
    with pytest.raises(StageError, match=words):
        decode_torch(torch.zeros(foreground), torch.zeros(maps), channels, SETTINGS)


class Steps(TorchDispatchMode):
    """Notes every operation, the shape that it gives, and which of them read or make a tensor on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []
        self.on_host: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        self.seen.append((str(func), tuple(made.shape) if isinstance(made, torch.Tensor) else ()))
        tensors = [one for one in tree_leaves((args, kwargs, made)) if isinstance(one, torch.Tensor)]
        self.on_host += [str(func)] * any(one.device.type == "cpu" for one in tensors)
        return made


FORBIDDEN = {
    "asks the host": ("nonzero", "_local_scalar_dense", "masked_select", "unique", "is_nonzero", "item"),
    "makes a tensor of numbers on the host": ("lift_fresh",),  # torch.tensor(2.0), and tensor[0] = 2.0
}


def steps_of(labels: np.ndarray, channels: list[str], scale: tuple[float, float], device: str) -> Steps:
    from models.segment.decode_torch import decode_torch

    foreground, maps = ideal(labels, OBJECT_PX, noise=0.1)
    maps = maps[[CHANNELS.index(name) for name in channels]]
    tensors = [torch.from_numpy(array).to(device) for array in (foreground, maps, foreground[:80, :72].copy())]
    with Steps() as mode:
        decode_torch(*tensors[:2], channels, SETTINGS, tensors[2], scale, most_cells=128)
    return mode


@pytest.mark.parametrize("off", ["nothing", "seed", "own"])
def test_a_cuda_graph_can_hold_it(off: str) -> None:
    """What a graph replays is fixed: the same operations on the same shapes, none of which asks the host or copies from
    it; a device that computes nothing shows the copies of what lies there."""
    channels = [name for name in CHANNELS if not name.startswith(off)]
    pictures = (colony(96, 16), colony(96, 17), np.zeros((96, 96), np.int32))
    steps = [steps_of(labels, channels, (1.2, 1.3), "cpu").seen for labels in pictures]
    assert steps[0] == steps[1] == steps[2]
    for what, words in FORBIDDEN.items():
        assert [name for name, _ in steps[0] if any(word in name for word in words)] == [], what
    assert steps_of(pictures[0], channels, (1.2, 1.3), "meta").on_host == []


def test_what_a_graph_cannot_hold_is_noticed() -> None:
    with Steps() as here:
        torch.tensor((1.0, 2.0))
        torch.zeros(2)[0] = 1
    assert [name for name, _ in here.seen if "lift_fresh" in name] == ["aten.lift_fresh.default"] * 2
    with Steps() as there:
        torch.zeros(2).to("meta")
    assert "aten._to_copy.default" in there.on_host
