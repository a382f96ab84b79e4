"""The cell network: a small causal U-Net that segments, links and sees mitosis in one pass.

A PixelUnshuffle stem halves the resolution without losing a pixel, so that every convolution runs on a quarter of the
pixels; skips are added, not concatenated; BatchNorm folds into the convolutions at export.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.spec import NetSpec

LINEAR_RANGE = (-2.0, 4.0)
OFFSET_UNIT_PX = 8.0
"""What an offset of one means inside the network, so that every plane learns at the same pace."""


def _is_offset(name: str) -> bool:
    return name.startswith(("own", "previous"))


class Block(nn.Module):
    """Two convolutions with BatchNorm and ReLU, and what came in added before the last ReLU."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.around = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(n, width, y, x)``."""
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.around(x))


class CellNet(nn.Module):
    """See :mod:`models.spec` for inputs and outputs.

    In training mode the outputs are logits where they will be probabilities.
    """

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = spec.widths
        planes = spec.stride**2 * spec.frames
        self.linear = nn.Conv2d(planes, widths[0], 3, padding=1)
        self.dim = nn.Conv2d(planes, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(Block(a, b) for a, b in zip((widths[0], *widths), widths, strict=False))
        self.across = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Block(a, a) for a in widths[:-1])
        self.foreground = nn.Conv2d(widths[0], spec.stride**2, 3, padding=1)
        self.maps = nn.Conv2d(widths[0], max(len(spec.channels), 1) * (spec.stride // 2) ** 2, 3, padding=1)
        unit = [OFFSET_UNIT_PX if _is_offset(name) else 1.0 for name in spec.channels or ("none",)]
        chance = [float(not _is_offset(name)) for name in spec.channels or ("none",)]
        self.unit: Tensor
        self.chance: Tensor
        self.register_buffer("unit", torch.tensor(unit).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("chance", torch.tensor(chance).view(1, -1, 1), persistent=False)

    def forward(self, frames: Tensor, offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``foreground`` and ``maps``."""
        value = self._normalised(frames, offset, scale)
        x = self.linear(torch.clamp(value, *LINEAR_RANGE)) + self.dim(value / (torch.abs(value) + self.spec.knee))
        skips = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = nn.functional.interpolate(self.across[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](x + skips[level])
        foreground, maps = nn.functional.pixel_shuffle(self.foreground(x), self.spec.stride), self.maps(x)
        if self.spec.stride > 2:
            maps = nn.functional.pixel_shuffle(maps, self.spec.stride // 2)
        maps = maps * self.unit
        if self.training:
            return foreground, maps
        return torch.sigmoid(foreground), self._squashed(maps)

    def _normalised(self, frames: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
        """Return the frames that are looked at, unshuffled, in the precision of the weights."""
        value = (frames - offset[:, :, None, None]) / scale[:, :, None, None]
        if self.spec.frames == 1:
            value = value[:, 1:]
        return nn.functional.pixel_unshuffle(value.to(self.linear.weight.dtype), self.spec.stride)

    def _squashed(self, maps: Tensor) -> Tensor:
        """Return probabilities where a plane is one.

        Both are computed for every plane and one is taken, in rows as long as a plane: to part the planes and join them
        again, or to go through them pixel by pixel, takes a CPU longer than several convolutions.
        """
        plane = maps.flatten(2)
        plane = plane * (1 - self.chance) + torch.sigmoid(plane) * self.chance
        return plane.reshape(maps.shape)
