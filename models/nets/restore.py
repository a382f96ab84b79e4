"""A network taken back out of its ONNX file, so that it can learn on.

Export folds each BatchNorm into the convolution before it. Here the norm comes back as one that adds the folded shift
and changes nothing else; before such a network learns, :func:`renormed` gives its norms the statistics of what flows
through them, and it says the same as before by other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models import zoo
from models.nets.cellnet import Block, CellNet
from stream.errors import StageError

FOLDED = ".weight_bias"
"""What export adds to a convolution's name for the shift of the norm that it took in."""
Inputs = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def restored(path: Path) -> CellNet:
    """Return the network of an ONNX file in float32, evaluating: it says what the file says.

    Raises
    ------
    StageError
        The file is no cell network that was exported here.
    """
    net = CellNet(zoo.spec(path)).eval()
    said = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in onnx.load(path).graph.initializer}
    plain = {name for name, _ in net.named_parameters() if "_norm." not in name}
    wanted = {**{name: name for name in plain}, **{f"{name}_norm.bias": name + FOLDED for name, _, _ in _pairs(net)}}
    state = net.state_dict()
    for mine, its in wanted.items():
        if its not in said or said[its].shape != state[mine].shape:
            raise StageError(f"{path}: '{its}' is missing or of another shape; export the network again")
        state[mine] = said[its]
    net.load_state_dict(state)
    for _, _, norm in _pairs(net):
        norm.weight.copy_(torch.sqrt(_statistics(norm)[1] + norm.eps))
    return net


@torch.no_grad()
def renormed(net: CellNet, shown: Iterable[Inputs]) -> None:
    """Give the norms the statistics of what they see, in place; what the network says stays as it is.

    Parameters
    ----------
    shown
        ``(frames, offset, scale)`` as in :mod:`models.spec`; the more, the better the statistics.
    """
    sums = {name: torch.zeros(3, norm.num_features, dtype=torch.float64) for name, _, norm in _pairs(net)}
    hooks = [conv.register_forward_hook(_adding_to(sums[name])) for name, conv, _ in _pairs(net)]
    was = net.training
    net.eval()
    for inputs in shown:
        net(*inputs)
    net.train(was)
    for hook in hooks:
        hook.remove()
    for name, _, norm in _pairs(net):
        count, total, squares = sums[name].to(norm.weight.device)
        mean, variance = _statistics(norm)
        gain = norm.weight / torch.sqrt(variance + norm.eps)
        seen = total / count
        norm.bias.add_(gain * (seen - mean).to(gain.dtype))
        mean.copy_(seen)
        variance.copy_((squares / count - seen**2).clamp(min=0))
        norm.weight.copy_(gain * torch.sqrt(variance + norm.eps))


def _adding_to(sums: Tensor) -> Callable[[nn.Module, object, Tensor], None]:
    """Return a hook that adds number, sum and sum of squares of every channel to ``sums``."""

    def add(module: nn.Module, inputs: object, output: Tensor) -> None:
        value = output.detach().double().transpose(0, 1).flatten(1)
        sums.add_(torch.stack([torch.full_like(value[:, 0], value.shape[1]), value.sum(1), (value**2).sum(1)]).cpu())

    return add


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return running mean and variance, themselves."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _pairs(net: CellNet) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Yield every convolution that a norm follows, with its name and the norm."""
    for name, block in net.named_modules():
        if isinstance(block, Block):
            yield f"{name}.first", block.first, block.first_norm
            yield f"{name}.second", block.second, block.second_norm
