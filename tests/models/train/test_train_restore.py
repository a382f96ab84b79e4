"""A network comes back out of its ONNX file, learns on, and a file that is not ours is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")
onnx = pytest.importorskip("onnx", reason="training needs the extra [train]")

from models import zoo  # noqa: E402
from models.nets.cellnet import CellNet  # noqa: E402
from models.nets.restore import renormed, restored  # noqa: E402
from models.zoo import stored  # noqa: E402
from stream.errors import StageError  # noqa: E402

NAME = "nuclei-fast"


def _seen(side_px: int = 128) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(one) for one in stored.cell_inputs("nuclei", side_px).values())


@torch.no_grad()
def _learning_differs(net: CellNet) -> float:
    """Return how far the foreground with the statistics of a batch is from the one with the running statistics."""
    learning, evaluating = torch.sigmoid(net.train()(*_seen())[0]), net.eval()(*_seen())[0]
    return float((learning - evaluating).abs().mean())


@torch.no_grad()
def test_a_shipped_network_comes_back_as_it_is() -> None:
    inputs, outputs = stored.read(zoo.stored_check(zoo.path(NAME)))
    said = restored(zoo.path(NAME))(*(torch.from_numpy(one) for one in inputs.values()))
    for mine, its in zip(said, outputs.values(), strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(its), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_its_norms_get_statistics_and_it_says_the_same() -> None:
    net = restored(zoo.path(NAME))
    bare, before = _learning_differs(net), net(*_seen())
    renormed(net, [_seen()])
    for mine, its in zip(net(*_seen()), before, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=2e-3)
    assert _learning_differs(net) < 1e-3 < 0.1 * bare


@pytest.mark.parametrize("ending", ["maps.weight", "down.0.first.weight_bias"])
def test_a_file_with_other_weights_is_refused(tmp_path: Path, ending: str) -> None:
    model = onnx.load(zoo.path(NAME))
    for one in model.graph.initializer:
        one.name += "_2" * (one.name == ending)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(StageError, match=f"'{ending}' is missing"):
        restored(tmp_path / "other.onnx")
