"""The denoising network: a U-Net of two levels behind a PixelUnshuffle stem, small enough to run beside another one."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from models.denoise.spec import INPUTS, MULTIPLE, OUTPUTS, PLANES, DenoiseSpec
from models.nets.export import write_onnx

STRIDE = 2


class Block(nn.Module):
    """Two convolutions and what came in added; no normalisation, for the input has one scale already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, width, y, x)``."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class DenoiseNet(nn.Module):
    """See :mod:`models.denoise.spec` for inputs and outputs."""

    def __init__(self, spec: DenoiseSpec) -> None:
        super().__init__()
        self.spec = spec
        fine, coarse = spec.widths
        self.stem = nn.Conv2d(PLANES * STRIDE**2 + 2, fine, 3, padding=1)
        self.down = Block(fine)
        self.deeper = nn.Conv2d(fine, coarse, 2, stride=2)
        self.bottom = Block(coarse)
        self.across = nn.Conv2d(coarse, fine, 1)
        self.up = Block(fine)
        self.excess = nn.Conv2d(fine, STRIDE**2, 3, padding=1)
        nn.init.zeros_(self.excess.weight)
        if self.excess.bias is not None:
            nn.init.zeros_(self.excess.bias)

    def forward(self, planes: Tensor, known: Tensor) -> Tensor:
        """Return ``excess``."""
        x = nn.functional.pixel_unshuffle(planes.to(self.stem.weight.dtype), STRIDE)
        flags = known.to(x.dtype)[:, :, None, None].expand(-1, -1, x.shape[2], x.shape[3])
        fine = self.down(torch.relu(self.stem(torch.cat([x, flags], 1))))
        coarse = self.bottom(torch.relu(self.deeper(fine)))
        back = nn.functional.interpolate(self.across(coarse), scale_factor=2.0, mode="nearest")
        return nn.functional.pixel_shuffle(self.excess(self.up(fine + back)), STRIDE)


def parameters(net: nn.Module) -> int:
    """Count the numbers that training sets."""
    return sum(part.numel() for part in net.parameters())


def export(net: DenoiseNet, path: Path, *, half: bool = False) -> None:
    """Write the network as ONNX with dynamic batch and sides; ``half``: float16 inside, float32 outside."""
    net = copy.deepcopy(net).eval().float()
    for part in net.parameters():  # the exporter misreads channels-last weights
        part.data = part.data.contiguous()
    shown: nn.Module = _Half(net.half()) if half else net
    example = (torch.rand(1, PLANES, 128, 160), torch.ones(1, 2))
    batch = torch.export.Dim("n", min=1, max=64)
    rows, columns = torch.export.Dim("rows", min=2, max=1024), torch.export.Dim("columns", min=2, max=1024)
    shapes = {"planes": {0: batch, 2: MULTIPLE * rows, 3: MULTIPLE * columns}, "known": {0: batch}}
    write_onnx(shown, path, example, shapes, INPUTS, OUTPUTS, net.spec.to_json())


class _Half(nn.Module):
    """Gives a float16 network float32 outputs."""

    def __init__(self, net: DenoiseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, planes: Tensor, known: Tensor) -> Tensor:
        """Return what the network says, as float32."""
        excess: Tensor = self.net(planes, known)
        return excess.float()
