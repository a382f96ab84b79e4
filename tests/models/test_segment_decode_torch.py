from collections.abc import Iterator

import numpy as np
import pytest
from ideal_maps import CHANNELS, ideal
from test_segment_decode import OBJECT_PX, SETTINGS, colony, discs, overlap

from models.segment.decode import decode

torch = pytest.importorskip("torch", reason="torch is not installed")


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


def test_nothing_in_it_depends_on_the_data() -> None:
    """What a CUDA graph replays is fixed: the same operations on the same shapes, and none that asks the host."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from models.segment.decode_torch import decode_torch

    class Steps(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, tuple[int, ...]]] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            made = func(*args, **(kwargs or {}))
            self.seen.append((str(func), tuple(made.shape) if isinstance(made, torch.Tensor) else ()))
            return made

    steps = []
    for labels in (colony(96, 16), colony(96, 17), np.zeros((96, 96), np.int32)):
        tensors = tuple(map(torch.from_numpy, ideal(labels, OBJECT_PX, noise=0.1)))
        with Steps() as mode:
            decode_torch(*tensors, CHANNELS, SETTINGS, most_cells=128)
        steps.append(mode.seen)
    assert steps[0] == steps[1] == steps[2]
    forbidden = ("nonzero", "_local_scalar_dense", "masked_select", "unique", "is_nonzero", "item")
    assert [name for name, _ in steps[0] if any(word in name for word in forbidden)] == []
