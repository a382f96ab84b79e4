"""Weights of networks that learned earlier: read, written, and taken up by a run that goes on from them."""

from __future__ import annotations

from pathlib import Path

import torch

from models.nets.cellnet import CellNet
from models.nets.restore import restored
from models.spec import NetSpec
from stream.errors import StoreError

EXPORTED = ".onnx"


def earlier(path: Path, out: Path) -> Path:
    """Return where the weights of an earlier run are. Raises StoreError when they are not there."""
    place = path if path.is_absolute() else out.parent / path
    if not place.is_file():
        raise StoreError(f"{place}: these weights of an earlier run are not there; train them first, or name others")
    return place


@torch.no_grad()
def grown(path: Path, net: CellNet) -> dict[str, torch.Tensor]:
    """Return weights for ``net`` with which it says what a network says that is as wide or narrower.

    What it has more starts at random and counts for nothing yet in what was there before (Net2WiderNet, Chen et al.
    2016, with new filters instead of copied ones). Raises StoreError when the networks differ in more than widths, or
    ``net`` is narrower.
    """
    narrower, spec = earlier_net(path), net.spec
    for name in ("stride", "heads", "frames"):
        if getattr(narrower.spec, name) != getattr(spec, name):
            raise StoreError(f"{path}: {spec.name} cannot go on from these weights, its {name} differ")
    old = narrower.spec.widths
    if len(old) != len(spec.widths) or any(new < was for was, new in zip(old, spec.widths, strict=True)):
        raise StoreError(f"{path}: {spec.name} cannot go on from these weights, {spec.widths} is no wider than {old}")
    state = {name: value.clone() for name, value in net.state_dict().items()}
    for name, value in narrower.state_dict().items():
        mine = state[name]
        if value.ndim == 4:
            mine[: len(value), value.shape[1] :] = 0
        mine[tuple(slice(side) for side in value.shape)] = value
    return state


def earlier_net(path: Path) -> CellNet:
    """Read a network that learned earlier: what :func:`save_net` wrote, or an exported ``.onnx``."""
    return restored(path) if path.suffix == EXPORTED else load_net(path)


def save_net(net: CellNet, path: Path) -> None:
    """Write a network with its spec."""
    torch.save({"spec": net.spec.to_json(), "net": net.state_dict()}, path)


def load_net(path: Path) -> CellNet:
    """Read what :func:`save_net` wrote; only tensors and text are accepted from the file."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = CellNet(NetSpec.from_json(state["spec"]))
    net.load_state_dict(state["net"])
    return net.eval()
