"""What a network says has the sides that its table promises, at every stride, and planes keep their detail."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra [train]")

from models.nets.cellnet import CellNet  # noqa: E402
from models.spec import NetSpec  # noqa: E402

SIDES = (64, 96)


def _said(stride: int) -> tuple[torch.Tensor, torch.Tensor, NetSpec]:
    torch.manual_seed(0)
    spec = NetSpec("tiny", "nuclei", 26.0, (8, 16), stride=stride)  # type: ignore[arg-type]
    with torch.no_grad():
        foreground, maps = CellNet(spec).eval()(torch.rand(1, 2, *SIDES), torch.zeros(1, 2), torch.ones(1, 2))
    return foreground, maps, spec


@pytest.mark.parametrize("stride", [2, 4])
def test_planes_have_half_the_resolution_whatever_the_stride(stride: int) -> None:
    foreground, maps, spec = _said(stride)
    assert foreground.shape == (1, 1, *SIDES)
    assert maps.shape == (1, len(spec.channels), SIDES[0] // 2, SIDES[1] // 2)


def test_a_fast_network_tells_the_parts_of_an_unshuffled_block_apart() -> None:
    _, maps, _ = _said(4)
    block = maps[0].unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    assert (block.amax(-1) > block.amin(-1)).float().mean() > 0.99
