"""A trained network becomes ONNX files that describe themselves."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from models.nets.cellnet import CellNet
from models.spec import MULTIPLE, PROPERTY

INPUTS = ("frames", "offset", "scale")
OUTPUTS = ("foreground", "maps")


def export(net: CellNet, path: Path, *, half: bool = False) -> None:
    """Write a network as ONNX with dynamic batch and sides.

    Parameters
    ----------
    half
        Weights and activations in float16 after a float32 normalisation; inputs and outputs stay float32.
    """
    net = copy.deepcopy(net).eval().float().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    shown: torch.nn.Module = _Half(net.half()) if half else net
    example = (torch.rand(1, 2, 128, 160), torch.zeros(1, 2), torch.ones(1, 2))
    batch = torch.export.Dim("n", min=1, max=64)
    rows, columns = torch.export.Dim("rows", min=2, max=512), torch.export.Dim("columns", min=2, max=512)
    shapes = {
        "frames": {0: batch, 2: MULTIPLE * rows, 3: MULTIPLE * columns},
        "offset": {0: batch},
        "scale": {0: batch},
    }
    write_onnx(shown, path, example, shapes, INPUTS, OUTPUTS, net.spec.to_json())


def write_onnx(
    net: torch.nn.Module,
    path: Path,
    example: tuple[torch.Tensor, ...],
    shapes: dict[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    table: str,
) -> None:
    """Write any of our networks: ``shapes`` says which sides are free, ``table`` what the file says about itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net.eval(), example, str(path), dynamo=True, external_data=False, optimize=True, opset_version=18,
        input_names=list(inputs), output_names=list(outputs), dynamic_shapes=shapes, verbose=False,
    )  # fmt: skip
    model = onnx.load(path)
    model.doc_string = ""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = PROPERTY, table
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.save(model, path)


class _Half(torch.nn.Module):
    """Gives a float16 network float32 outputs."""

    def __init__(self, net: CellNet) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, frames: torch.Tensor, offset: torch.Tensor, scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the network says, as float32."""
        foreground, maps = self.net(frames, offset, scale)
        return foreground.float(), maps.float()
